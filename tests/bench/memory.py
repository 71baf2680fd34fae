"""How many bytes of tensors a piece of work holds at its peak, counted and not sampled.

A process's resident memory moves by some per cent from run to run: with what the allocator keeps, with what
threads do at the same moment, with which pages of a file are in memory. The tensors that are alive do not.
Memory that is not torch's, such as numpy's, is not seen here.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveTensors(TorchDispatchMode):
    """Counts what every operation makes, once for all views of it, until nothing refers to it any more."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # What comes in was there before: an operation that gives a view of it makes nothing.
        for tensor in _dense(args):
            self._count(tensor, made_here=False)
        out = func(*args, **(kwargs or {}))
        for tensor in _dense(out):
            self._count(tensor)
        return out

    def _count(self, tensor: Tensor, made_here: bool = True) -> None:
        storage = tensor.untyped_storage()
        place = storage._cdata
        if place in self.known:
            return
        self.known.add(place)
        size = storage.nbytes() if made_here else 0
        self.bytes += size
        self.peak = max(self.peak, self.bytes)
        # The Python object of a storage lives as long as the storage does.
        weakref.finalize(storage, self._forget, place, size)

    def _forget(self, place: int, size: int) -> None:
        # The address may be given to another tensor from here on.
        self.known.discard(place)
        self.bytes -= size


def tensor_peak(work: Callable[[], object]) -> int:
    """Bytes of the tensors that `work` made and still held, at most."""
    # On one thread: a mode is a thread's own, and does not see what others make.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with LiveTensors() as live:
            work()
        return live.peak
    finally:
        torch.set_num_threads(threads)


def _dense(tree: Any) -> list[Tensor]:
    """The tensors in arguments or results that have a storage; sparse ones are made of several that have."""
    leaves = tree_leaves(tree)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.layout == torch.strided]
