"""Independent pieces of work side by side, each on one thread.

Matrix products of this size gain little from being spread over two cores, and stall at every product where
another program takes one of the cores; whole pieces side by side do neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
Outcome = TypeVar("Outcome")


def side_by_side(
    work: Callable[[Piece], Outcome], pieces: Iterable[Piece], device: str = "cpu"
) -> list[Outcome]:
    """`work` of each piece, in order, as many at once as torch has threads; one after the other on a GPU.

    No gradient is recorded unless `work` asks for it. What one piece raises is raised here.
    """
    threads = torch.get_num_threads()
    # Whether gradients are recorded is a setting of each thread, and a new thread records them.
    quietly = torch.no_grad()(work)
    # On a GPU one stream does the work anyway: threads would only wait for each other.
    if threads == 1 or not device.startswith("cpu"):
        return [quietly(piece) for piece in pieces]
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(quietly, pieces))
    finally:
        torch.set_num_threads(threads)
