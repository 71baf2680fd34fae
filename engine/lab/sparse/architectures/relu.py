"""ReLU: whatever is positive is active. SAELens calls it `standard`. Read and applied, not trained here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from engine.lab.sparse.architectures.jumprelu import infer as above_threshold
from engine.lab.sparse.codes import Codes

SAELENS: str = "standard"


def infer(pre: Float[Tensor, "row latent"], k: int, threshold: float | Tensor | None) -> Codes:
    """The positive ones: a JumpReLU whose thresholds are 0."""
    return above_threshold(pre, k, None)


def save(
    k: int, threshold: float | Tensor | None, b_enc: Float[Tensor, " latent"]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Nothing beyond the four weights."""
    return {}, {}


def load(weights: Mapping[str, Tensor], config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of a `Coder` from a SAELens folder's tensors."""
    return dict(weights)
