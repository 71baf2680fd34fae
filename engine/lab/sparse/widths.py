"""Several sources side by side in one row: where each ends, and what goes by source.

A dictionary that reads one site has one width; a crosscoder has one for each of its sources.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

Widths = tuple[int, ...]
"""How long a row is in each source, in their order."""


def mean_width(widths: Widths) -> float:
    """The width of a source on average: what sources are scaled to, so that they weigh the same."""
    return sum(widths) / len(widths)


def by_source(x: Float[Tensor, "row width"], widths: Widths) -> Float[Tensor, "row source"]:
    """The sum over each source."""
    # Widths may differ between sources, so that there is no axis to reshape into.
    return torch.stack([part.sum(dim=1) for part in x.split(widths, dim=1)], dim=1)


def over_source(values: Float[Tensor, " source"], widths: Widths) -> Float[Tensor, " width"]:
    """A source's value at each of its places."""
    return values.repeat_interleave(torch.tensor(widths))


def norms_by_source(rows: Float[Tensor, "row width"], widths: Widths) -> Float[Tensor, "row source"]:
    """How long each row is in each source."""
    return torch.stack([part.norm(dim=1) for part in rows.split(widths, dim=1)], dim=1)
