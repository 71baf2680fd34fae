"""Carries out a plan: each model loaded once, each run measured once, each failure told.

Runs are measured in this process, in worker processes beside it (`workers`) or on the nodes of a cluster
(`cluster`); order, claims and what is kept are decided here. A run that fails leaves its reason and its log,
and stops only what uses it; a model that cannot be had stops only its own runs. Another build that measures
the same run is waited for, and its result is used. Whatever ends the process, the store holds only whole
runs.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from engine.errors import EngineError, ModelError
from engine.lab.used_run import UsedRun
from engine.runs.execution.workbench import Measured, Task, Tell, Workbench, failure_of, reason_of
from engine.runs.planning.code_hash import CodeBook
from engine.runs.planning.keys import Inputs, explain
from engine.runs.planning.plan import Plan, PlannedRun
from engine.runs.sources import Sources
from engine.runs.store.journal import journal
from engine.runs.store.record import RunName, RunRecord, StoredRun
from engine.runs.store.store import Claim, RunStore

if TYPE_CHECKING:
    from engine.lab.used_run import Point

Kind = Literal["fetch", "start", "progress", "wait", "done", "reused", "failed", "unmeasured"]


@dataclass(frozen=True)
class Event:
    """Something to show: run `index` (from 1) of `total`, its progress from 0 to 1, and what is left."""

    kind: Kind
    run: PlannedRun
    index: int
    total: int
    fraction: float = 0.0
    message: str = ""
    seconds_left: float | None = None  # of this run
    total_seconds_left: float | None = None  # of the plan


@dataclass(frozen=True)
class Outcome:
    """A run of the plan as it ended: stored, or not and why."""

    run: StoredRun | None
    reason: str = ""


def execute(
    plan: Plan,
    store: RunStore,
    sources: Sources,
    on_event: Callable[[Event], None] = lambda event: None,
    *,
    debug: bool = False,
    jobs: int | None = 1,
    cluster: str | None = None,
) -> dict[RunName, Outcome]:
    """Measure what the plan decided, in its order; outcomes by name, for `assemble`.

    `jobs` runs at once on this machine (None: as many as cores, memory and the plan allow), or on the Ray
    cluster at the address `cluster` ("auto": the one running here). Where runs take longer than estimated,
    those that no longer fit the plan's budget are left out. An error of a run is its outcome; with `debug`
    one that is no EngineError is raised, and everything is measured in this process. Raises StoreError at
    once where the store cannot be written, EngineError where the code is no longer what was planned, where
    the cluster does not answer, or for less than one job.
    """
    if jobs is not None and jobs < 1:
        raise EngineError("no run can be measured so", where="--jobs", expected="1 or more", seen=str(jobs))
    execution = Execution(plan, store, sources, on_event, debug)
    if not plan.order:
        return {}
    store.require_writable()
    _require_planned_code(plan, sources)
    if cluster is not None:
        from engine.runs.execution.ray_cluster import on_cluster

        return on_cluster(execution, cluster)
    if not debug and sources.maker is not None:
        from engine.runs.execution.processes import decide_jobs, in_workers

        if (count := jobs or decide_jobs(plan)) > 1:
            return in_workers(execution, count)
    for run in plan.to_measure:
        execution.outcomes[run.name] = execution.measure(run)
    return execution.outcomes


@dataclass
class Execution:
    """One plan being carried out: what became of each run so far."""

    plan: Plan
    store: RunStore
    sources: Sources
    on_event: Callable[[Event], None]
    debug: bool = False
    outcomes: dict[RunName, Outcome] = field(default_factory=dict)
    unavailable: dict[tuple[str, str], str] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.numbers = {run.name: index for index, run in enumerate(self.plan.to_measure, 1)}
        self.planned = {run.name: run for run in self.plan.runs}
        self.begun: dict[RunName, float] = {}
        self.bench = Workbench(self.sources, unavailable=self.unavailable)

    def measure(self, run: PlannedRun) -> Outcome:
        """One run in this process, from its inputs to the store."""
        if why := self.why_not(run):
            return self.unmeasured(run, why)
        try:
            return self._measured(run)
        except Exception as error:
            if self.debug and not isinstance(error, EngineError):
                raise
            kind: Kind = "unmeasured" if self._missing(run) else "failed"
            return self.unmeasured(run, reason_of(error), kind)

    def why_not(self, run: PlannedRun) -> str:
        """Why a run cannot be measured now: its model, a run it uses, or the budget; empty where it can."""
        return self._missing(run) or self._unmet(run) or self._overdue(run)

    def unmeasured(self, run: PlannedRun, why: str, kind: Kind = "unmeasured") -> Outcome:
        """The outcome of a run without a result, told."""
        self.emit(kind, run, message=why)
        return Outcome(None, why)

    def emit(
        self, kind: Kind, run: PlannedRun, fraction: float = 0.0, message: str = "", **left: float
    ) -> None:
        """Tell whoever shows the build."""
        number = self.numbers[run.name]
        self.on_event(Event(kind, run, number, len(self.plan.order), fraction, message, **left))

    def told(self, run: PlannedRun, kind: str, fraction: float, message: str) -> None:
        """What a workbench says of a run in progress, with the time that is left."""
        if kind == "start":
            self.begun[run.name] = time.monotonic()
            self.emit("start", run, seconds_left=run.estimate.seconds)
        elif kind == "progress":
            spent = time.monotonic() - self.begun.get(run.name, time.monotonic())
            expected = run.estimate.seconds if fraction < 0.05 else spent / fraction
            left = max(expected - spent, 0.0)
            whole = left + self._waiting_seconds(run)
            self.emit("progress", run, fraction, message, seconds_left=left, total_seconds_left=whole)
        else:
            self.emit("fetch", run, fraction, message)

    def task(self, run: PlannedRun) -> Task:
        """The run as a workbench takes it, with the keys of the runs it uses as they are now."""
        uses = {role: stored.key for role, stored in self.upstream(run).items()}
        inputs = replace(run.examined.inputs, uses=uses)
        folder = self.plan.investigations[run.name.slug].folder
        return Task(run.name, run.examined.experiment, inputs, folder, self.store.folder)

    def upstream(self, run: PlannedRun) -> dict[str, StoredRun]:
        """The stored runs that this one uses, by role and label, each under the name that it is used by.

        The store may have it under another name, as a point of another sweep.
        """
        found = {}
        for role, used in zip(run.examined.inputs.uses, run.examined.needs, strict=True):
            outcome = self.outcomes.get(used)
            stored = outcome.run if outcome else self.planned[used].examined.current
            assert stored is not None
            found[role] = replace(stored, record=replace(stored.record, name=used))
        return found

    def current(self, inputs: Inputs) -> StoredRun | None:
        """The stored run with this key, if another build measured it meanwhile."""
        assert inputs.key is not None
        found = self.store.find(inputs.key)
        return None if found and self.plan.fresh and found.id <= self.plan.newest_run else found

    def reused(self, run: PlannedRun, found: StoredRun) -> Outcome:
        """The outcome of a run that another build measured, told."""
        self.emit("reused", run, 1.0, message=f"run {found.id}")
        return Outcome(found)

    def kept(self, run: PlannedRun, claim: Claim, measured: Measured) -> Outcome:
        """The outcome of a run that was measured, once the store has it."""
        investigation = self.plan.investigations[run.name.slug]
        provenance = measured.provenance | {
            "key": measured.inputs.key,
            "spec_hash": measured.inputs.spec_hash,
            "model": run.name.model,
            "command": investigation.command(run.name.experiment, run.name.model),
        }
        record = RunRecord(run.name, run.examined.family, measured.inputs, provenance, measured.features)
        stored = self.store.put(claim, record, measured.result)
        self.emit("done", run, 1.0, message=f"run {stored.id}")
        return Outcome(stored)

    def _measured(self, run: PlannedRun) -> Outcome:
        def tell(kind: str, fraction: float, message: str) -> None:
            self.told(run, kind, fraction, message)

        task = self.task(run)
        inputs = self.bench.resolved(task, tell)
        assert inputs.key is not None
        with self.store.claim(inputs.key, lambda pid: self.emit("wait", run, message=pid)) as claim:
            if found := self.current(inputs):
                return self.reused(run, found)
            return self._worked(run, replace(task, inputs=inputs), claim, tell)

    def _worked(self, run: PlannedRun, task: Task, claim: Claim, tell: Tell) -> Outcome:
        with journal(claim.log, run.name) as log:
            try:
                return self.kept(run, claim, self.bench.measured(task, self._used(run), log, tell))
            except Exception as error:
                log.write(traceback.format_exc())
                if not isinstance(error, ModelError):
                    self.store.note_failure(run.name, failure_of(error), log.text())
                raise

    def _waiting_seconds(self, run: PlannedRun) -> float:
        """What the runs after this one will take, models included."""
        later = [o for o in self.plan.to_measure if o.name not in self.outcomes and o.name != run.name]
        models = {other.name.model for other in later} - {run.name.model}
        return sum(o.estimate.seconds for o in later) + sum(self.plan.model_seconds[m] for m in models)

    def _missing(self, run: PlannedRun) -> str:
        """Why a model that the run needs could not be had; empty where none was found missing."""
        dtype = run.examined.experiment.dtype
        models = (run.name.model, *run.examined.inputs.second)
        return next((self.unavailable[m, dtype] for m in models if (m, dtype) in self.unavailable), "")

    def _unmet(self, run: PlannedRun) -> str:
        """Why a run that this one uses is not there, if one is not."""
        for used in run.examined.needs:
            outcome = self.outcomes.get(used)
            if outcome is not None and outcome.run is None:
                return f"uses {used.label}, which has no result: {outcome.reason.splitlines()[0]}"
        return ""

    def _overdue(self, run: PlannedRun) -> str:
        """Why a run no longer fits the budget; the first always does, since the plan says so."""
        spent = time.monotonic() - self.started
        if self.numbers[run.name] == 1 or spent + run.estimate.seconds_to_admit <= self.plan.budget_seconds:
            return ""
        return "over the budget: the runs before it took longer than estimated"

    def _used(self, run: PlannedRun) -> dict[str, dict[Point, UsedRun]]:
        """The runs it uses, by role and sweep point."""
        loaded: dict[str, dict[Point, UsedRun]] = {}
        for role_and_label, stored in self.upstream(run).items():
            role = role_and_label.partition(":")[0]
            loaded.setdefault(role, {})[stored.name.point] = UsedRun(
                self.store.load(stored), stored.record.inputs.experiment
            )
        return loaded


def place(run: PlannedRun) -> tuple[str, str]:
    """The model that a run needs, and in which number format."""
    return run.name.model, run.examined.experiment.dtype


def _require_planned_code(plan: Plan, sources: Sources) -> None:
    """Import the families now and see that their code is what the keys say, whoever edits it from here on."""
    book = CodeBook(sources.package)
    for run in {run.examined.family: run for run in plan.to_measure}.values():
        family, planned = run.examined.family, run.examined.inputs
        with suppress(Exception):  # a family that cannot be imported is its runs' failure
            sources.family(family)
        now = replace(planned, code=book.code_of(sources.family_file(family), *sources.shared_code))
        if now != planned:
            seen = "; ".join(explain(planned, now))
            raise EngineError("the code changed since the plan was made", seen=seen, hint="build again")
