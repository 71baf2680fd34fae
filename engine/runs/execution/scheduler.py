"""Carries out a plan: each run measured once, each failure told, whoever measures.

The scheduler alone decides and writes. It locks a run, hands it to its executor once the runs it uses are
there and somebody has room, puts what comes back into the store, and tells what happens. A run that fails
leaves its reason and its log, and stops only what uses it; a model that cannot be had stops only its own
runs. A run that another build measures is looked at again until its result is there. Whatever ends the
process, the store holds only whole runs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace

from engine.errors import EngineError, StoreError
from engine.runs.execution.events import Event, EventKind, Outcome
from engine.runs.execution.executor import Answer, Executor, Job, RunOutput, Task, TaskProgress
from engine.runs.execution.in_process import InProcessExecutor
from engine.runs.execution.processes import decide_jobs, process_executor
from engine.runs.execution.ray_cluster import ray_executor
from engine.runs.execution.time_left import TimeLeft
from engine.runs.execution.workbench import Workbench, failure_of, reason_of
from engine.runs.planning.code_hash import CodeBook
from engine.runs.planning.keys import RunInputs, explain
from engine.runs.planning.plan import Plan, PlannedRun
from engine.runs.sources import Sources
from engine.runs.store.record import RunName, RunRecord, StoredRun
from engine.runs.store.store import RunLock, RunStore

POLL_SECONDS = 0.2
LOOK_AGAIN_SECONDS = 0.5  # at a run that another build is measuring
OVER_BUDGET = "over the budget: the runs before it took longer than estimated"


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
    if not plan.order:
        return {}
    # At once, and not only when the first run has been measured.
    store.require_writable()
    _require_planned_code(plan, sources)
    executor = _executor(plan, store, sources, debug, jobs, cluster)
    return Scheduler(plan, store, executor, on_event, debug).work()


def _executor(
    plan: Plan, store: RunStore, sources: Sources, debug: bool, jobs: int | None, cluster: str | None
) -> Executor:
    """Who measures this plan: a cluster where one is named, else processes where they are worth it."""
    if cluster is not None:
        return ray_executor(cluster, sources.maker, store.load, len(plan.order))
    if not debug and sources.maker is not None:
        count = jobs or decide_jobs(plan)
        if count > 1:
            return process_executor(sources.maker, count)
    return InProcessExecutor(Workbench(sources), store.load, debug)


@dataclass
class ActiveJob:
    """A job that the executor is at. `lock` is None while its key is unknown; `ending` lets go of it."""

    job: Job
    lock: RunLock | None
    ending: ExitStack


@dataclass
class Scheduler:
    """One plan being carried out: what became of each run so far, and which are being measured."""

    plan: Plan
    store: RunStore
    executor: Executor
    on_event: Callable[[Event], None] = lambda event: None
    debug: bool = False
    outcomes: dict[RunName, Outcome] = field(default_factory=dict)
    active: dict[RunName, ActiveJob] = field(default_factory=dict)
    unavailable: dict[tuple[str, str], str] = field(default_factory=dict)  # why, by model and number format
    look_again: dict[RunName, float] = field(default_factory=dict)  # when, at runs that others measure

    def __post_init__(self) -> None:
        self.numbers = {run.name: index for index, run in enumerate(self.plan.to_measure, 1)}
        self.planned = {run.name: run for run in self.plan.runs}
        self.time_left = TimeLeft(self.plan)

    def work(self) -> dict[RunName, Outcome]:
        """Until every run of the plan has its outcome."""
        with ExitStack() as stack:
            # Closed in the opposite order: those who measure are stopped before their locks are let go of, or
            # another build would begin on what is still being measured.
            stack.callback(self._let_go)
            stack.callback(self.executor.close)
            waiting = self.plan.to_measure
            while True:
                waiting = [run for run in waiting if not self._is_settled(run)]
                if not waiting and not self.active:
                    return self.outcomes
                for answer in self.executor.wait(POLL_SECONDS, self._hear):
                    self._finish(answer)

    def task(self, run: PlannedRun) -> Task:
        """The run as it is measured, with the keys of the runs it uses as they are now."""
        uses = {role: stored.key for role, stored in self.upstream(run).items()}
        inputs = replace(run.examined.inputs, uses=uses)
        folder = self.plan.investigations[run.name.slug].folder
        return Task(run.name, run.examined.experiment, inputs, folder, self.store.folder)

    # order

    def _is_settled(self, run: PlannedRun) -> bool:
        """Whether the run was begun now, or has its outcome; if not, it is to be looked at again."""
        # Those of this plan only: what it does not measure was up to date when it was made.
        used = [name for name in run.examined.needs if name in self.numbers]
        if any(name not in self.outcomes for name in used):
            return False
        if self.look_again.get(run.name, 0.0) > time.monotonic():
            return False
        why = self._why_not(run) or self.executor.refusal(run)
        if why:
            self._leave(run, why, "unmeasured")
            return True
        if not self.executor.has_room(run):
            return False
        # The first run always fits, because the plan says so.
        if self.numbers[run.name] > 1 and self.time_left.is_over_budget(run):
            self._leave(run, OVER_BUDGET, "unmeasured")
            return True
        return self._is_begun(run)

    def _why_not(self, run: PlannedRun) -> str:
        """Why a run cannot be measured: its model, or a run it uses; empty where it can."""
        dtype = run.examined.experiment.dtype
        for model in (run.name.model, *run.examined.inputs.second):
            if (model, dtype) in self.unavailable:
                return self.unavailable[model, dtype]
        for used in run.examined.needs:
            outcome = self.outcomes.get(used)
            if outcome is not None and outcome.run is None:
                return f"uses {used.label}, which has no result: {outcome.reason.splitlines()[0]}"
        return ""

    # locks and reuse

    def _is_begun(self, run: PlannedRun) -> bool:
        """Lock the run and begin it; or take the result of another build, or wait for it (False)."""
        task = self.task(run)
        if task.inputs.key is None:
            resolved = self.executor.resolve(task, self._hear)
            if isinstance(resolved, Answer):
                self._fail(run, resolved)
                return True
            task = replace(task, inputs=resolved)
        with ExitStack() as stack:
            lock = None
            if task.inputs.key is not None:
                lock = stack.enter_context(self.store.lock_if_free(task.inputs.key))
                if lock is None:
                    self._wait_for_another(run, task.inputs.key)
                    return False
                # Looked for under the lock: another build may have stored it since the plan was made.
                found = self._stored(task.inputs)
                if found is not None:
                    self._reuse(run, found)
                    return True
            job = Job(task, run, self.upstream(run), lock.log if lock else None)
            try:
                self.executor.begin(job)
            # A run that this one uses is damaged, and was to be read before it is handed out.
            except StoreError as error:
                self._fail(run, Answer(run.name, None, reason=reason_of(error), failure=failure_of(error)))
                return True
            # `pop_all`: the lock outlives this block, until the answer comes.
            self.active[run.name] = ActiveJob(job, lock, stack.pop_all())
        return True

    def _wait_for_another(self, run: PlannedRun, key: str) -> None:
        """Somebody else measures this very thing: another build, or another run of this one.

        It is looked at again from time to time and not waited for: there may be other runs to measure.
        """
        if run.name not in self.look_again:
            holder = self.store.lock_holder(key)
            self._emit("wait", run, message="" if holder == str(os.getpid()) else holder)
        self.look_again[run.name] = time.monotonic() + LOOK_AGAIN_SECONDS

    def _stored(self, inputs: RunInputs) -> StoredRun | None:
        """The stored run with this key; of an earlier build only where the plan accepts those."""
        assert inputs.key is not None
        # With `fresh`, runs from before the plan do not count, those that another build made since do.
        found = self.store.find(inputs.key)
        return None if found and self.plan.fresh and found.id <= self.plan.newest_run else found

    def upstream(self, run: PlannedRun) -> dict[str, StoredRun]:
        """The stored runs that this one uses, by role and label, each under the name that it is used by.

        The store may have it under another name, as a point of another sweep.
        """
        upstream = {}
        for role, used in zip(run.examined.inputs.uses, run.examined.needs, strict=True):
            outcome = self.outcomes.get(used)
            stored = outcome.run if outcome else self.planned[used].examined.current
            assert stored is not None
            upstream[role] = replace(stored, record=replace(stored.record, name=used))
        return upstream

    def _let_go(self) -> None:
        """Give back every lock; what was staged under it goes too."""
        for active in self.active.values():
            active.ending.close()
        self.active.clear()

    # outcomes

    def _finish(self, answer: Answer) -> None:
        """An answer: its output is stored, its failure remembered, its lock let go of."""
        active = self.active.pop(answer.name)
        run = active.job.run
        # Whatever happens with the answer, its lock is let go of.
        with active.ending:
            if answer.output is None:
                # Whoever measured may have met damage in a run that this one uses: the next plan must see it.
                self.store.prove(active.job.upstream.values())
                self._fail(run, answer)
                return
            try:
                self._store(active, answer.output, answer.log)
            except Exception as error:
                failure = Answer(run.name, None, answer.log, reason_of(error), failure_of(error), error=error)
                self._fail(run, failure)

    def _store(self, active: ActiveJob, output: RunOutput, log: str) -> None:
        """Put a run into the store, unless another build was faster with one whose key was unknown here."""
        run = active.job.run
        # The keys of what it used as the scheduler knew them: whoever measures has no store.
        inputs = replace(output.inputs, uses=active.job.task.inputs.uses)
        assert inputs.key is not None
        lock = active.lock
        # The model's bytes were seen only while measuring: the key is known now, and locked for the first
        # time.
        if lock is None or lock.key != inputs.key:
            lock = active.ending.enter_context(self.store.lock(inputs.key))
            found = self._stored(inputs)
            if found is not None:
                self._reuse(run, found)
                return
        if not lock.log.exists():  # it was written where the run was measured
            lock.log.write_text(log, encoding="utf-8")
        investigation = self.plan.investigations[run.name.slug]
        provenance = output.provenance | {
            "key": inputs.key,
            "spec_hash": inputs.spec_hash,
            "model": run.name.model,
            "command": investigation.command(run.name.experiment, run.name.model),
        }
        record = RunRecord(run.name, run.examined.family, inputs, provenance, output.features)
        stored = self.store.put(lock, record, output.result)
        self.time_left.done(run.name, stored.seconds)
        self.outcomes[run.name] = Outcome(stored)
        self._emit("done", run, 1.0, message=f"run {stored.id}")

    def _reuse(self, run: PlannedRun, found: StoredRun) -> None:
        """Another build measured the run meanwhile."""
        self.time_left.failed(run.name)
        self.outcomes[run.name] = Outcome(found)
        self._emit("reused", run, 1.0, message=f"run {found.id}")

    def _fail(self, run: PlannedRun, answer: Answer) -> None:
        """A run that ended without output: remembered for `status`, and for runs that need the same model."""
        self.time_left.failed(run.name)
        if answer.missing:
            self.unavailable[answer.missing, run.examined.experiment.dtype] = answer.reason
        if answer.failure:
            self.store.note_failure(run.name, answer.failure, answer.log)
        if self.debug and answer.error is not None and not isinstance(answer.error, EngineError):
            raise answer.error
        self._leave(run, answer.reason, "unmeasured" if answer.missing else "failed")

    def _leave(self, run: PlannedRun, why: str, kind: EventKind) -> None:
        """A run without a result."""
        self.outcomes[run.name] = Outcome(None, why)
        self._emit(kind, run, message=why)

    # events

    def _hear(self, progress: TaskProgress) -> None:
        """What a task says while it is measured, told with the time that is left."""
        if progress.name in self.outcomes:
            return  # from a node whose words come late
        if progress.phase == "start":
            self.time_left.start(progress.name)
        elif progress.phase == "progress":
            self.time_left.progress(progress.name, progress.fraction)
        self._emit(progress.phase, self.planned[progress.name], progress.fraction, progress.message)

    def _emit(self, kind: EventKind, run: PlannedRun, fraction: float = 0.0, message: str = "") -> None:
        """Tell whoever shows the build."""
        number = self.numbers[run.name]
        event = Event(kind, run, number, len(self.plan.order), fraction, message)
        if kind in ("start", "progress"):
            left = self.time_left.of_run(run)
            total = self.time_left.of_plan(self.outcomes)
            event = replace(
                event,
                seconds_left=left.seconds,
                is_guess=left.is_guess,
                total_seconds_left=total.seconds,
                total_is_guess=total.is_guess,
            )
        self.on_event(event)


def _require_planned_code(plan: Plan, sources: Sources) -> None:
    """Import the families now and see that their code is what the keys say, whoever edits it from here on."""
    # Without the cache file: what counts is what lies on the disk at this moment.
    book = CodeBook(sources.package)
    for run in {run.examined.family: run for run in plan.to_measure}.values():
        family = run.examined.family
        planned = run.examined.inputs
        with suppress(Exception):  # a family that cannot be imported is its runs' failure
            sources.family(family)
        now = replace(planned, code=book.code_of(sources.family_file(family), *sources.shared_code))
        if now != planned:
            seen = "; ".join(explain(planned, now))
            raise EngineError("the code changed since the plan was made", seen=seen, hint="build again")
