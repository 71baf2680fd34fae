"""The loss of a sparse dictionary and its gradients, written by hand over active latents only.

    L = mean over rows of |x' - x|^2  +  c * mean over rows of |e' - e|^2

e is what the dictionary left over (x - x', held constant) and e' what the `k_aux` largest dead latents make
of it: AuxK, Gao et al. 2024, arXiv 2406.04093, A.2. Which latents are active is held constant too, as
autograd does with an index. The one dense product is the encoder's: decoding, its gradients and the encoder's
cost rows * k * d instead of rows * latents * d each. engine/lab/sparse/slow.py has the same by autograd.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine.lab.sparse.architectures.by_name import TRAINABLE, ArchitectureName
from engine.lab.sparse.codes import Codes, weighted_sums
from engine.lab.sparse.widths import Widths, norms_by_source

AUX_COEFFICIENT = 1 / 32
"""The weight of AuxK's loss (Gao et al. 2024)."""


@dataclass(frozen=True)
class Weights:
    """What is trained. The encoder is kept latent by latent, so that its gradient is too."""

    W_enc: Float[Tensor, "latent width"]
    W_dec: Float[Tensor, "latent width"]
    b_enc: Float[Tensor, " latent"]
    b_dec: Float[Tensor, " width"]

    def all(self) -> list[Tensor]:
        return [self.W_enc, self.W_dec, self.b_enc, self.b_dec]


@dataclass(frozen=True)
class Objective:
    """What is minimised: architecture and k of the codes, weight and width of the auxiliary loss.

    `widths` are those of the sources. With one, the dictionary is an autoencoder: its decoder rows have norm
    1 and its decoder's bias is taken from the input. With several it is a crosscoder: a latent's norm in each
    source is what it has to say, so that rows are free and weigh in the choice of latents; the input is
    centred beforehand.
    """

    architecture: ArchitectureName
    k: int
    widths: Widths
    k_aux: int
    aux_coefficient: float = AUX_COEFFICIENT

    @property
    def one_source(self) -> bool:
        return len(self.widths) == 1

    def select(
        self, pre: Float[Tensor, "row latent"], W_dec: Float[Tensor, "latent width"]
    ) -> tuple[Codes, float | None]:
        """The codes that training keeps, and what the threshold is set by, for architectures with one."""
        lengths = None if self.one_source else norms_by_source(W_dec, self.widths).sum(dim=1)
        return TRAINABLE[self.architecture].select(pre, self.k, lengths)


def default_k_aux(widths: Widths) -> int:
    """Half of a source's width, as Gao et al. take half of d_model."""
    return max(1, sum(widths) // (2 * len(widths)))


@dataclass(frozen=True)
class Step:
    """One batch: its codes, the two terms of the loss, and the gradients of the weights.

    `smallest` is the smallest activation that was kept, for architectures whose threshold is set by it.
    """

    codes: Codes
    smallest: float | None
    squared_error: Tensor
    aux_error: Tensor
    gradients: Weights


@torch.no_grad()
def step(
    weights: Weights,
    x: Float[Tensor, "row width"],
    objective: Objective,
    dead: Bool[Tensor, " latent"] | None = None,
) -> Step:
    """Loss and gradients on one batch of scaled activations; decoder rows of one source must have norm 1."""
    # Forward: pre = W_enc (x - b_dec) + b_enc; z = select(pre); x' = z W_dec + b_dec.
    inputs = x - weights.b_dec if objective.one_source else x
    pre = torch.addmm(weights.b_enc, inputs, weights.W_enc.T)
    codes, smallest = objective.select(pre, weights.W_dec)
    decoded = codes.times(weights.W_dec)
    # x' - x; with one source b_dec cancels against the one that was taken from the input.
    error = decoded.sub_(inputs) if objective.one_source else decoded.add_(weights.b_dec).sub_(x)

    # Backward: g = dL/dx' = 2 (x' - x) / rows; dL/dz_j = g . d_j, wanted for active latents only.
    g = error * (2 / len(x))
    dz = codes.dots(g, weights.W_dec)
    # A latent's gradients are sums over the rows on which it is active: entries in the order of latents.
    order, starts = codes.by_latent()
    rows = codes.rows[order]
    gradients = Weights(
        W_enc=weighted_sums(rows, starts, dz[order], inputs),  # dL/dw_j = sum of dz_j * input
        W_dec=weighted_sums(rows, starts, codes.values[order], g),  # dL/dd_j = sum of z_j * g
        b_enc=summed_by_latent(codes, dz),
        b_dec=g.sum(dim=0),
    )
    # d_j . dL/dd_j = sum of z_j * dz_j: what of a decoder row's gradient lies along the row.
    along = summed_by_latent(codes, codes.values * dz) if objective.one_source else None

    aux_error = g.new_zeros(())
    if dead is not None and objective.aux_coefficient and bool(dead.any()):
        aux_error = _add_auxiliary(weights, gradients, along, (inputs, pre, error), objective, dead)
    if along is not None:
        # Rows go back to norm 1 after each step: the part along them would only disturb Adam's moments.
        gradients.W_dec.addcmul_(along[:, None], weights.W_dec, value=-1)
        # b_dec acts through the input as well: dpre/db_dec = -W_enc.
        gradients.b_dec.sub_(gradients.b_enc @ weights.W_enc)
    return Step(codes, smallest, error.square().sum() / len(x), aux_error, gradients)


def summed_by_latent(codes: Codes, values: Float[Tensor, " entry"]) -> Float[Tensor, " latent"]:
    """Each latent's sum of values that belong to the entries of some codes."""
    return values.new_zeros(codes.n_latents).index_add_(0, codes.latents, values)


def _add_auxiliary(
    weights: Weights,
    gradients: Weights,
    along: Float[Tensor, " latent"] | None,
    batch: tuple[Tensor, Tensor, Tensor],
    objective: Objective,
    dead: Bool[Tensor, " latent"],
) -> Tensor:
    """Add AuxK's gradients in place, over dead latents only (dense, since they are few); its mean square.

    `batch` holds inputs, pre-activations and error. A dead latent is in no active set, so that nothing but
    AuxK moves it; living ones are held constant here, since e is.
    """
    inputs, pre, error = batch
    places = dead.nonzero().flatten()
    W_dec = weights.W_dec[places]
    left_over = -error  # e = x - x'
    values = auxiliary_codes(pre[:, places], objective.k_aux)
    missing = values @ W_dec - left_over  # e' - e, with no bias: that belongs to x'
    g = missing * (2 * objective.aux_coefficient / len(inputs))
    dz = (g @ W_dec.T) * (values > 0)  # the ReLU's and the selection's derivative
    gradients.W_dec.index_add_(0, places, values.T @ g)
    gradients.W_enc.index_add_(0, places, dz.T @ inputs)
    gradients.b_enc.index_add_(0, places, dz.sum(dim=0))
    if along is not None:
        along.index_add_(0, places, (values * dz).sum(dim=0))
    return missing.square().sum() / len(inputs)


def auxiliary_codes(pre: Float[Tensor, "row dead"], k_aux: int) -> Float[Tensor, "row dead"]:
    """The positive ones of the k_aux largest dead latents of each row: those that come nearest to firing."""
    if pre.shape[1] <= k_aux:
        return pre.relu()
    top = pre.topk(k_aux, dim=1, sorted=False)
    return torch.zeros_like(pre).scatter_(1, top.indices, top.values.relu())
