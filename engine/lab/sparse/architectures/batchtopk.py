"""BatchTopK: the k largest pre-activations a row on average over a batch; one threshold at inference.

Rows that need more latents take them from rows that need fewer. What a row keeps then depends on the others
of its batch, which inference must not: there a latent is active above a threshold, the running mean of the
smallest activation that training kept. Source: Bussmann et al. 2024, arXiv 2412.06410, sections 3 and 3.1.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.lab.sparse.architectures.jumprelu import SAELENS, infer, save
from engine.lab.sparse.codes import Codes, codes_at
from engine.lab.sparse.select import largest

# At inference it is a JumpReLU whose latents have one threshold, and SAELens has it as such.
__all__ = ["SAELENS", "infer", "moved", "save", "select"]


def select(
    pre: Float[Tensor, "row latent"], k: int, lengths: Float[Tensor, " latent"] | None = None
) -> tuple[Codes, float | None]:
    """The codes that training keeps of a batch, and the smallest (weighted) activation among them.

    `lengths`, of decoder rows that are not of norm 1, weigh in the choice: what counts is how much of the
    output an activation makes, z_j |d_j| (Minder et al. 2025, for crosscoders). None is smallest where
    nothing is positive.
    """
    weighted = pre if lengths is None else pre.relu() * lengths
    codes = codes_at(_largest_of_batch(weighted, k), pre)
    if not len(codes.values):
        return codes, None
    kept = codes.values if lengths is None else codes.values * lengths[codes.latents]
    return codes, float(kept.min())


def moved(threshold: float | None, smallest: float, rate: float) -> float:
    """The running mean of the smallest activation, one batch further; it starts at the first one's."""
    before = smallest if threshold is None else threshold
    # An exponential moving average: threshold <- (1 - rate) threshold + rate smallest.
    return before + rate * (smallest - before)


def _largest_of_batch(values: Float[Tensor, "row latent"], k: int) -> Int[Tensor, " entry"]:
    """Flat positions, ascending, of the k times rows largest entries of the whole batch."""
    # The batch as one row: flat positions of it are those of "row latent".
    return largest(torch.reshape(values, (1, -1)), k * len(values))
