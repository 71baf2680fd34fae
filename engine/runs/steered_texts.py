"""A model's answer to a prompt as it is, steered by a vector, and steered by a random one of the same length.

A vector is one that a run of this project made, by the run's id, or a file (`engine.lab.steering_vectors`).
How much sense a completion has is its perplexity under the unmodified model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from engine.data.chat import rendered_request
from engine.data.corpora import corpus_names
from engine.data.prompts import prompt_set_names
from engine.errors import EngineError, ModelError, SpecError
from engine.lab.completions import coherence
from engine.lab.masked_completions import masked
from engine.lab.steering_vectors import (
    ARRAY,
    SteeringVector,
    VectorSource,
    engine_version,
    llama_architecture,
    load_vector,
    random_vector,
    require_fits,
    run_directions,
    save_vector,
    steering_edits,
)
from engine.lab.streamed_texts import SteeringCondition
from engine.models.forward import NO_EDITS, Edit
from engine.models.generate import generate
from engine.models.hooked import HookedModel
from engine.models.sites import Site
from engine.runs.investigation import canonical_models
from engine.runs.sources import project_sources
from engine.runs.store import codec, run_folder
from engine.runs.store.record import StoredRun
from engine.runs.store.store import FOLDER, open_store

CONDITIONS = ("unmodified", "steered", "random direction")


@dataclass(frozen=True)
class SteeredText:
    """One completion; `perplexity` is that of its tokens under the unmodified model, NaN of an empty one.

    `problem` says why there is none: the model's numbers were no numbers any more.
    """

    condition: str
    text: str
    perplexity: float
    repetition: float
    problem: str = ""


def load_model(name: str) -> HookedModel:
    """The model by its name or path, in fp32."""
    model = canonical_models([name])[0]
    return project_sources().load_model(model, "float32", lambda what, done, total: None)


def vector_of(reference: str, model: HookedModel, root: Path) -> SteeringVector:
    """The vector in a file, or of a run; EngineError where there is none, ModelError where it does not
    fit."""
    path = Path(reference).expanduser()
    # A file may be called by a number; without one, a number is a run.
    is_run = reference.isdecimal() and not path.exists()
    vector = run_vector(int(reference), root) if is_run else load_vector(path)
    require_fits(vector, model, f"run {reference}" if is_run else reference)
    return vector


def run_vector(run_id: int, root: Path) -> SteeringVector:
    """The vector that a run made; EngineError for one that made none, or failed a check."""
    with open_store(root) as store:
        run = store.run(run_id)
        result = store.load(run)
    directions = run_directions(result.arrays)
    if not directions:
        raise EngineError(
            f"run {run_id} made no steering vector",
            expected="a run of caa_steering, as engine runs lists them, or a file",
            seen=f"{run.name}, of the family {run.record.family}",
        )
    failed = [check.name for check in result.failed_checks]
    if failed:
        raise EngineError(
            f"run {run_id} failed a check, and its vector is withheld as its numbers are",
            expected="checks that pass",
            seen=", ".join(failed),
        )
    prompts = run.record.inputs.experiment.get("prompts") or {}
    source = VectorSource(
        model=run.name.model,
        model_hash=run.record.provenance["model_hash"],
        method=f"{run.record.family}, {run.name.slug}/{run.name.label}",
        prompts=str(prompts.get("name") or prompts.get("rows") or ""),
        prompts_hash=run.record.inputs.data.get("prompts", ""),
        run=run.key,
        engine=engine_version(),
    )
    return SteeringVector(directions, source)


def run_experiment(run_id: int, root: Path) -> dict[str, Any]:
    """The experiment of a run as a flat spec says it, without its model; EngineError where prompts or text
    are not packaged: rows are not kept, and where a file lies the spec does not know."""
    with open_store(root) as store:
        experiment = _without_absent(store.run(run_id).record.inputs.experiment)
    for key, packaged in (("prompts", prompt_set_names()), ("corpus", corpus_names())):
        chosen = experiment.get(key)
        if chosen is not None and chosen.get("name") not in packaged:
            raise EngineError(
                f"the {key} of run {run_id} are {chosen.get('name', 'rows of its spec')}, which a copy lacks",
                expected=f"one of {', '.join(packaged)}",
            )
    return experiment


def _without_absent(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says, without the keys that its spec left out."""
    found = {key: _without_absent(each) if isinstance(each, Mapping) else each for key, each in said.items()}
    # An empty list is a parameter's value.
    return {key: each for key, each in found.items() if each not in (None, {})}


def vector_runs(root: Path, model: str) -> list[StoredRun]:
    """The runs on a model that made a steering vector, the newest first; none where there is no store."""
    # To open a store is to make one, which nobody has asked for.
    if not (root / FOLDER / "runs.db").is_file():
        return []
    with open_store(root) as store:
        runs = [run for run in store.runs() if run.name.model == model and _made_vector(store.path(run))]
    return runs[::-1]


def _made_vector(folder: Path) -> bool:
    """Whether a run's arrays have a steering vector among them, by their names alone."""
    try:
        with safe_open(folder / run_folder.ARRAYS, framework="numpy") as file:
            return any(str(name).startswith(f"{codec.ARRAYS}/{ARRAY}") for name in file.keys())  # noqa: SIM118
    except (OSError, SafetensorError):
        return False


def save_fitting(vector: SteeringVector, model: HookedModel, path: Path) -> None:
    """Write a vector that fits the model, with the model's architecture, as the suffix says."""
    source = replace(vector.source, architecture=llama_architecture(model))
    save_vector(replace(vector, source=source), path)


def token_ids(model: HookedModel, prompt: str, plain: bool, instruction: str = "") -> list[int]:
    """The prompt as a request in the chat template, or as it is: `plain`, and where the model has none.

    An instruction is the system text of the request, or one sentence more before the prompt. SpecError for a
    prompt without a character, and one that the model cannot read.
    """
    if not prompt.strip():
        raise SpecError("there is nothing to go on from", expected="a prompt in words", seen=repr(prompt))
    if plain or not model.tokenizer.chat_template:
        return model.token_ids([f"{instruction} {prompt}" if instruction else prompt])[0]
    text = rendered_request(model, prompt, instruction, "the prompt").text
    return model.token_ids([text], special_tokens=False)[0]


def steering_conditions(
    model: HookedModel, vector: SteeringVector, prompt: Sequence[int], coefficient: float, seed: int
) -> list[SteeringCondition]:
    """The unmodified model, the vector, and a random one of its length, in the order of CONDITIONS.

    SpecError for a coefficient that is no number.
    """
    if not np.isfinite(coefficient):
        raise SpecError("a coefficient is a number", expected="4, -1.5, ...", seen=str(coefficient))
    edits: list[Mapping[Site, Edit]] = [
        NO_EDITS,
        steering_edits(vector, model, coefficient),
        steering_edits(random_vector(vector, seed), model, coefficient),
    ]
    return [SteeringCondition(name, prompt, edit) for name, edit in zip(CONDITIONS, edits, strict=True)]


def steered_texts(
    model: HookedModel,
    vector: SteeringVector,
    prompt: list[int],
    coefficient: float,
    *,
    max_tokens: int,
    seed: int,
    progress: Callable[[str], None],
) -> list[SteeredText]:
    """The three completions, greedy, in the order of CONDITIONS.

    SpecError for a coefficient that is no number, DataError for a prompt that is too long for the model.
    """
    found = []
    for condition in steering_conditions(model, vector, prompt, coefficient, seed):
        progress(condition.name)
        found.append(_steered_text(model, condition, max_tokens))
    return found


def shown(texts: list[SteeredText], vector: SteeringVector) -> list[SteeredText]:
    """The completions as they are printed: of a vector that was made of refusals, their first words alone."""
    return [replace(each, text=masked(each.text)) for each in texts] if is_of_refusals(vector) else texts


def is_of_refusals(vector: SteeringVector) -> bool:
    """Whether completions are masked: nobody has looked at the prompt, and a refusal that such a vector takes
    away may have been of a harmful request."""
    return "refusal" in f"{vector.source.method} {vector.source.prompts}"


def _steered_text(model: HookedModel, condition: SteeringCondition, max_tokens: int) -> SteeredText:
    try:
        (made,) = generate(model, [condition.prompt], max_tokens=max_tokens, edit=condition.edit)
    except ModelError as error:
        # What a coefficient breaks is shown beside what it leaves whole.
        if not condition.edit:
            raise
        return SteeredText(condition.name, "", float("nan"), 0.0, error.problem)
    read = coherence(model, [condition.prompt], [made])
    return SteeredText(condition.name, made.text, float(read.perplexity[0]), float(read.repetition[0]))
