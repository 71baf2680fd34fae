"""One run being measured, wherever that is: in this process, in a worker process, or on a node of a cluster.

A `Task` is all that measuring takes, a `Measured` all that it gives; both cross to other processes by value.
The store, the claims and the order of runs are the business of `execute`.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError, ModelError, ResultError
from engine.runs.execution.resources import device_name, free_memory, peak_bytes, start_peak
from engine.runs.planning.keys import Inputs
from engine.runs.sources import Sources
from engine.runs.store.journal import Journal, journal
from engine.runs.store.record import RunName
from engine.runs.store.store import now
from engine.spec.models import Experiment
from engine.spec.points import with_point
from engine.spec.sites import resolve_site

if TYPE_CHECKING:
    from engine.evidence.result import Result
    from engine.lab.used_run import Point, UsedRun
    from engine.models.hooked import HookedModel

Uses = Mapping[str, Mapping["Point", "UsedRun"]]
Tell = Callable[[str, float, str], None]  # ("fetch" | "start" | "progress", fraction, message)


@dataclass(frozen=True)
class Task:
    """A run to measure: `folder` is its investigation's, `store_folder` the project's `.engine/`."""

    name: RunName
    experiment: Experiment
    inputs: Inputs
    folder: Path
    store_folder: Path

    @property
    def models(self) -> list[str]:
        """The model that it is measured on, then one that this is compared with."""
        return [self.name.model, *self.inputs.second]


@dataclass(frozen=True)
class Measured:
    """What a run gave; its inputs have the model's bytes and the hook site's layer, provenance the place."""

    result: Result
    inputs: Inputs
    features: dict[str, float]
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """How a run ended in another process: measured, or the reason why not, as `execute` would say it.

    `failure` is what the store remembers, empty where only a model could not be had: `missing` is its name.
    """

    name: RunName
    measured: Measured | None
    log: str = ""
    reason: str = ""
    failure: str = ""
    missing: str = ""


@dataclass
class Workbench:
    """A process's place to measure: the model in memory, and the models that could not be had."""

    sources: Sources
    model: HookedModel | None = None
    unavailable: dict[tuple[str, str], str] = field(default_factory=dict)

    def resolved(self, task: Task, tell: Tell) -> Inputs:
        """The inputs with the models' bytes and the hook site's layer; a model is loaded to see them."""
        second = {name: self._hash(name, task, tell) for name in task.inputs.second}
        inputs = replace(task.inputs, second=second)
        if known := self.sources.model_facts(task.name.model, task.experiment.dtype).hash:
            return replace(inputs, model=known)
        model = self.load(task.name.model, task.experiment.dtype, tell)
        site = task.inputs.experiment["hook_site"]
        resolved = resolve_site(site, model.shape.n_layers) if site else None
        asked = task.inputs.experiment | {"hook_site": resolved}
        return replace(inputs, model=model.hash, experiment=asked)

    def measured(self, task: Task, uses: Uses, log: Journal, tell: Tell) -> Measured:
        """The family's evidence, validated, with what it cost and where it was measured."""
        inputs = self.resolved(task, tell)
        model = _about(self.load(task.name.model, task.experiment.dtype, tell))
        tell("start", 0.0, "")
        start_peak()
        started = time.monotonic()
        result, features = self._result(task, inputs, uses, log, tell)
        provenance = model | {
            "second": {name: known or "" for name, known in inputs.second.items()},
            "versions": dict(self.sources.versions()),
            "date": now(),
            "seconds": time.monotonic() - started,
            "peak_bytes": peak_bytes(),
        }
        log.write(f"measured in {provenance['seconds']:.1f} s")
        return Measured(result, inputs, features, provenance)

    def load(self, name: str, dtype: str, tell: Tell) -> HookedModel:
        """A model, in place of the one in memory if that is another; ModelError is remembered.

        What was in memory is let go of once nobody else refers to it, so nothing here keeps a model by name.
        """
        if self.model is None or (self.model.name, self.model.dtype) != (name, dtype):
            if self.model is not None:
                self.model = None
                free_memory()

            def fetching(what: str, done: int, total: int) -> None:
                tell("fetch", done / total if total else 0.0, what)

            try:
                self.model = self.sources.load_model(name, dtype, fetching)
            except ModelError as error:
                self.unavailable[name, dtype] = str(error)
                raise
        return self.model

    def _hash(self, name: str, task: Task, tell: Tell) -> str:
        """The bytes of a model, which is loaded where they were never seen."""
        dtype = task.experiment.dtype
        return self.sources.model_facts(name, dtype).hash or self.load(name, dtype, tell).hash

    def _result(
        self, task: Task, inputs: Inputs, uses: Uses, log: Journal, tell: Tell
    ) -> tuple[Result, dict[str, float]]:
        experiment = task.experiment
        family = self.sources.family(experiment.family)
        given = with_point(experiment, dict(task.name.point)).parameters
        params = family.Params.model_validate_json(json.dumps(given), strict=True)
        lab = self._lab(task, inputs, params, uses, log, tell)
        features = self._features(task, lab)
        found = _evidence(family.run(lab, params), str(task.name))
        # What every run owes is no family's business: the lab checked what it handed out.
        return replace(found, checks=[*lab.receipts, *found.checks]), features

    def _lab(self, task: Task, inputs: Inputs, params: Any, uses: Uses, log: Journal, tell: Tell) -> Any:
        """The workplace of a run, with what it is measured on."""
        model = self.load(task.name.model, task.experiment.dtype, tell)
        choice, text = task.experiment.prompts, task.experiment.corpus

        def progress(fraction: float, message: str = "") -> None:
            log.progress(fraction, message)
            tell("progress", fraction, message)

        return self.sources.make_lab(
            model=model,
            load=lambda name: self.load(name, task.experiment.dtype, tell),
            prompts=self.sources.load_prompts(choice, task.folder) if choice else None,
            corpus=self.sources.load_corpus(text, task.folder, model) if text else None,
            folder=task.store_folder,
            uses={role: dict(by_point) for role, by_point in uses.items()},
            seed=getattr(params, "seed", 0),
            hook_site=inputs.experiment["hook_site"],
            progress=progress,
        )

    def _features(self, task: Task, lab: Any) -> dict[str, float]:
        """What the cost of a run depends on."""
        known = [self.sources.model_facts(name, task.experiment.dtype) for name in task.models]
        features = {
            "parameters": sum(facts.n_params for facts in known),
            "layers": lab.model.shape.n_layers,
            "d_model": lab.model.shape.d_model,
            "prompts": len(lab.prompts.table) if lab.prompts else 0,
            "tokens": len(lab.corpus.ids) if lab.corpus else 0,
        }
        return {name: float(amount) for name, amount in features.items()}


def answered(
    bench: Workbench,
    task: Task,
    load_uses: Callable[[], Uses],
    log_file: Path,
    tell: Tell,
    before: Callable[[], None] = lambda: None,
) -> Answer:
    """The task measured for another process: whatever goes wrong is in the answer, in words.

    `before` is a last look that may raise; `log_file` gets the log as it is written.
    """
    with journal(log_file, task.name) as log:
        try:
            before()
            return Answer(task.name, bench.measured(task, load_uses(), log, tell), log.text())
        except Exception as error:
            log.write(traceback.format_exc())
            gone = [name for name in task.models if (name, task.experiment.dtype) in bench.unavailable]
            reason, failure = reason_of(error), failure_of(error)
            return Answer(task.name, None, log.text(), reason, failure, *gone[:1])


def _about(model: HookedModel) -> dict[str, Any]:
    """What provenance says of a model."""
    return {
        "model_hash": model.hash,
        "quantisation": model.quantisation,
        "dtype": model.dtype,
        "device": device_name(model.device),
    }


def reason_of(error: Exception) -> str:
    """Why a run has no result, for a person; the place too where the engine did not foresee the error."""
    if isinstance(error, EngineError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "no place"
    return f"{type(error).__name__}: {error} ({place})"


def failure_of(error: Exception) -> str:
    """What the store remembers of an attempt; nothing of a model that could not be had."""
    return "" if isinstance(error, ModelError) else f"{type(error).__name__}: {error}"


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
