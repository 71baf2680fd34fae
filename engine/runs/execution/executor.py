"""What the scheduler and those who measure say to each other: jobs, tasks, progress, answers, the executor.

A `Task`, its `TaskProgress` and its `Answer` are values that cross to other processes and nodes. Whoever
measures decides nothing: order, locks, reuse, failure and budget are the scheduler's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from engine.lab.used_run import Point, UsedRun
from engine.runs.planning.keys import RunInputs
from engine.runs.planning.plan import PlannedRun
from engine.runs.store.record import RunName, StoredRun
from engine.spec.models import Experiment

if TYPE_CHECKING:
    from engine.evidence.result import Result

TaskPhase = Literal["fetch", "start", "progress"]
UsedRuns = Mapping[str, Mapping[Point, UsedRun]]  # by role and sweep point


@dataclass(frozen=True)
class Task:
    """A run to measure: `folder` is its investigation's, `store_folder` the project's `.engine/`."""

    name: RunName
    experiment: Experiment
    inputs: RunInputs
    folder: Path
    store_folder: Path

    @property
    def models(self) -> list[str]:
        """The model that it is measured on, then one that this is compared with."""
        return [self.name.model, *self.inputs.second]


@dataclass(frozen=True)
class Job:
    """A task as it is handed out, with what the plan says of its run.

    `upstream` holds the stored runs that it uses, by role and label; `log` is where its log goes, None where
    the run has no folder yet because its key is unknown.
    """

    task: Task
    run: PlannedRun
    upstream: dict[str, StoredRun]
    log: Path | None


@dataclass(frozen=True)
class TaskProgress:
    """One word of a task in progress: a model is fetched, measuring starts, a fraction of it is done."""

    name: RunName
    phase: TaskPhase
    fraction: float = 0.0
    message: str = ""


@dataclass(frozen=True)
class RunOutput:
    """What a run gave; its inputs have the model's bytes and the hook site's layer, provenance the place."""

    result: Result
    inputs: RunInputs
    features: dict[str, float]
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """How a task ended: with its output, or with the reason why there is none, in words for a person.

    `failure` is what the store remembers, empty where only a model could not be had: `missing` is its name.
    `error` is the error itself, kept only for debugging and only in the process where it was raised.
    """

    name: RunName
    output: RunOutput | None
    log: str = ""
    reason: str = ""
    failure: str = ""
    missing: str = ""
    error: Exception | None = None


Listener = Callable[[TaskProgress], None]


class Executor(Protocol):
    """Those who measure: this process, processes beside it, or the nodes of a cluster."""

    def refusal(self, run: PlannedRun) -> str:
        """Why there will never be room for this run; empty where there is, or may be."""
        ...

    def has_room(self, run: PlannedRun) -> bool:
        """Whether the run can be begun now."""
        ...

    def resolve(self, task: Task, listen: Listener) -> RunInputs | Answer:
        """The task's inputs, with what can be found out before it is begun; an answer where that fails.

        Called for a task whose key is unknown. Where it stays unknown, the run is measured without a lock.
        """
        ...

    def begin(self, job: Job) -> None:
        """Take the job; exactly one answer to it comes out of `wait`, however it ends."""
        ...

    def wait(self, seconds: float, listen: Listener) -> Sequence[Answer]:
        """Answers that came, after waiting for so long at most; `listen` hears what tasks said meanwhile.

        An executor that measures in this process takes as long as its run.
        """
        ...

    def close(self) -> None:
        """Stop everybody, whatever they are doing."""
        ...


def model_of(run: PlannedRun) -> tuple[str, str]:
    """The model that a run needs, and in which number format."""
    return run.name.model, run.examined.experiment.dtype


def used_runs(upstream: Mapping[str, StoredRun], load: Callable[[StoredRun], Result]) -> UsedRuns:
    """The runs that a task uses, as its lab has them."""
    used: dict[str, dict[Point, UsedRun]] = {}
    for role_and_label, stored in upstream.items():
        # `saes: layer0[seed=3]`: a lab knows a run by role and sweep point, not by its label.
        role = role_and_label.partition(":")[0]
        run = UsedRun(load(stored), stored.record.inputs.experiment)
        used.setdefault(role, {})[stored.name.point] = run
    return used


def seldom(send: Listener, seconds: float) -> Listener:
    """A listener that passes on at most one word in so many seconds, and every start."""
    last = -math.inf

    def listen(progress: TaskProgress) -> None:
        nonlocal last
        now = time.monotonic()
        if progress.phase == "start":
            # The first fraction of a run follows its start at once, and the time left is reckoned from it.
            last = -math.inf
            send(progress)
        elif now - last >= seconds:
            last = now
            send(progress)

    return listen
