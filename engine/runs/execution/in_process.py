"""Runs measured in this process, one after the other, each model loaded once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.runs.execution.executor import Answer, Job, Listener, Task, seldom, used_runs
from engine.runs.execution.workbench import Workbench, answer_task, failed_answer
from engine.runs.planning.keys import RunInputs
from engine.runs.planning.plan import PlannedRun
from engine.runs.store.record import StoredRun

if TYPE_CHECKING:
    from engine.evidence.result import Result

PROGRESS_SECONDS = 0.1  # between two words of progress


@dataclass
class InProcessExecutor:
    """Measures the one job it has within `wait`. With `debug` an answer carries the error itself."""

    bench: Workbench
    load: Callable[[StoredRun], Result]
    debug: bool = False
    job: Job | None = None

    def refusal(self, run: PlannedRun) -> str:
        """None: what is too large for memory is for the plan to say."""
        return ""

    def has_room(self, run: PlannedRun) -> bool:
        """Whether no job was begun."""
        return self.job is None

    def resolve(self, task: Task, listen: Listener) -> RunInputs | Answer:
        """The inputs with the models' bytes: a model that was never seen is loaded here, before the lock."""
        try:
            # The key needs the bytes of the models, and a lock is taken by key.
            return self.bench.resolved(task, listen)
        except Exception as error:
            return failed_answer(self.bench, task, error, log="", keep_error=self.debug)

    def begin(self, job: Job) -> None:
        """Remember the job until somebody waits for it."""
        self.job = job

    def wait(self, seconds: float, listen: Listener) -> list[Answer]:
        """The answer to the job, which is measured now."""
        job = self.job
        if job is None:
            time.sleep(seconds)
            return []
        # Families report progress as often as they like; whoever shows it need not keep up.
        listen = seldom(listen, PROGRESS_SECONDS)
        # Forgotten first: an interrupt ends the run, and nobody is to begin it again.
        self.job = None
        answer = answer_task(
            self.bench,
            job.task,
            lambda: used_runs(job.upstream, self.load),
            job.log,
            listen,
            keep_error=self.debug,
        )
        return [answer]

    def close(self) -> None:
        """Forget the model: a notebook that measures goes on living, and needs the memory."""
        self.bench.model = None
