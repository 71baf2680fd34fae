"""Independent work that other processes take up from the end, while this one works from the front.

They meet wherever the machine's load lets them, and none waits for another to start. Results are the same
whoever makes them; what another process cannot make is made here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

from engine.models.machine import cores
from engine.runs.execution.resources import begin_worker
from engine.runs.garbage import collect_seldom


@dataclass
class ProcessShare:
    """Work by name, as far as other processes may take it; none of it where there are no others."""

    futures: dict[Hashable, Future] = field(default_factory=dict)

    def take(self, name: Hashable) -> Any:
        """What another process made of this work; None where it is to be made here.

        To be asked for each piece in the order in which the work was given. Raises what the work raised.
        """
        future = self.futures.pop(name, None)
        # It can be called back only as long as nobody has taken it up.
        if future is None or future.cancel():
            return None
        try:
            return future.result()
        except BrokenProcessPool:  # one of them was killed, so that all of theirs comes back
            return None


@contextmanager
def process_share(
    work: Callable[..., Any], pieces: Mapping[Any, tuple], jobs: int | None, worth_a_process: int
) -> Iterator[ProcessShare]:
    """Let other processes do `work(*arguments)` for these pieces, of which this process takes its share.

    `jobs` processes in all (None: as many as there are cores), and none beside this one for fewer than
    `worth_a_process` pieces each. `work` is a function of a module, since it goes to the others by name.
    """
    others = min(jobs or cores(), len(pieces) // max(worth_a_process, 1)) - 1
    if others < 1:
        yield ProcessShare()
        return
    # Not forked: a build that has measured has torch's threads and a model in this process.
    pool = ProcessPoolExecutor(others, get_context("spawn"), initializer=_begin)
    try:
        backwards = reversed(list(pieces.items()))
        yield ProcessShare({name: pool.submit(work, *arguments) for name, arguments in backwards})
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    begin_worker(1)
    collect_seldom()
