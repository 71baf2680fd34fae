"""A crosscoder measured on held-out contexts, and one of random directions to read it against."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float

from engine.errors import DataError
from engine.families.crosscoder.latent_scaling import (
    HeldOutSums,
    carried_directions,
    explained_by_row,
    held_out,
    ratio_to_own,
    same_directions,
)
from engine.families.crosscoder.source_data import SourceData
from engine.lab.sparse.architectures import batchtopk
from engine.lab.sparse.crosscoder import Batch, Crosscoder, start
from engine.lab.sparse.metrics import principal
from engine.lab.sparse.trainer import first_rows
from engine.lab.sparse.widths import Widths, by_source, over_source


@dataclass(frozen=True)
class Evaluation:
    """A crosscoder on held-out rows; of its live latents the norms and the ratios of latent scaling."""

    coder: Crosscoder
    held: HeldOutSums
    live: Bool[np.ndarray, " latent"]
    norms: Float[np.ndarray, "live source"]
    error_ratio: Float[np.ndarray, " live"]
    reconstruction_ratio: Float[np.ndarray, " live"]

    @property
    def relative(self) -> Float[np.ndarray, "live source"]:
        """Norms relative to each latent's largest."""
        return self.norms / self.norms.max(axis=1, keepdims=True)

    @property
    def firing_rate(self) -> Float[np.ndarray, " latent"]:
        """The share of held-out rows on which each latent is active."""
        return (self.held.fired / self.held.n_rows.sum()).numpy()

    def last_share(self) -> Float[np.ndarray, " live"]:
        """The last source's part of the norms of the first and the last: 0 first alone, 1 last alone."""
        return self.norms[:, -1] / (self.norms[:, 0] + self.norms[:, -1])

    def cosines(self) -> tuple[Float[np.ndarray, " live"], Float[np.ndarray, " live"]]:
        """Products of each live latent's first and last direction, of one basis, and of their norms."""
        live = torch.from_numpy(self.live)
        first = self.coder.directions[0][live]
        last = self.coder.directions[-1][live]
        return (first * last).sum(dim=1).numpy(), self.norms[:, 0] * self.norms[:, -1]


def evaluate(coder: Crosscoder, data: SourceData) -> Evaluation:
    """A crosscoder over held-out rows; DataError where no latent fires."""
    # Into a source of another basis a direction is carried by what goes with it, learned on training rows.
    if data.one_basis:
        probes = same_directions(coder)
    else:
        # Training rows and not held-out ones: a regression fitted to the rows it is measured on would explain
        # them by chance.
        rows, _ = first_rows(data.train(), data.n_steps, lambda batch: batch.float())
        probes = carried_directions(coder, rows)
    held = held_out(coder, data.held(), data.n_contexts, probes)
    live = (held.fired > 0).numpy()
    if not live.any():
        expected = "latents that fire on held-out tokens"
        raise DataError("the crosscoder is dead", expected=expected, seen="none", hint="train on more tokens")
    # A latent's own source is the one in which its decoder is longest.
    own = coder.norms.argmax(dim=1)
    return Evaluation(
        coder=coder,
        held=held,
        live=live,
        norms=coder.norms.numpy()[live],
        error_ratio=ratio_to_own(held.error_scale, own).numpy()[live],
        reconstruction_ratio=ratio_to_own(held.reconstruction_scale, own).numpy()[live],
    )


@dataclass(frozen=True)
class ComponentSums:
    """What principal components explain of held-out rows: "context" each, all sources together."""

    residual: Float[torch.Tensor, " context"]
    total: Float[torch.Tensor, " context"]
    per_token: Float[torch.Tensor, " context"]


@torch.no_grad()
def by_components(coder: Crosscoder, data: SourceData) -> ComponentSums:
    """As many principal components as the crosscoder has active latents, of the scaled sources side by side.

    They are fitted to the training rows that mean and scale are taken from, and measured where it is.
    """
    rows, _ = first_rows(data.train(), data.n_steps, lambda batch: batch.float())
    reconstruct = principal([coder.scaled(rows)]).reconstruct(coder.k)
    sums = torch.zeros(3, data.n_contexts)
    for batch, contexts in data.held():
        x = coder.scaled(batch.float())
        error = x - reconstruct(x)
        found = [error.square().sum(dim=1), x.square().sum(dim=1), explained_by_row(x, error)]
        sums.index_add_(1, contexts, torch.stack(found))
    return ComponentSums(*sums)


def random_crosscoder(batch: Batch, widths: Widths, n_features: int, k: int, seed: int) -> Crosscoder:
    """Random directions, with the threshold and for each source the scale that suit a batch best."""
    # `start` fixes mean and scale, so that the control reads the same inputs as the crosscoder.
    coder = start(batch.float(), widths, n_features, k, seed)
    x = coder.scaled(batch.float())
    pre = torch.addmm(coder.b_enc, x, coder.enc.T)
    # The threshold that keeps k latents a row on average on this batch, as training would have set it.
    _, smallest = batchtopk.select(pre, coder.k, coder.norms.sum(dim=1))
    coder = replace(coder, threshold=smallest or 0.0)
    # Least squares, source by source: the factor b that minimises |x - b x'|^2 is x . x' / |x'|^2.
    rebuilt = coder.encode(batch.float()) @ coder.dec
    products = by_source(rebuilt * x, widths).sum(dim=0)
    best = products / by_source(rebuilt.square(), widths).sum(dim=0).clamp_min(1e-12)
    return replace(coder, dec=coder.dec * over_source(best, widths))
