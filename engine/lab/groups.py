"""Prompts of one length together, so that no instrument works on padding."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor


def equal_length_groups(last: Int[Tensor, " prompt"], size: int) -> Iterator[list[int]]:
    """Prompt indices in groups of one length (last position `last`), at most `size` each."""
    for position in torch.unique(last).tolist():
        # `unique` sorts: short prompts come first, and the order is the same in every run.
        members = torch.nonzero(last == position).flatten().tolist()
        yield from (members[i : i + size] for i in range(0, len(members), size))
