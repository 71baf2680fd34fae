"""A crosscoder measured on held-out contexts, and its nulls: random directions, and misaligned sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine.errors import DataError
from engine.lab.sparse.crosscoder import Batch, Crosscoder, keep_largest, start
from engine.lab.sparse.latent_scaling import Held, held_out, ratio_to_own


@dataclass(frozen=True)
class SourceData:
    """Training batches and held-out rows with their contexts, anew at each call; what sources are called."""

    train: Callable[[], Iterator[Batch]]
    held: Callable[[], Iterator[tuple[Batch, Tensor]]]
    n_steps: int
    n_contexts: int
    sources: list[str]


@dataclass(frozen=True)
class Measured:
    """A crosscoder on held-out rows; of its live latents the norms and the ratios of latent scaling."""

    coder: Crosscoder
    held: Held
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
        """Products of each live latent's first and last direction, and of their norms."""
        first, last = self.coder.directions[torch.from_numpy(self.live)][:, [0, -1]].unbind(dim=1)
        return (first * last).sum(dim=1).numpy(), self.norms[:, 0] * self.norms[:, -1]


def measured(coder: Crosscoder, batches: Iterator[tuple[Batch, Tensor]], n_contexts: int) -> Measured:
    """A crosscoder over held-out rows; DataError where no latent fires."""
    held = held_out(coder, batches, n_contexts)
    live = (held.fired > 0).numpy()
    if not live.any():
        expected = "latents that fire on held-out tokens"
        raise DataError("the crosscoder is dead", expected=expected, seen="none", hint="train on more tokens")
    own, scales = coder.norms.argmax(dim=1), (held.error_scale, held.reconstruction_scale)
    ratios = [ratio_to_own(scale, own).numpy()[live] for scale in scales]
    return Measured(coder, held, live, coder.norms.numpy()[live], *ratios)


def misaligned(batches: Iterator[Batch], seed: int) -> Iterator[Batch]:
    """Each source but the first in a random order of its own: a row's sources are of different tokens."""
    generator = torch.Generator().manual_seed(seed)
    for batch in batches:
        orders = [torch.randperm(len(batch), generator=generator) for _ in range(batch.shape[1] - 1)]
        rest = [batch[order, source] for source, order in enumerate(orders, 1)]
        yield torch.stack([batch[:, 0], *rest], dim=1)


def misaligned_held(data: SourceData, seed: int) -> Iterator[tuple[Batch, Tensor]]:
    """The held-out rows with their sources misaligned."""
    contexts = (context for _, context in data.held())
    return zip(misaligned((rows for rows, _ in data.held()), seed), contexts, strict=True)


def random_crosscoder(batch: Batch, n_features: int, k: int, seed: int) -> Crosscoder:
    """Random directions, with the threshold and for each source the scale that suit a batch best."""
    coder = start(batch.float(), n_features, k, seed)
    x = coder.scaled(batch.float())
    _, smallest = keep_largest(coder, torch.addmm(coder.b_enc, x, coder.enc.T))
    coder = replace(coder, threshold=smallest)
    rebuilt = (coder.encode(batch.float()) @ coder.dec).view(len(x), *coder.mean.shape)
    products = (rebuilt * x.view(rebuilt.shape)).sum(dim=(0, 2))
    best = products / rebuilt.square().sum(dim=(0, 2)).clamp_min(1e-12)
    return replace(coder, dec=(coder.directions * best[:, None]).flatten(1))
