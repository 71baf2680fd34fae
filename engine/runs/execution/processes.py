"""Runs measured at once on this machine: processes, each with its own model and its share of the threads.

Processes are started anew (spawn), so that none inherits threads or a model. Memory decides how many work at
once: a run is handed out when its estimate fits beside those that are out. A process that dies takes nothing
with it but its run, which is tried once more in a new one.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import psutil

from engine.evidence.result import Result
from engine.models.machine import cores, memory_bytes
from engine.runs.execution.executor import (
    Answer,
    Job,
    Listener,
    Task,
    model_of,
    seldom,
    used_runs,
)
from engine.runs.execution.resources import begin_worker
from engine.runs.execution.workbench import Workbench, answer_task
from engine.runs.planning.keys import RunInputs
from engine.runs.planning.plan import Plan, PlannedRun
from engine.runs.sources import Sources
from engine.runs.store.record import RunName, StoredRun
from engine.runs.store.run_folder import load_run

ATTEMPTS = 2  # of a run whose process died
THREADS_WORTH_A_PROCESS = 2  # below this many cores each, processes only get into each other's way
SECONDS_WORTH_A_PROCESS = 60.0  # plans shorter than this end before more processes would have begun
MEMORY_SHARE = 0.85  # of what is free, for all runs together
PROGRESS_SECONDS = 0.1  # between two words of progress


def process_executor(maker: Callable[[], Sources], jobs: int) -> ProcessExecutor:
    """At most so many processes at once, which share this machine's cores and what of its memory is free."""
    threads = max(1, cores() // jobs)
    return ProcessExecutor(maker, jobs, threads, MEMORY_SHARE * _free_memory())


def decide_jobs(plan: Plan) -> int:
    """How many processes this plan is worth here, by cores, memory and what of it is independent."""
    runs = plan.to_measure
    # Each process pays for importing torch and for its own copy of the model.
    if len(runs) < 2 or plan.seconds < SECONDS_WORTH_A_PROCESS:
        return 1
    # By the largest: any of the processes may be given it.
    largest = max(run.estimate.memory_bytes for run in runs)
    by_memory = MEMORY_SHARE * _free_memory() // max(largest, 1)
    names = {run.name for run in runs}
    # What uses a run of this very plan waits for it, and keeps no process busy meanwhile.
    independent = sum(not names & {*run.examined.needs} for run in runs)
    return max(1, int(min(cores() // THREADS_WORTH_A_PROCESS, by_memory, independent)))


def _free_memory() -> int:
    """Bytes that processes may still take, within the machine's limits."""
    return min(psutil.virtual_memory().available, memory_bytes())


@dataclass
class WorkerProcess:
    """One process, the job it is at (None: idle), and the model it has in memory.

    `has_begun` says that it said a word of that job, or was started for it.
    """

    process: Any
    connection: Connection
    job: Job | None = None
    model: tuple[str, str] | None = None
    has_begun: bool = True


@dataclass
class ProcessExecutor:
    """Processes on this machine, each with so many threads, and `memory_bytes` for all of them."""

    maker: Callable[[], Sources]
    jobs: int
    threads: int
    memory_bytes: float
    workers: list[WorkerProcess] = field(default_factory=list)
    deaths: dict[RunName, int] = field(default_factory=dict)

    def refusal(self, run: PlannedRun) -> str:
        """None: a run that is too large for what is free goes out alone."""
        return ""

    def has_room(self, run: PlannedRun) -> bool:
        """Whether a process and the memory are free; the first run always has room."""
        busy = [worker.job.run for worker in self.workers if worker.job]
        # Estimates of those that are out, not what is free now: they may not have loaded their models yet.
        taken = sum(other.estimate.memory_bytes for other in busy)
        fits = not busy or taken + run.estimate.memory_bytes <= self.memory_bytes
        return len(busy) < self.jobs and fits

    def resolve(self, task: Task, listen: Listener) -> RunInputs:
        """The inputs as they are: this process loads no model, whoever measures will see its bytes."""
        return task.inputs

    def begin(self, job: Job) -> None:
        """Hand the task to an idle process, best one that has its model, else to a new one."""
        idle = [worker for worker in self.workers if not worker.job]
        # False sorts before True: who has the model already comes first, the order is kept otherwise.
        idle.sort(key=lambda worker: worker.model != model_of(job.run))
        worker = idle[0] if idle else self._new_worker()
        worker.job = job
        worker.model = model_of(job.run)
        # An idle process may have died unheard: until it says a word, the run counts as not tried.
        worker.has_begun = not idle
        with suppress(OSError):  # it died while idle: `wait` will find its pipe closed
            worker.connection.send((job.task, job.upstream, job.log))

    def wait(self, seconds: float, listen: Listener) -> list[Answer]:
        """Answers of the processes, and for those that died twice at a run."""
        if not self.workers:
            time.sleep(seconds)
        answers = []
        talking = wait([worker.connection for worker in self.workers], seconds)
        for worker in [w for w in self.workers if w.connection in talking]:
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):  # the system closes the pipe of a process however it dies
                answers += self._bury(worker)
                continue
            worker.has_begun = True
            if isinstance(message, Answer):
                worker.job = None
                answers.append(message)
            else:
                listen(message)
        return answers

    def close(self) -> None:
        """End every process."""
        for worker in self.workers:
            # Killed, not asked: whoever closes has no use for what is being measured.
            worker.process.kill()
            worker.process.join()
            worker.connection.close()
        self.workers.clear()

    def _new_worker(self) -> WorkerProcess:
        # Not forked: torch's threads and locks do not survive a fork, and a model would be inherited.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self.maker, self.threads), daemon=True)
        process.start()
        # While this process holds that end too, the pipe stays open when the worker dies, and nobody hears.
        theirs.close()
        self.workers.append(WorkerProcess(process, ours))
        return self.workers[-1]

    def _bury(self, worker: WorkerProcess) -> list[Answer]:
        """Let a dead process go; its run is begun anew, or answered for if that was done before.

        A run handed to a process that was idle, and dying, has not been tried.
        """
        worker.process.join()
        worker.connection.close()
        self.workers.remove(worker)
        if worker.job is None:
            return []
        name = worker.job.task.name
        self.deaths[name] = self.deaths.get(name, 0) + worker.has_begun
        if self.deaths[name] < ATTEMPTS:
            self.begin(worker.job)
            return []
        why = f"the process that measured it {_end_of(worker.process.exitcode)}, {ATTEMPTS} times"
        reason = f"{why}; fewer --jobs need less memory"
        return [Answer(name, None, _log_of(worker.job), reason, failure=why)]


def _end_of(exit_code: int) -> str:
    if exit_code < 0:
        return f"was ended by signal {-exit_code} ({signal.Signals(-exit_code).name})"
    return f"ended with status {exit_code}"


def _log_of(job: Job) -> str:
    return job.log.read_text(encoding="utf-8") if job.log and job.log.exists() else ""


def _work(connection: Connection, maker: Callable[[], Sources], threads: int) -> None:
    """What a worker process does until its pipe or its parent ends."""
    begin_worker(threads)  # before the sources import torch
    bench = Workbench(maker())
    listen = seldom(connection.send, PROGRESS_SECONDS)
    with suppress(EOFError, ConnectionError):
        while True:
            task, upstream, log = connection.recv()
            connection.send(_answer(bench, task, upstream, log, listen))


def _answer(
    bench: Workbench, task: Task, upstream: dict[str, StoredRun], log: Path | None, listen: Listener
) -> Answer:
    """The task measured; the runs it uses are read here, so that large arrays do not go through the pipe."""

    def load(stored: StoredRun) -> Result:
        return load_run(task.store_folder, stored)

    return answer_task(bench, task, lambda: used_runs(upstream, load), log, listen)
