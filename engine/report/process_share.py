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
from importlib import import_module
from multiprocessing import get_context
from typing import Any

from engine.models.machine import cores
from engine.runs.execution.resources import begin_worker
from engine.runs.garbage import collect_seldom


@dataclass
class ProcessShare:
    """Work by name, as far as other processes may take it; none of it where there are no others."""

    futures: dict[Hashable, Future] = field(default_factory=dict)
    is_broken: bool = False

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
            self.is_broken = True
            return None


@dataclass
class Processes:
    """Other processes of one build: started when it is worth it, used again, and ended with the block.

    `jobs` processes in all (None: as many as there are cores), this one included.
    """

    jobs: int | None = None
    pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *raised: object) -> None:
        if self.pool:
            self.pool.shutdown(cancel_futures=True)

    def begin(self, module: str, count: int, worth_a_process: int) -> None:
        """Start them ahead, where so many pieces are to come, and let them import what does the work."""
        if pool := self._worth(count, worth_a_process):
            pool.submit(import_module, module)

    @contextmanager
    def share(
        self, work: Callable[..., Any], pieces: Mapping[Any, tuple], worth_a_process: int
    ) -> Iterator[ProcessShare]:
        """Let other processes do `work(*arguments)` for these pieces, of which this process takes its share.

        None takes part where there are fewer than `worth_a_process` pieces for each process. `work` is a
        function of a module, since it goes to the others by name.
        """
        pool = self._worth(len(pieces), worth_a_process)
        if pool is None:
            yield ProcessShare()
            return
        backwards = reversed(list(pieces.items()))
        share = ProcessShare({name: pool.submit(work, *arguments) for name, arguments in backwards})
        try:
            yield share
        finally:
            # What nobody asked for is called off; a pool that lost a process takes no more work.
            for future in share.futures.values():
                future.cancel()
            if share.is_broken:
                self.pool = None

    def _worth(self, count: int, worth_a_process: int) -> ProcessPoolExecutor | None:
        others = min(self.jobs or cores(), count // max(worth_a_process, 1)) - 1
        if others < 1:
            return None
        if self.pool is None:
            # Not forked: a build that has measured has torch's threads and a model in this process.
            self.pool = ProcessPoolExecutor(others, get_context("spawn"), initializer=_begin)
        return self.pool


def _begin() -> None:
    begin_worker(1)
    collect_seldom()
