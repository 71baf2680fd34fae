"""Carries out a plan in this process: each model loaded once, each run measured once, each failure told.

A run that fails leaves its reason and its log, and stops only what uses it; a model that cannot be had stops
only its own runs. Another build that measures the same run is waited for, and its result is used. Whatever
ends the process, the store holds whole runs only.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from engine.errors import EngineError, ModelError, ResultError
from engine.runs.codehash import CodeBook
from engine.runs.journal import Journal, journal
from engine.runs.keys import Inputs, explain
from engine.runs.machine import device_name, free_memory, peak_bytes, start_peak
from engine.runs.plan import Plan, PlannedRun
from engine.runs.record import RunName, RunRecord, StoredRun
from engine.runs.sources import Sources
from engine.runs.store import Claim, RunStore, now
from engine.spec.points import with_point
from engine.spec.sites import resolve_site

if TYPE_CHECKING:
    from engine.evidence.result import Result
    from engine.lab.lab import Point
    from engine.models.hooked import HookedModel

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
) -> dict[RunName, Outcome]:
    """Measure what the plan decided, in its order; outcomes by name, for `assemble`.

    Where runs take longer than estimated, those that no longer fit the plan's budget are left out. An error
    of a run is its outcome; with `debug` an error that is no EngineError is raised. Raises StoreError at
    once where the store cannot be written, EngineError where the code is no longer what was planned.
    """
    if plan.order:
        store.require_writable()
        _require_planned_code(plan, sources)
    execution = Execution(plan, store, sources, on_event, debug)
    for index, run in enumerate(plan.to_measure, 1):
        execution.index = index
        execution.outcomes[run.name] = execution.measure(run)
    return execution.outcomes


@dataclass
class Execution:
    """One plan being carried out, and the model that is in memory."""

    plan: Plan
    store: RunStore
    sources: Sources
    on_event: Callable[[Event], None]
    debug: bool
    index: int = 0
    outcomes: dict[RunName, Outcome] = field(default_factory=dict)
    model: HookedModel | None = None
    unavailable: dict[tuple[str, str], str] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def measure(self, run: PlannedRun) -> Outcome:
        """One run, from its inputs to the store."""
        place = run.name.model, run.examined.experiment.dtype
        why = self.unavailable.get(place) or self._unmet(run) or self._overdue(run)
        if why:
            self.emit("unmeasured", run, message=why)
            return Outcome(None, why)
        try:
            return self._measured(run)
        except EngineError as error:
            reason = str(error)
            kind: Kind = "unmeasured" if place in self.unavailable else "failed"
        except Exception as error:
            if self.debug:
                raise
            reason, kind = f"{type(error).__name__}: {error} ({_innermost(error)})", "failed"
        self.emit(kind, run, message=reason)
        return Outcome(None, reason)

    def emit(
        self, kind: Kind, run: PlannedRun, fraction: float = 0.0, message: str = "", **left: float
    ) -> None:
        """Tell whoever shows the build."""
        self.on_event(Event(kind, run, self.index, len(self.plan.order), fraction, message, **left))

    def _measured(self, run: PlannedRun) -> Outcome:
        inputs = self._inputs(run)
        assert inputs.key is not None
        with self.store.claim(inputs.key, lambda pid: self.emit("wait", run, message=pid)) as claim:
            found = self.store.find(inputs.key)
            if found and not (self.plan.fresh and found.id <= self.plan.newest_run):
                self.emit("reused", run, 1.0, message=f"run {found.id}")
                return Outcome(found)
            with journal(claim.log, run.name) as log:
                try:
                    stored = self._stored(run, inputs, claim, log)
                except Exception as error:
                    log.write(traceback.format_exc())
                    if not isinstance(error, ModelError):
                        self.store.note_failure(run.name, f"{type(error).__name__}: {error}", log.text())
                    raise
        self.emit("done", run, 1.0, message=f"run {stored.id}")
        return Outcome(stored)

    def _stored(self, run: PlannedRun, inputs: Inputs, claim: Claim, log: Journal) -> StoredRun:
        model = self._model(run)
        self.emit("start", run, seconds_left=run.estimate.seconds)
        start_peak()
        started = time.monotonic()
        result, features = self._result(run, inputs, model, log)
        provenance = {
            "key": inputs.key,
            "spec_hash": inputs.spec_hash,
            "model": run.name.model,
            "model_hash": model.hash,
            "quantisation": model.quantisation,
            "dtype": model.dtype,
            "device": device_name(model.device),
            "versions": dict(self.sources.versions()),
            "date": now(),
            "seconds": time.monotonic() - started,
            "command": self.plan.investigations[run.name.slug].command(run.name.experiment, run.name.model),
            "peak_bytes": peak_bytes(),
        }
        log.write(f"measured in {provenance['seconds']:.1f} s")
        return self.store.put(
            claim, RunRecord(run.name, run.examined.family, inputs, provenance, features), result
        )

    def _result(
        self, run: PlannedRun, inputs: Inputs, model: HookedModel, log: Journal
    ) -> tuple[Result, dict[str, float]]:
        """The family's evidence, validated, and what its cost depended on."""
        experiment = run.examined.experiment
        family = self.sources.family(experiment.family)
        given = with_point(experiment, dict(run.name.point)).parameters
        params = family.Params.model_validate_json(json.dumps(given), strict=True)
        folder = self.plan.investigations[run.name.slug].folder
        prompts = self.sources.load_prompts(experiment.prompts, folder) if experiment.prompts else None
        corpus = self.sources.load_corpus(experiment.corpus, folder, model) if experiment.corpus else None
        lab = self.sources.make_lab(
            model=model,
            prompts=prompts,
            corpus=corpus,
            folder=self.store.folder,
            uses=self._used(run),
            seed=getattr(params, "seed", 0),
            hook_site=inputs.experiment["hook_site"],
            progress=self._progress(run, log),
        )
        result = _evidence(family.run(lab, params), str(run.name))
        features = {
            "parameters": self._facts(run).n_params,
            "layers": model.shape.n_layers,
            "d_model": model.shape.d_model,
            "prompts": len(prompts.table) if prompts else 0,
            "tokens": len(corpus.ids) if corpus else 0,
        }
        return result, {name: float(amount) for name, amount in features.items()}

    def _progress(self, run: PlannedRun, log: Journal) -> Callable[[float, str], None]:
        started = time.monotonic()
        later = self.plan.to_measure[self.index :]
        waiting = sum(other.estimate.seconds for other in later)
        waiting += sum(self.plan.model_seconds[m] for m in {o.name.model for o in later} - {run.name.model})

        def progress(fraction: float, message: str = "") -> None:
            spent = time.monotonic() - started
            expected = run.estimate.seconds if fraction < 0.05 else spent / fraction
            left = max(expected - spent, 0.0)
            log.progress(fraction, message)
            self.emit(
                "progress", run, fraction, message, seconds_left=left, total_seconds_left=left + waiting
            )

        return progress

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
        if self.index == 1 or spent + run.estimate.seconds <= self.plan.budget_seconds:
            return ""
        return "over the budget: the runs before it took longer than estimated"

    def _upstream(self, run: PlannedRun) -> dict[str, StoredRun]:
        """The stored runs that this one uses, by role and label."""
        planned = {other.name: other for other in self.plan.runs}
        found = {}
        for role, used in zip(run.examined.inputs.uses, run.examined.needs, strict=True):
            stored = self.outcomes[used].run if used in self.outcomes else planned[used].examined.current
            assert stored is not None
            found[role] = stored
        return found

    def _used(self, run: PlannedRun) -> dict[str, dict[Point, Result]]:
        """The evidence of the runs it uses, by role and sweep point."""
        loaded: dict[str, dict[Point, Result]] = {}
        for role_and_label, stored in self._upstream(run).items():
            role = role_and_label.partition(":")[0]
            loaded.setdefault(role, {})[stored.name.point] = self.store.load(stored)
        return loaded

    def _inputs(self, run: PlannedRun) -> Inputs:
        """The run's inputs now that upstream runs are there and the model's bytes can be known."""
        inputs = run.examined.inputs
        uses = {role: stored.key for role, stored in self._upstream(run).items()}
        if model_hash := self._facts(run).hash:
            return replace(inputs, uses=uses, model=model_hash)
        model = self._model(run)
        site = inputs.experiment["hook_site"]
        resolved = resolve_site(site, model.shape.n_layers) if site else None
        asked = inputs.experiment | {"hook_site": resolved}
        return replace(inputs, uses=uses, model=model.hash, experiment=asked)

    def _model(self, run: PlannedRun) -> HookedModel:
        """The run's model, in place of the one in memory if that is another."""
        name, dtype = run.name.model, run.examined.experiment.dtype
        if self.model is None or (self.model.name, self.model.dtype) != (name, dtype):
            if self.model is not None:
                self.model = None
                free_memory()
            try:
                self.model = self.sources.load_model(name, dtype, self._fetching(run))
            except ModelError as error:
                self.unavailable[name, dtype] = str(error)
                raise
        return self.model

    def _fetching(self, run: PlannedRun) -> Callable[[str, int, int], None]:
        def progress(what: str, done: int, total: int) -> None:
            self.emit("fetch", run, done / total if total else 0.0, what)

        return progress

    def _facts(self, run: PlannedRun):
        return self.sources.model_facts(run.name.model, run.examined.experiment.dtype)


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


def _evidence(result: Any, where: str) -> Result:
    """The result if it is evidence; ResultError for NaN anywhere in its measurements."""
    import numpy as np

    from engine.evidence.result import Result

    if not isinstance(result, Result):
        raise ResultError("a family returns a Result", where=where, seen=type(result).__name__)
    result.validated(where)
    for m in result.measurements.values():
        numbers = [m.low, m.high, *(m.replicates if m.replicates is not None else ())]
        if not np.isfinite([n for n in numbers if n is not None]).all():
            raise ResultError(f"the interval of {m.name} is not a number", where=where)
    return result


def _innermost(error: Exception) -> str:
    """The file and line that raised, for a failure that the engine did not foresee."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "no place"
