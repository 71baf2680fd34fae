"""A crosscoder measured on held-out contexts, and its nulls: random directions, and misaligned sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine.errors import DataError
from engine.families.crosscoder.latent_scaling import (
    HeldOutSums,
    carried_directions,
    held_out,
    ratio_to_own,
    same_directions,
)
from engine.families.crosscoder.sources import AlignedSources
from engine.lab.sparse.architectures import batchtopk
from engine.lab.sparse.crosscoder import Batch, Crosscoder, start
from engine.lab.sparse.trainer import first_rows
from engine.lab.sparse.widths import Widths, by_source, over_source

HELD_ROWS = 4096  # rows measured at once

Rows = Iterator[tuple[Batch, Tensor]]  # held-out rows, and the context of each


@dataclass(frozen=True)
class SourceData:
    """Training batches and held-out rows with their contexts, anew at each call; names and widths of sources.

    `one_basis` says whether a direction means the same in all of them.
    """

    train: Callable[[], Iterator[Batch]]
    held: Callable[[], Rows]
    n_steps: int
    n_contexts: int
    sources: list[str]
    widths: Widths
    one_basis: bool = True

    def misaligned(self, seed: int) -> SourceData:
        """The same with each source but the first in a random order of its own within each batch."""

        def held() -> Rows:
            contexts = (context for _, context in self.held())
            rows = misaligned((rows for rows, _ in self.held()), self.widths, seed + 1)
            return zip(rows, contexts, strict=True)

        return replace(self, train=lambda: misaligned(self.train(), self.widths, seed), held=held)


def source_data(
    aligned: AlignedSources, held_out: float, batch_size: int, seed: int, epochs: int
) -> SourceData:
    """Activations to train on, `epochs` times in an order drawn by `seed`, and those held out."""
    train_part, test_part = aligned.split(held_out)
    context = torch.from_numpy(test_part.context).long()

    def held() -> Rows:
        for index in torch.arange(len(context)).split(HELD_ROWS):
            yield test_part.rows(index), context[index]

    return SourceData(
        lambda: train_part.batches(batch_size, seed, epochs),
        held,
        train_part.n_tokens // batch_size * epochs,
        test_part.n_contexts,
        aligned.names,
        aligned.widths,
        aligned.one_basis,
    )


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
        first, last = self.coder.directions[0][live], self.coder.directions[-1][live]
        return (first * last).sum(dim=1).numpy(), self.norms[:, 0] * self.norms[:, -1]


def evaluate(coder: Crosscoder, data: SourceData) -> Evaluation:
    """A crosscoder over held-out rows; DataError where no latent fires."""
    if data.one_basis:
        probes = same_directions(coder)
    else:
        rows, _ = first_rows(data.train(), data.n_steps, lambda batch: batch.float())
        probes = carried_directions(coder, rows)
    held = held_out(coder, data.held(), data.n_contexts, probes)
    live = (held.fired > 0).numpy()
    if not live.any():
        expected = "latents that fire on held-out tokens"
        raise DataError("the crosscoder is dead", expected=expected, seen="none", hint="train on more tokens")
    own, scales = coder.norms.argmax(dim=1), (held.error_scale, held.reconstruction_scale)
    ratios = [ratio_to_own(scale, own).numpy()[live] for scale in scales]
    return Evaluation(coder, held, live, coder.norms.numpy()[live], *ratios)


def misaligned(batches: Iterator[Batch], widths: Widths, seed: int) -> Iterator[Batch]:
    """Each source but the first in a random order of its own: a row's sources are of different tokens."""
    generator = torch.Generator().manual_seed(seed)
    for batch in batches:
        first, *rest = batch.split(widths, dim=1)
        orders = [torch.randperm(len(batch), generator=generator) for _ in rest]
        yield torch.cat([first, *(part[order] for part, order in zip(rest, orders, strict=True))], dim=1)


def random_crosscoder(batch: Batch, widths: Widths, n_features: int, k: int, seed: int) -> Crosscoder:
    """Random directions, with the threshold and for each source the scale that suit a batch best."""
    coder = start(batch.float(), widths, n_features, k, seed)
    x = coder.scaled(batch.float())
    pre = torch.addmm(coder.b_enc, x, coder.enc.T)
    _, smallest = batchtopk.select(pre, coder.k, coder.norms.sum(dim=1))
    coder = replace(coder, threshold=smallest or 0.0)
    rebuilt = coder.encode(batch.float()) @ coder.dec
    products = by_source(rebuilt * x, widths).sum(dim=0)
    best = products / by_source(rebuilt.square(), widths).sum(dim=0).clamp_min(1e-12)
    return replace(coder, dec=coder.dec * over_source(best, widths))
