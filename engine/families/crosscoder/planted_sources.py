"""Activations of several sources made of known features, some shared and some exclusive to one source."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

NOISE = 0.01


@dataclass(frozen=True)
class PlantedSources:
    """Directions of features with sources side by side, zero where absent, and how often each is active."""

    directions: Float[Tensor, "feature width"]
    widths: tuple[int, ...]
    rate: float

    @property
    def present(self) -> Bool[Tensor, "feature source"]:
        parts = self.directions.split(self.widths, dim=1)
        return torch.stack([part.norm(dim=1) > 0 for part in parts], dim=1)

    def draw(self, n: int, seed: int) -> Float[Tensor, "row width"]:
        """Rows in which each feature is active on its own, with a strength from 1 to 2, and some noise."""
        generator = torch.Generator().manual_seed(seed)
        shape = n, len(self.directions)
        active = torch.rand(shape, generator=generator) < self.rate
        # Away from 0, so that an active feature stands out from the noise.
        strength = active * (1 + torch.rand(shape, generator=generator))
        rows = strength @ self.directions
        return rows + NOISE * torch.randn(rows.shape, generator=generator)


def planted_sources(
    n_shared: int,
    n_exclusive: int,
    *,
    widths: tuple[int, ...] = (32, 32),
    rate: float = 0.05,
    seed: int = 0,
) -> PlantedSources:
    """Random unit directions: `n_shared` features in all sources, then `n_exclusive` in each source alone."""
    generator = torch.Generator().manual_seed(seed)
    n = n_shared + len(widths) * n_exclusive
    # A shared feature has unrelated directions in the sources: only who fires when says that it is one.
    drawn = torch.randn(n, sum(widths), generator=generator).split(widths, dim=1)
    parts = [part / part.norm(dim=1, keepdim=True) for part in drawn]
    # Floor division keeps the shared ones negative; what follows is 0, 1, ... by source.
    owner = (torch.arange(n) - n_shared).div(max(1, n_exclusive), rounding_mode="floor")  # below 0: shared
    for source, part in enumerate(parts):
        part[(owner >= 0) & (owner != source)] = 0
    return PlantedSources(torch.cat(parts, dim=1), widths, rate)
