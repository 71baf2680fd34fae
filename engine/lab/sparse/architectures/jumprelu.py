"""JumpReLU: a latent is active above a threshold of its own, and then has its whole pre-activation.

z_j = pre_j where pre_j > theta_j, else 0. Read and applied, not trained here. Source: Rajamanoharan et al.
2024, arXiv 2407.14435.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from engine.lab.sparse.codes import Codes, codes_at

SAELENS: str = "jumprelu"


def infer(pre: Float[Tensor, "row latent"], k: int, threshold: float | Tensor | None) -> Codes:
    """The latents above their thresholds, positive ones only; without one, what is positive."""
    bound = 0.0 if threshold is None else threshold
    # Flat positions of "row latent" ascend row by row, as `codes_at` needs them.
    return codes_at((pre > bound).flatten().nonzero().flatten(), pre)


def save(
    k: int, threshold: float | Tensor | None, b_enc: Float[Tensor, " latent"]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a SAELens folder holds beyond the four weights: a threshold for each latent."""
    bound = 0.0 if threshold is None else threshold
    # One number is spread over all latents; thresholds of their own stay as they are.
    return {}, {"threshold": (torch.zeros_like(b_enc) + bound).float()}


def load(weights: Mapping[str, Tensor], config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of a `Coder` from a SAELens folder's tensors, its thresholds among them."""
    return dict(weights)
