"""The loss of a Top-K or BatchTopK autoencoder and its gradients, written by hand over active latents only.

    L = mean over rows of |x' - x|^2  +  c * mean over rows of |e' - e|^2

e is what the coder left over (x - x', held constant) and e' what the `k_aux` largest dead latents make of it:
AuxK, Gao et al. 2024, arXiv 2406.04093, A.2. The one dense product is the encoder's: decoding, its gradients
and the encoder's cost rows * k * d instead of rows * latents * d each. The gradient along a decoder row is
removed, since rows stay at norm 1. engine/lab/sparse/slow.py has the same by autograd.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine.lab.sparse.coder import Codes, Kind, batch_largest, codes_at, weighted_sums
from engine.lab.sparse.select import largest


@dataclass(frozen=True)
class Weights:
    """What is trained. The encoder is kept latent by latent, so that its gradient is too."""

    W_enc: Float[Tensor, "latent d"]
    W_dec: Float[Tensor, "latent d"]
    b_enc: Float[Tensor, " latent"]
    b_dec: Float[Tensor, " d"]

    def all(self) -> list[Tensor]:
        return [self.W_enc, self.W_dec, self.b_enc, self.b_dec]


@dataclass(frozen=True)
class Objective:
    """What is minimised: kind and k of the codes, weight and width of the auxiliary loss."""

    kind: Kind
    k: int
    aux_coefficient: float
    k_aux: int

    def choose(self, pre: Float[Tensor, "row latent"]) -> Codes:
        """The codes that training keeps."""
        kept = largest(pre, self.k) if self.kind == "topk" else batch_largest(pre, self.k)
        return codes_at(kept, pre)


@dataclass(frozen=True)
class Step:
    """One batch: the codes, the two terms of the loss, and the gradients of `weights`."""

    codes: Codes
    squared_error: Tensor
    aux_error: Tensor
    gradients: Weights


@torch.no_grad()
def step(
    weights: Weights,
    x: Float[Tensor, "row d"],
    objective: Objective,
    dead: Bool[Tensor, " latent"] | None = None,
) -> Step:
    """Loss and gradients on one batch of scaled activations; decoder rows must have norm 1."""
    centred = x - weights.b_dec
    pre = torch.addmm(weights.b_enc, centred, weights.W_enc.T)
    codes = objective.choose(pre)
    error = codes.times(weights.W_dec).sub_(centred)  # x' - x
    g = error * (2 / len(x))
    dz = codes.dots(g, weights.W_dec)
    order, starts = codes.by_latent()
    rows = codes.rows[order]
    gradients = Weights(
        W_enc=weighted_sums(rows, starts, dz[order], centred),
        W_dec=weighted_sums(rows, starts, codes.values[order], g),
        b_enc=summed_by_latent(codes, dz),
        b_dec=g.sum(dim=0),
    )
    along = summed_by_latent(codes, codes.values * dz)  # row . its gradient
    aux_error = g.new_zeros(())
    if dead is not None and objective.aux_coefficient and bool(dead.any()):
        aux_error = _add_auxiliary(weights, gradients, along, (centred, pre, error), objective, dead)
    gradients.W_dec.addcmul_(along[:, None], weights.W_dec, value=-1)
    gradients.b_dec.sub_(gradients.b_enc @ weights.W_enc)
    return Step(codes, error.square().sum() / len(x), aux_error, gradients)


def summed_by_latent(codes: Codes, values: Float[Tensor, " entry"]) -> Float[Tensor, " latent"]:
    """Each latent's sum of values that belong to the entries of some codes."""
    return values.new_zeros(codes.n_latents).index_add_(0, codes.latents, values)


def _add_auxiliary(
    weights: Weights,
    gradients: Weights,
    along: Tensor,
    batch: tuple[Tensor, Tensor, Tensor],
    objective: Objective,
    dead: Bool[Tensor, " latent"],
) -> Tensor:
    """Add AuxK's gradients in place, over dead latents only (dense, since they are few); its mean square."""
    centred, pre, error = batch
    which = dead.nonzero().flatten()
    W_dec, left_over = weights.W_dec[which], -error
    values = auxiliary_codes(pre[:, which], objective.k_aux)
    missing = values @ W_dec - left_over
    g = missing * (2 * objective.aux_coefficient / len(centred))
    dz = (g @ W_dec.T) * (values > 0)
    gradients.W_dec.index_add_(0, which, values.T @ g)
    gradients.W_enc.index_add_(0, which, dz.T @ centred)
    gradients.b_enc.index_add_(0, which, dz.sum(dim=0))
    along.index_add_(0, which, (values * dz).sum(dim=0))
    return missing.square().sum() / len(centred)


def auxiliary_codes(pre: Float[Tensor, "row dead"], k_aux: int) -> Float[Tensor, "row dead"]:
    """The positive ones of the k_aux largest dead latents of each row."""
    if pre.shape[1] <= k_aux:
        return pre.relu()
    top = pre.topk(k_aux, dim=1, sorted=False)
    return torch.zeros_like(pre).scatter_(1, top.indices, top.values.relu())
