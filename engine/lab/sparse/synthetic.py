"""Activations made of known directions, which a sparse coder must find, and planted splits of them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from engine.lab.sparse.coder import Coder, unit_rows


def known_dictionary(d: int, n: int, seed: int) -> Float[Tensor, "feature d"]:
    """Random unit directions: the features that the data are made of."""
    return unit_rows(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)))


def sparse_batches(
    features: Float[Tensor, "feature d"],
    *,
    active: float,
    batch_size: int,
    n_batches: int,
    seed: int,
    noise: float = 0.01,
) -> Iterator[Float[Tensor, "batch d"]]:
    """Rows that sum features, each present by itself with strength from 0.5 to 1.5, `active` on average."""
    generator = torch.Generator().manual_seed(seed)
    n, d = features.shape
    for _ in range(n_batches):
        # Each feature by itself with probability active / n, so that no two go together.
        present = torch.rand(batch_size, n, generator=generator) < active / n
        # Bounded away from 0, so that a present feature is never a matter of noise.
        strengths = 0.5 + torch.rand(batch_size, n, generator=generator)
        blur = noise * torch.randn(batch_size, d, generator=generator)
        yield (present * strengths) @ features + blur


def recovered(
    W_dec: Float[Tensor, "latent d"], features: Float[Tensor, "feature d"]
) -> Float[Tensor, " feature"]:
    """The cosine of each known feature with the decoder direction nearest to it."""
    return (unit_rows(features) @ unit_rows(W_dec).T).amax(dim=1)


def tied_coder(features: Float[Tensor, "feature d"], k: int) -> Coder:
    """Top-K over given directions, encoded by themselves."""
    rows = unit_rows(features)
    return Coder(rows.T.contiguous(), torch.zeros(len(rows)), rows, torch.zeros(rows.shape[1]), "topk", k)


def split_features(
    parents: Float[Tensor, "parent d"], n_split: int, children: int, cosine: float, seed: int
) -> Float[Tensor, "child d"]:
    """The first `n_split` parents as several children each, at that cosine with the parent; the others as is.

    Children of one parent differ in random directions, kept orthogonal to it.
    """
    directions = unit_rows(parents)
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for i, parent in enumerate(directions):
        if i >= n_split:
            rows.append(parent[None])
            continue
        aside = torch.randn(children, len(parent), generator=generator)
        # Gram-Schmidt against the parent, then child = cos * parent + sin * aside has norm 1 and the given
        # cosine.
        aside = unit_rows(aside - (aside @ parent)[:, None] * parent)
        rows.append(cosine * parent + (1 - cosine**2) ** 0.5 * aside)
    return torch.cat(rows)
