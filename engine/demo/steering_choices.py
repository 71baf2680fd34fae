"""Which steering vector a reader of the demo means, and the vector itself.

    sentiment     made on the spot from a packaged set of contrasts
    lists         made on the spot from the reader's own two lists, whose lines are pairs
    run 12        made by a run of this project's store
    file joy.gguf read from a file that the server was started with

What is made on the spot is made as the family `caa_steering` makes it: the mean difference over one half of
the pairs, whose agreement is measured on the other half. Nothing that a reader types names a file.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from engine.data.contrasts import tokenize_contrasts
from engine.data.prompts import PromptSet
from engine.demo.live_model import LiveModel
from engine.demo.panel import TellProgress
from engine.errors import DemoError, EngineError, nearest
from engine.evidence.result import Measurement
from engine.families.caa_steering import Division, Params, agreements, differences, stream_site
from engine.families.caa_steering.contrast_texts import beginning
from engine.lab.split import selection_half
from engine.lab.steering_vectors import (
    SteeringVector,
    VectorSource,
    engine_version,
    load_vector,
    require_fits,
)
from engine.runs.investigation import find_root_or_here
from engine.runs.steered_texts import run_vector, vector_runs
from engine.spec.inputs import CONTRAST

LISTS = "lists"
RUN = "run "
FILE = "file "
CONCEPTS: Mapping[str, str] = {
    "sentiment": "This is a very positive review.",
    "certainty": "The answer is completely certain.",
}
"""The packaged sets that a vector is made of in seconds, with the same wish as an instruction."""
PAIRS_READ = 40
"""Of a packaged set, as evenly from its topics as can be; and of a reader's lists at most."""
ROW = re.compile(r"rows\[(\d+)\]")
AT_ONCE = 8  # pairs between two looks at whether the request is to end
LISTED_RUNS = 20
KEPT = 16

Texts = Sequence[str]
Rows = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class ChosenVector:
    """A vector, where it is from in words, and how far the pairs that it was made of agree with it.

    `measurements` are those of the family, by its names; none for a vector of a run or a file.
    """

    vector: SteeringVector
    about: str
    measurements: Mapping[str, Measurement] = field(default_factory=dict)

    @property
    def sites(self) -> list[str]:
        return list(self.vector.directions)


def choices(live: LiveModel) -> list[tuple[str, str]]:
    """What there is to choose from, each with its words; the model need not be loaded."""
    found = [(f"{name}: made now from {PAIRS_READ} packaged pairs", name) for name in CONCEPTS]
    found.append(("the two lists below: made now", LISTS))
    try:
        runs = vector_runs(find_root_or_here(), live.name)[:LISTED_RUNS]
    except EngineError:
        # A store that cannot be read takes nothing from the other vectors.
        runs = []
    for run in runs:
        words = f"run {run.id}: {run.record.family}, {run.name.slug}/{run.name.label}"
        found.append((words, f"{RUN}{run.id}"))
    return found + [(f"file {name}", f"{FILE}{name}") for name in live.vectors]


def chosen_vector(
    live: LiveModel,
    name: str,
    positive: Texts,
    negative: Texts,
    params: Params,
    progress: TellProgress,
) -> ChosenVector:
    """The vector by its name; DemoError and others where there is none, or none that fits the model."""
    if name == LISTS:
        return _made(live, _of_lists(live, paired(positive, negative)), params, progress)
    if name in CONCEPTS:
        return _kept(live, name, params, progress)
    if name.startswith(RUN):
        found = run_vector(run_id(name), find_root_or_here())
    elif name.startswith(FILE):
        found = load_vector(live.vectors[_known_file(live, name)])
    else:
        known = [value for _, value in choices(live)]
        raise DemoError(
            f"no vector is called {name[:60]!r}",
            expected=", ".join(known[:8]),
            near=nearest(name, known),
        )
    require_fits(found, live.model, name)
    source = found.source
    words = ", ".join(filter(None, [source.method, source.prompts and f"prompts {source.prompts}"]))
    return ChosenVector(found, f"{name}{f' ({words})' if words else ''}")


def run_id(name: str) -> int:
    """The number of `run 12`; DemoError where it is none."""
    number = name.removeprefix(RUN).strip()
    # Digits of other scripts are decimal too, and an id has nineteen digits at most.
    if not (number.isascii() and number.isdecimal() and len(number) < 19):
        raise DemoError(
            f"{name[:40]!r} names no run", expected="run and its id, as in: run 12", seen=number[:40]
        )
    return int(number)


def _known_file(live: LiveModel, name: str) -> str:
    file = name.removeprefix(FILE)
    if file not in live.vectors:
        raise DemoError(
            f"the demo was not started with a file {file[:60]!r}",
            expected=", ".join(live.vectors) or "mech demo --vector FILE, by whoever starts the server",
            near=nearest(file, live.vectors),
        )
    return file


def paired(positive: Texts, negative: Texts) -> list[dict[str, str]]:
    """The lines of two lists as contrasts; DemoError for lists that are no pairs."""
    if not positive or not negative:
        which = "both lists are" if not positive and not negative else "one of the lists is"
        raise DemoError(
            f"{which} empty",
            expected="a text in each line, the lines of the two lists in pairs",
            seen=f"{len(positive)} with the concept, {len(negative)} without",
        )
    if len(positive) != len(negative):
        raise DemoError(
            "the lists are not in pairs",
            expected="as many lines in both: line 1 with line 1, line 2 with line 2",
            seen=f"{len(positive)} with the concept, {len(negative)} without",
        )
    if not 2 <= len(positive) <= PAIRS_READ:
        raise DemoError(
            "too few pairs" if len(positive) < 2 else "too many pairs",
            expected=f"2 to {PAIRS_READ}: one half makes the vector, the other half is held out",
            seen=str(len(positive)),
        )
    if list(positive) == list(negative):
        raise DemoError(
            "the two lists are the same", expected="texts that differ in what the vector is to do"
        )
    return [{"positive": one, "negative": other} for one, other in zip(positive, negative, strict=True)]


def _of_lists(live: LiveModel, rows: Rows) -> PromptSet:
    try:
        return replace(live.prompts(rows, CONTRAST), name="the two lists")
    except EngineError as error:
        # It speaks of rows of a spec, counted from 0; the reader has lines of two lists.
        if row := ROW.search(error.where):
            error.where = f"pair {int(row[1]) + 1}"
        raise


def _kept(live: LiveModel, name: str, params: Params, progress: TellProgress) -> ChosenVector:
    """A packaged concept's vector, of which the last few are kept: one for each layer would crowd out what
    other panels share."""
    kept: OrderedDict[Hashable, ChosenVector] = live.shared(("vectors", live.model.hash), OrderedDict)
    key = (name, params.layer, params.template, params.seed)
    if key not in kept:
        kept[key] = _made(live, live.prompts(name, CONTRAST, limit=PAIRS_READ), params, progress)
        while len(kept) > KEPT:
            kept.popitem(last=False)
    kept.move_to_end(key)
    return kept[key]


def _made(live: LiveModel, prompts: PromptSet, params: Params, progress: TellProgress) -> ChosenVector:
    """Steps 1 and 2 of the family: one half of the pairs makes the vector, the other half is held out."""
    model = live.model
    contrasts = tokenize_contrasts(prompts, model, model.anatomy.context_tokens)
    if params.template == "chat":
        _require_beginnings(contrasts.table)
    division = Division(contrasts, selection_half(contrasts.ids, contrasts.clusters))
    site = stream_site(params.layer, model.n_layers)
    trained = _differences(live, division.trained, params, progress, 0.02)
    held_out = _differences(live, division.held_out, params, progress, 0.16)
    direction = trained.mean(0)
    agreements(division, trained, held_out, params.seed)
    source = VectorSource(
        model=model.name,
        model_hash=model.hash,
        method="caa_steering, made by the demo",
        prompts=prompts.name,
        prompts_hash=prompts.hash,
        engine=engine_version(),
    )
    n_trained = int(division.training.sum())
    about = f"made now, the mean difference over {n_trained} of {len(contrasts)} pairs of {prompts.name}"
    vector = SteeringVector({str(site): direction.cpu().numpy()}, source)
    return ChosenVector(vector, about, division.evidence.result().measurements)


def _differences(
    live: LiveModel, table: pd.DataFrame, params: Params, progress: TellProgress, since: float
) -> Float[Tensor, "contrast d_model"]:
    """The family's differences, a few pairs at a time: the request may end between them."""
    site = stream_site(params.layer, live.model.n_layers)
    found = []
    for first in range(0, len(table), AT_ONCE):
        progress(since + 0.14 * first / len(table), "making the vector")
        rows = table.iloc[first : first + AT_ONCE].reset_index(drop=True)
        found.append(differences(live.lab(), rows, site, params))
    return torch.cat(found)


def _require_beginnings(table: pd.DataFrame) -> None:
    for number, row in enumerate(table.to_dict("records"), start=1):
        if not beginning(row).strip():
            raise DemoError(
                f"the two texts of pair {number} begin with nothing that both have",
                expected="a request that both begin with, or the template plain",
                seen=f"{str(row['positive'])[:40]!r} and {str(row['negative'])[:40]!r}",
            )


def require_layer(layer: int | None, n_layers: int) -> None:
    """DemoError for a layer that the model has not."""
    if layer is not None and not 0 <= layer < n_layers:
        raise DemoError(
            f"the model has no layer {layer}", expected=f"0 to {n_layers - 1}, or nothing", seen=str(layer)
        )


def at_layer(found: ChosenVector, layer: int | None) -> ChosenVector:
    """The vector at another layer's output than its own; DemoError where it has several to choose from."""
    if layer is None:
        return found
    site = f"blocks.{layer}.hook_resid_post"
    directions = found.vector.directions
    if site in directions:
        only = directions[site]
    elif len(directions) == 1:
        (only,) = directions.values()
    else:
        raise DemoError(
            f"this vector has {len(directions)} directions, and none at layer {layer}",
            expected="no layer, for all of them, or one of " + ", ".join(directions),
        )
    if list(directions) == [site]:
        return found
    (own, *_) = directions
    moved = "" if site in directions else f", read at {own} and added at {site}"
    return replace(found, vector=replace(found.vector, directions={site: only}), about=found.about + moved)


def prompts_of_spec(name: str, positive: Texts, negative: Texts) -> dict[str, Any]:
    """The pairs as a spec names them."""
    if name == LISTS:
        return {"rows": paired(positive, negative)}
    return {"name": name, "limit": PAIRS_READ}
