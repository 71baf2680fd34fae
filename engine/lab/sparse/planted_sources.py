"""Activations of several sources made of known features, some shared and some exclusive to one source."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

NOISE = 0.01


@dataclass(frozen=True)
class PlantedSources:
    """Directions "feature source d", zero where a feature is absent, and how often each is active."""

    directions: Float[Tensor, "feature source d"]
    rate: float

    @property
    def present(self) -> Bool[Tensor, "feature source"]:
        return self.directions.norm(dim=2) > 0

    def draw(self, n: int, seed: int) -> Float[Tensor, "row source d"]:
        """Rows in which each feature is active on its own, with a strength from 1 to 2, and some noise."""
        generator = torch.Generator().manual_seed(seed)
        shape = n, len(self.directions)
        active = torch.rand(shape, generator=generator) < self.rate
        strength = active * (1 + torch.rand(shape, generator=generator))
        rows = torch.einsum("rf,fsd->rsd", strength, self.directions)
        return rows + NOISE * torch.randn(rows.shape, generator=generator)


def planted_sources(
    n_shared: int, n_exclusive: int, *, n_sources: int = 2, d: int = 32, rate: float = 0.05, seed: int = 0
) -> PlantedSources:
    """Random unit directions: `n_shared` features in all sources, then `n_exclusive` in each source alone."""
    generator = torch.Generator().manual_seed(seed)
    n = n_shared + n_sources * n_exclusive
    directions = torch.randn(n, n_sources, d, generator=generator)
    directions = directions / directions.norm(dim=2, keepdim=True)
    for source in range(n_sources):
        alone = slice(n_shared + source * n_exclusive, n_shared + (source + 1) * n_exclusive)
        others = [other for other in range(n_sources) if other != source]
        directions[alone, others] = 0
    return PlantedSources(directions, rate)
