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
from engine.runs.journal import Journal, journal
from engine.runs.keys import Inputs
from engine.runs.machine import device_name, free_memory, peak_bytes, start_peak
from engine.runs.record import RunName
from engine.runs.sources import Sources
from engine.runs.store import now
from engine.spec.models import Experiment
from engine.spec.points import with_point
from engine.spec.sites import resolve_site

if TYPE_CHECKING:
    from engine.evidence.result import Result
    from engine.lab.lab import Point
    from engine.models.hooked import HookedModel

Uses = Mapping[str, Mapping["Point", "Result"]]
Tell = Callable[[str, float, str], None]  # ("fetch" | "start" | "progress", fraction, message)


@dataclass(frozen=True)
class Task:
    """A run to measure: `folder` is its investigation's, `store_folder` the project's `.engine/`."""

    name: RunName
    experiment: Experiment
    inputs: Inputs
    folder: Path
    store_folder: Path


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

    `failure` is what the store remembers, empty where only the model could not be had (`model_missing`).
    """

    name: RunName
    measured: Measured | None
    log: str = ""
    reason: str = ""
    failure: str = ""
    model_missing: bool = False


@dataclass
class Workbench:
    """A process's place to measure: the model in memory, and the models that could not be had."""

    sources: Sources
    model: HookedModel | None = None
    unavailable: dict[tuple[str, str], str] = field(default_factory=dict)

    def resolved(self, task: Task, tell: Tell) -> Inputs:
        """The inputs with the model's bytes and the hook site's layer; the model is loaded to see them."""
        if known := self.sources.model_facts(task.name.model, task.experiment.dtype).hash:
            return replace(task.inputs, model=known)
        model = self.load(task, tell)
        site = task.inputs.experiment["hook_site"]
        resolved = resolve_site(site, model.shape.n_layers) if site else None
        asked = task.inputs.experiment | {"hook_site": resolved}
        return replace(task.inputs, model=model.hash, experiment=asked)

    def measured(self, task: Task, uses: Uses, log: Journal, tell: Tell) -> Measured:
        """The family's evidence, validated, with what it cost and where it was measured."""
        model = self.load(task, tell)
        inputs = self.resolved(task, tell)
        tell("start", 0.0, "")
        start_peak()
        started = time.monotonic()
        result, features = self._result(task, inputs, model, uses, log, tell)
        provenance = {
            "model_hash": model.hash,
            "quantisation": model.quantisation,
            "dtype": model.dtype,
            "device": device_name(model.device),
            "versions": dict(self.sources.versions()),
            "date": now(),
            "seconds": time.monotonic() - started,
            "peak_bytes": peak_bytes(),
        }
        log.write(f"measured in {provenance['seconds']:.1f} s")
        return Measured(result, inputs, features, provenance)

    def load(self, task: Task, tell: Tell) -> HookedModel:
        """The task's model, in place of the one in memory if that is another; ModelError is remembered."""
        name, dtype = task.name.model, task.experiment.dtype
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

    def _result(
        self, task: Task, inputs: Inputs, model: HookedModel, uses: Uses, log: Journal, tell: Tell
    ) -> tuple[Result, dict[str, float]]:
        experiment = task.experiment
        family = self.sources.family(experiment.family)
        given = with_point(experiment, dict(task.name.point)).parameters
        params = family.Params.model_validate_json(json.dumps(given), strict=True)
        choice, text = experiment.prompts, experiment.corpus
        prompts = self.sources.load_prompts(choice, task.folder) if choice else None
        corpus = self.sources.load_corpus(text, task.folder, model) if text else None

        def progress(fraction: float, message: str = "") -> None:
            log.progress(fraction, message)
            tell("progress", fraction, message)

        lab = self.sources.make_lab(
            model=model,
            prompts=prompts,
            corpus=corpus,
            folder=task.store_folder,
            uses={role: dict(by_point) for role, by_point in uses.items()},
            seed=getattr(params, "seed", 0),
            hook_site=inputs.experiment["hook_site"],
            progress=progress,
        )
        result = _evidence(family.run(lab, params), str(task.name))
        facts = self.sources.model_facts(task.name.model, experiment.dtype)
        features = {
            "parameters": facts.n_params,
            "layers": model.shape.n_layers,
            "d_model": model.shape.d_model,
            "prompts": len(prompts.table) if prompts else 0,
            "tokens": len(corpus.ids) if corpus else 0,
        }
        return result, {name: float(amount) for name, amount in features.items()}


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
            missing = (task.name.model, task.experiment.dtype) in bench.unavailable
            return Answer(
                task.name, None, log.text(), reason_of(error), failure_of(error), model_missing=missing
            )


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
