"""One run being measured, wherever that is: in this process, in a worker process, or on a node of a cluster.

Every executor measures with it, so that a run is the same thing wherever it happens. The store, its locks and
the order of runs are the scheduler's business.
"""

from __future__ import annotations

import json
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import EngineError, ModelError, ResultError
from engine.evidence.result import Result
from engine.runs.execution.executor import Answer, Listener, RunOutput, Task, TaskProgress, UsedRuns
from engine.runs.execution.resources import device_name, free_memory, peak_bytes, start_peak
from engine.runs.investigation import project_or_none
from engine.runs.planning.given_coders import coder_folder
from engine.runs.planning.keys import RunInputs
from engine.runs.planning.resolved_sites import resolved_parameters
from engine.runs.sources import Sources
from engine.runs.store import run_folder
from engine.runs.store.journal import Journal, journal
from engine.runs.store.store import now
from engine.spec.points import prompt_kind, prompt_parameters, site_parameters, with_point
from engine.spec.sites import resolve_site

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel


@dataclass
class Workbench:
    """A process's place to measure: the model in memory, and the models that could not be had."""

    sources: Sources
    model: HookedModel | None = None
    unavailable: dict[tuple[str, str], str] = field(default_factory=dict)

    def resolved(self, task: Task, listen: Listener) -> RunInputs:
        """The inputs with the models' bytes and the hook site's layer; a model is loaded to see them."""
        # The second model first: loading the own one last leaves it in memory for the run.
        second = {name: self._hash(name, task, listen) for name in task.inputs.second}
        inputs = replace(task.inputs, second=second)
        known = self.sources.model_facts(task.name.model, task.experiment.dtype).hash
        # Bytes that are known need no loading here; the run loads the model when it begins.
        if known:
            return replace(inputs, model=known)
        model = self.load(task, task.name.model, listen)
        site = task.inputs.experiment["hook_site"]
        resolved = resolve_site(site, model.shape.n_layers) if site else None
        experiment = task.inputs.experiment | {"hook_site": resolved}
        return replace(inputs, model=model.hash, experiment=experiment)

    def measure(self, task: Task, uses: UsedRuns, log: Journal, listen: Listener) -> RunOutput:
        """The family's evidence, validated, with what it cost and where it was measured."""
        inputs = self.resolved(task, listen)
        model = _model_provenance(self.load(task, task.name.model, listen))
        listen(TaskProgress(task.name, "start"))
        # Peak and time are the run's own: what its model took to load is neither.
        start_peak()
        started = time.monotonic()
        result, features, read = self._result(task, inputs, uses, log, listen)
        provenance = model | {
            "second": {name: known or "" for name, known in inputs.second.items()},
            "versions": dict(self.sources.versions()),
            "date": now(),
            "seconds": time.monotonic() - started,
            "peak_bytes": peak_bytes(),
        }
        # Only where there are any, so that records of other runs stay as they are.
        sites = self._sites(task, inputs)
        provenance |= {"sites": sites} if sites else {}
        provenance |= {"read": read} if read else {}
        log.write(f"measured in {provenance['seconds']:.1f} s")
        return RunOutput(result, inputs, features, provenance)

    def _sites(self, task: Task, inputs: RunInputs) -> dict[str, list[str]]:
        """Hook sites among the parameters, by model, with their layers: all models were loaded by now."""
        named = site_parameters(task.experiment.family, inputs.experiment["parameters"], self.sources.catalog)
        dtype = task.experiment.dtype
        layers = {name: self.sources.model_facts(name, dtype).n_layers for name in task.models if named}
        return resolved_parameters(named, layers)[0]

    def load(self, task: Task, name: str, listen: Listener) -> HookedModel:
        """A model, in place of the one in memory if that is another; ModelError is remembered.

        What was in memory is let go of once nobody else refers to it, so nothing here keeps a model by name.
        """
        dtype = task.experiment.dtype
        if self.model is None or (self.model.name, self.model.dtype) != (name, dtype):
            if self.model is not None:
                # Before the next one is loaded: two models at once are what memory may not hold.
                self.model = None
                free_memory()

            def fetching(what: str, done: int, total: int) -> None:
                listen(TaskProgress(task.name, "fetch", done / total if total else 0.0, what))

            try:
                self.model = self.sources.load_model(name, dtype, fetching)
            except ModelError as error:
                self.unavailable[name, dtype] = str(error)
                raise
        return self.model

    def _hash(self, name: str, task: Task, listen: Listener) -> str:
        """The bytes of a model, which is loaded where they were never seen."""
        known = self.sources.model_facts(name, task.experiment.dtype).hash
        return known or self.load(task, name, listen).hash

    def _result(
        self, task: Task, inputs: RunInputs, uses: UsedRuns, log: Journal, listen: Listener
    ) -> tuple[Result, dict[str, float], dict[str, str]]:
        experiment = task.experiment
        family = self.sources.family(experiment.family)
        given = with_point(experiment, dict(task.name.point)).parameters
        # Through JSON, because that is what a spec is: a parameter that only YAML has does not get this far.
        params = family.Params.model_validate_json(json.dumps(given), strict=True)
        lab = self._lab(task, inputs, uses, log, listen)
        # Before the run, which may put another model into the lab.
        features = self._features(task, lab)
        read = {kind: f"{data.source}: {data.amount}" for kind, data in _data_of(lab).items()}
        found = _validated(family.run(lab, params), str(task.name))
        # What every run owes is no family's business: the lab checked what it handed out.
        return replace(found, checks=[*lab.receipts, *found.checks]), features, read

    def _lab(self, task: Task, inputs: RunInputs, uses: UsedRuns, log: Journal, listen: Listener) -> Any:
        """The workplace of a run, with what it is measured on."""
        model = self.load(task, task.name.model, listen)
        prompts = task.experiment.prompts
        kind = prompt_kind(task.experiment.family, self.sources.catalog)
        corpus = task.experiment.corpus
        asked = inputs.experiment["parameters"]
        further = prompt_parameters(task.experiment.family, asked, self.sources.catalog)

        def progress(fraction: float, message: str = "") -> None:
            log.progress(fraction, message)
            listen(TaskProgress(task.name, "progress", fraction, message))

        return self.sources.make_lab(
            model=model,
            load=lambda name: self.load(task, name, listen),
            prompts=self.sources.load_prompts(prompts, task.folder, kind) if prompts else None,
            corpus=self.sources.load_corpus(corpus, task.folder, model) if corpus else None,
            folder=task.store_folder,
            uses={role: dict(by_point) for role, by_point in uses.items()},
            hook_site=inputs.experiment["hook_site"],
            coders={path: coder_folder(path, project_or_none()) for path in inputs.coders},
            further_prompts={
                parameter: self.sources.load_prompts(choice, task.folder, kind)
                for parameter, (choice, kind) in further.items()
            },
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


def _data_of(lab: Any) -> dict[str, Any]:
    """The prompts and the text that a lab was given, by kind or by the parameter that names them."""
    given = {"prompts": lab.prompts, "corpus": lab.corpus, **lab.further_prompts}
    return {kind: data for kind, data in given.items() if data is not None}


def answer_task(
    bench: Workbench,
    task: Task,
    load_uses: Callable[[], UsedRuns],
    log_file: Path | None,
    listen: Listener,
    *,
    before: Callable[[], None] = lambda: None,
    keep_error: bool = False,
) -> Answer:
    """The task measured: whatever goes wrong is in the answer, in words, and with `keep_error` as it is.

    `before` is a last look that may raise; `log_file` gets the log as it is written, a scratch file where
    there is none.
    """
    with ExitStack() as stack:
        if log_file is None:
            scratch = stack.enter_context(tempfile.TemporaryDirectory())
            log_file = Path(scratch) / run_folder.LOG
        log = stack.enter_context(journal(log_file, task.name))
        try:
            before()
            output = bench.measure(task, load_uses(), log, listen)
            return Answer(task.name, output, log.text())
        except Exception as error:
            log.write(traceback.format_exc())
            return failed_answer(bench, task, error, log.text(), keep_error)


def failed_answer(bench: Workbench, task: Task, error: Exception, log: str, keep_error: bool) -> Answer:
    """The answer to a task that ended with this error.

    The error itself is kept for debugging only: its traceback holds the model, which could not be let go of.
    """
    dtype = task.experiment.dtype
    missing = next((name for name in task.models if (name, dtype) in bench.unavailable), "")
    return Answer(
        task.name,
        None,
        log,
        reason_of(error),
        failure_of(error),
        missing,
        error if keep_error else None,
    )


def _model_provenance(model: HookedModel) -> dict[str, Any]:
    """What provenance says of a model."""
    return {
        "model_hash": model.hash,
        "quantisation": model.quantisation,
        "dtype": model.dtype,
        "device": _device_text(model),
    }


def _device_text(model: HookedModel) -> str:
    """The device by name, and how far its logits were from the CPU's where it is another one."""
    name = device_name(model.device)
    return name if model.device == "cpu" else f"{name}, logits within {model.device_gap:.1e} of the CPU's"


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


def _validated(result: Any, where: str) -> Result:
    """The result if it is evidence; ResultError for NaN anywhere in its measurements."""
    if not isinstance(result, Result):
        raise ResultError("a family returns a Result", where=where, seen=type(result).__name__)
    result.validated(where)
    for m in result.measurements.values():
        drawn = [array for array in (m.replicates, m.cluster_replicates) if array is not None]
        ends = [end for end in (m.low, m.high) if end is not None]
        if not np.isfinite(np.concatenate([ends, *drawn])).all():
            raise ResultError(f"the interval of {m.name} is not a number", where=where)
    return result
