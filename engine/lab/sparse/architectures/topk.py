"""Top-K: of each row the k largest pre-activations, positive ones only.

In training and at inference alike: z = TopK(x W_enc + b_enc), so that nothing has to be calibrated and a row
has k active latents at most. Source: Gao et al. 2024, arXiv 2406.04093, section 2.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from engine.errors import DataError
from engine.lab.sparse.codes import Codes, codes_at
from engine.lab.sparse.select import largest

SAELENS: str = "topk"


def select(
    pre: Float[Tensor, "row latent"], k: int, lengths: Float[Tensor, " latent"] | None = None
) -> tuple[Codes, float | None]:
    """The codes that training keeps, and nothing to set a threshold by.

    `lengths`, of decoder rows that are not of norm 1, weigh in the choice.
    """
    weighted = pre if lengths is None else pre.relu() * lengths
    # Chosen by weighted values, kept with their own: `codes_at` reads them from `pre`.
    return codes_at(largest(weighted, k), pre), None


def infer(pre: Float[Tensor, "row latent"], k: int, threshold: float | Tensor | None) -> Codes:
    """The same codes; Top-K has no threshold."""
    return codes_at(largest(pre, k), pre)


def save(
    k: int, threshold: float | Tensor | None, b_enc: Float[Tensor, " latent"]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a SAELens folder holds beyond the four weights: fields of its configuration, and tensors."""
    return {"k": k, "rescale_acts_by_decoder_norm": False}, {}


def load(weights: Mapping[str, Tensor], config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of a `Coder` from a SAELens folder's tensors; DataError where its configuration has no k.

    SAELens may choose by pre-activation times decoder norm. Decoder rows of norm 1, and encoder columns as
    much longer, make the same choice and decode to the same, so that the rescaling is taken into them.
    """
    k = config.get("k")
    # A JSON true is an int to Python.
    if isinstance(k, bool) or not isinstance(k, int):
        raise DataError("a Top-K coder says its k", where=where, expected="a whole number", seen=repr(k))
    if not config.get("rescale_acts_by_decoder_norm"):
        return {**weights, "k": k}
    norms = weights["W_dec"].norm(dim=1)
    # A dead latent's row may be zero: it stays zero instead of becoming NaN.
    lengths = norms.clamp_min(torch.finfo(norms.dtype).tiny)
    # pre_j |d_j| = x . (w_j |d_j|) + b_j |d_j|, and z_j |d_j| times d_j / |d_j| is z_j d_j.
    rescaled = {
        "W_enc": weights["W_enc"] * norms,
        "b_enc": weights["b_enc"] * norms,
        "W_dec": weights["W_dec"] / lengths[:, None],
    }
    return {**weights, **rescaled, "k": k}
