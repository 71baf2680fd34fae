"""Runs measured at once on this machine: processes, each with its own model and its share of the threads.

Processes are started anew (spawn), so that none inherits threads or a model. Memory decides how many work at
once: a run is handed out when its estimate fits beside those that are out. A process that dies takes nothing
with it but its run, which is tried once more in a new one.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.lab.used_run import UsedRun
from engine.runs.execution.parallel import Order, Told, execute_with
from engine.runs.execution.resources import limit_threads
from engine.runs.execution.scheduler import Execution, Outcome, place
from engine.runs.execution.workbench import Answer, Task, Tell, Workbench, answered
from engine.runs.planning.plan import Plan, PlannedRun
from engine.runs.sources import Sources
from engine.runs.store import run_folder
from engine.runs.store.record import RunName, StoredRun

if TYPE_CHECKING:
    from engine.lab.used_run import Point

ATTEMPTS = 2  # of a run whose process died
THREADS_WORTH_A_PROCESS = 2  # below this many cores each, processes only get into each other's way
SECONDS_WORTH_A_PROCESS = 60.0  # plans shorter than this end before more processes would have begun
MEMORY_SHARE = 0.85  # of what is free, for all runs together
TELL_SECONDS = 0.1  # between two words of progress

Stored = tuple[str, StoredRun, Path]  # role and label, the run, its folder


def in_workers(execution: Execution, jobs: int) -> dict[RunName, Outcome]:
    """Carry out the plan with at most so many processes at once."""
    from engine.models.machine import cores

    assert execution.sources.maker is not None
    runs_folder = execution.store.folder / "runs"
    threads = max(1, cores() // jobs)
    workers = Workers(execution.sources.maker, runs_folder, jobs, threads, MEMORY_SHARE * _free_memory())
    return execute_with(execution, workers)


def decide_jobs(plan: Plan) -> int:
    """How many processes this plan is worth here, by cores, memory and what of it is independent."""
    from engine.models.machine import cores

    runs = plan.to_measure
    if len(runs) < 2 or plan.seconds < SECONDS_WORTH_A_PROCESS:
        return 1
    largest = max(run.estimate.memory_bytes for run in runs)
    by_memory = MEMORY_SHARE * _free_memory() // max(largest, 1)
    names = {run.name for run in runs}
    independent = sum(not names & {*run.examined.needs} for run in runs)
    return max(1, int(min(cores() // THREADS_WORTH_A_PROCESS, by_memory, independent)))


def _free_memory() -> int:
    """Bytes that processes may still take, within the machine's limits."""
    import psutil

    from engine.models.machine import memory_bytes

    return min(psutil.virtual_memory().available, memory_bytes())


@dataclass
class Worker:
    """One process, the run it is at (None: idle), and the model it has in memory.

    `begun` says that it said a word of that run, or was started for it.
    """

    process: Any
    connection: Connection
    order: Order | None = None
    model: tuple[str, str] | None = None
    begun: bool = True


@dataclass
class Workers:
    """Processes on this machine, as `parallel.Hands`."""

    maker: Callable[[], Sources]
    runs_folder: Path
    jobs: int
    threads: int
    memory_bytes: float
    crew: list[Worker] = field(default_factory=list)
    deaths: dict[RunName, int] = field(default_factory=dict)

    def refusal(self, run: PlannedRun) -> str:
        """None: a run that is too large for what is free goes out alone."""
        return ""

    def room(self, run: PlannedRun) -> bool:
        """Whether a process and the memory are free; the first run always has room."""
        busy = [worker.order.run for worker in self.crew if worker.order]
        taken = sum(other.estimate.memory_bytes for other in busy)
        fits = not busy or taken + run.estimate.memory_bytes <= self.memory_bytes
        return len(busy) < self.jobs and fits

    def take(self, order: Order) -> None:
        """Hand the task to an idle process, best one that has its model, else to a new one."""
        idle = [worker for worker in self.crew if not worker.order]
        idle.sort(key=lambda worker: worker.model != place(order.run))
        worker = idle[0] if idle else self._hired()
        worker.order, worker.model, worker.begun = order, place(order.run), not idle
        stored = [(role, run, self.runs_folder / str(run.id)) for role, run in order.upstream.items()]
        with suppress(OSError):  # it died while idle: the news will say so
            worker.connection.send((order.task, stored, order.log))

    def news(self, seconds: float) -> Iterator[Told | Answer]:
        """Words from the processes, and answers for those that died twice at a run."""
        if not self.crew:
            time.sleep(seconds)
        talking = wait([worker.connection for worker in self.crew], seconds)
        for worker in [w for w in self.crew if w.connection in talking]:
            try:
                said = worker.connection.recv()
            except (EOFError, OSError):
                yield from self._died(worker)
                continue
            worker.begun = True
            if isinstance(said, Answer):
                worker.order = None
            yield said

    def close(self) -> None:
        """End every process."""
        for worker in self.crew:
            worker.process.kill()
            worker.process.join()
            worker.connection.close()
        self.crew.clear()

    def _hired(self) -> Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self.maker, self.threads), daemon=True)
        process.start()
        theirs.close()
        self.crew.append(Worker(process, ours))
        return self.crew[-1]

    def _died(self, worker: Worker) -> Iterator[Answer]:
        """Let a dead process go; its run is begun anew, or answered for if that was done before.

        A run handed to a process that was idle, and dying, has not been tried.
        """
        worker.process.join()
        worker.connection.close()
        self.crew.remove(worker)
        if worker.order is None:
            return
        name = worker.order.task.name
        self.deaths[name] = self.deaths.get(name, 0) + worker.begun
        if self.deaths[name] < ATTEMPTS:
            self.take(worker.order)
            return
        why = f"the process that measured it {_end_of(worker.process.exitcode)}, {ATTEMPTS} times"
        yield Answer(name, None, _log_of(worker.order), f"{why}; fewer --jobs need less memory", why)


def _end_of(exit_code: int) -> str:
    if exit_code < 0:
        return f"was ended by signal {-exit_code} ({signal.Signals(-exit_code).name})"
    return f"ended with status {exit_code}"


def _log_of(order: Order) -> str:
    return order.log.read_text(encoding="utf-8") if order.log and order.log.exists() else ""


def _work(connection: Connection, maker: Callable[[], Sources], threads: int) -> None:
    """What a worker process does until its pipe or its parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it and ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    limit_threads(threads)
    bench = Workbench(maker())
    with suppress(EOFError, ConnectionError):
        while True:
            task, stored, log = connection.recv()
            connection.send(_answer(bench, task, stored, log, _teller(connection, task)))


def _answer(bench: Workbench, task: Task, stored: list[Stored], log: Path | None, tell: Tell) -> Answer:
    with tempfile.TemporaryDirectory() as scratch:
        file = log or Path(scratch) / run_folder.LOG
        return answered(bench, task, lambda: _loaded(stored), file, tell)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _teller(connection: Connection, task: Task) -> Tell:
    """Sends what the bench says, not every word of progress."""
    last = 0.0

    def tell(kind: str, fraction: float, message: str) -> None:
        nonlocal last
        if kind == "start" or time.monotonic() - last >= TELL_SECONDS:
            last = 0.0 if kind == "start" else time.monotonic()
            connection.send(Told(task.name, kind, fraction, message))

    return tell


def _loaded(stored: list[Stored]) -> dict[str, dict[Point, UsedRun]]:
    """Stored runs by role and sweep point, each file proved to be what was written."""
    uses: dict[str, dict[Point, UsedRun]] = {}
    for role_and_label, run, path in stored:
        role = role_and_label.partition(":")[0]
        result = run_folder.read_result(path, run.files)
        uses.setdefault(role, {})[run.name.point] = UsedRun(result, run.record.inputs.experiment)
    return uses
