"""How well a direction tells harmful requests from harmless ones that it was not made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from engine.evidence.builder import Evidence
from engine.families.refusal_direction.candidates import Candidate, find_candidates
from engine.families.refusal_direction.findings import SHARE, evidence_over
from engine.families.refusal_direction.other_directions import NOUNS, OtherDirections
from engine.families.refusal_direction.recipe import Learned, Requests
from engine.lab.directions import (
    Direction,
    Labels,
    agreement,
    auc_samples,
    effect_size,
    effect_size_samples,
    projection,
)
from engine.lab.prompt_batches import streams_before_answer

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

Streams = Float[Tensor, "prompt layer place d_model"]
MEASURES = {"auc": auc_samples, "d_prime": effect_size_samples}
ABOUT = {
    "auc": "Chance that a harmful request lies further along {} than a harmless one (AUC), {}.",
    "d_prime": "Distance of harmful from harmless requests along {}, in standard deviations (d'), {}.",
}
BOUNDS = {"auc": SHARE, "d_prime": None}


def separability(
    ev: Evidence,
    model: HookedModel,
    requests: Requests,
    held_out: np.ndarray,
    learned: Learned,
    others: OtherDirections,
) -> None:
    """AUC and d' of the selected direction, of the place that separates selection requests best, and of all
    places; each beside directions that should tell nothing."""
    streams = streams_before_answer(model, requests.some(held_out), requests.n_places)
    positive = requests.positive[held_out]
    chosen = learned.selection.chosen
    controls = {}
    for kind, directions in others.items():
        for name, samples in MEASURES.items():
            values = _mean_samples(streams, chosen, directions, positive, samples)
            about = ABOUT[name].format(NOUNS[kind], f"at {chosen.place}, mean of {len(directions)}")
            over, values = bounded(ev, values, positive)
            controls[kind, name] = over.control(f"{name}_{kind}", values, about, bounds=BOUNDS[name])
    for name, samples in MEASURES.items():
        values = samples(_scores(streams, chosen, chosen.direction), positive)
        about = ABOUT[name].format("the direction", f"at {chosen.place}, the selected one")
        over, values = bounded(ev, values, positive)
        over.finding(name, values, about, bounds=BOUNDS[name], control=controls["random", name])

    candidates = find_candidates(learned.streams, requests.positive[learned.train])
    best = best_separating(model, requests, candidates)
    ev.count("best_separating_layer", best.layer, "Layer of the place that separates best.", unit="layer")
    about = "Position of that place, from the end."
    ev.count("best_separating_position", best.position, about, unit="position")
    for name, samples in MEASURES.items():
        values = samples(_scores(streams, best, best.direction), positive)
        about = ABOUT[name].format(
            "the direction", f"at {best.place}, which separates selection requests best"
        )
        over, values = bounded(ev, values, positive)
        over.finding(f"best_{name}", values, about, bounds=BOUNDS[name], control=controls["random", name])

    differences = _differences(learned, requests)
    about = (
        "Mean cosine of each harmful training request's difference from the harmless mean with the direction."
    )
    evidence_over(requests, learned.train[_asks(learned, requests)], ev).finding(
        "difference_agreement", agreement(differences).cpu().numpy().astype(float), about, bounds=(-1.0, 1.0)
    )
    draw(ev, streams, positive, candidates, requests.template)


def bounded(
    ev: Evidence, values: Float[np.ndarray, " prompt"], positive: Labels
) -> tuple[Evidence, np.ndarray]:
    """An AUC's values; where all requests are told apart, which of the harmful ones are.

    Values that are all 1 have no spread to make an interval of. The share of harmful requests that lie
    further along than every harmless one is then 1 too, is never above the AUC, and has one.
    """
    if np.ptp(values) > 0 or values[0] != 1.0:
        return ev, values
    return ev.where(positive, chosen_on=ev.chosen_on), values > 0


def best_separating(model: HookedModel, requests: Requests, candidates: Sequence[Candidate]) -> Candidate:
    """The candidate of any layer with the largest d' on selection requests."""
    select = requests.both("select")
    streams = streams_before_answer(model, requests.some(select), requests.n_places)
    positive = requests.positive[select]
    return max(candidates, key=lambda each: effect_size(_scores(streams, each, each.direction), positive))


def draw(
    ev: Evidence, streams: Streams, positive: Labels, candidates: Sequence[Candidate], template: Sequence[str]
) -> None:
    """AUC and d' by layer, a line for each position."""
    rows = []
    for candidate in candidates:
        scores = _scores(streams, candidate, candidate.direction)
        row: dict[str, object] = {
            "layer": candidate.layer,
            "position": f"{candidate.position} {template[candidate.position]!r}",
        }
        for name, samples in MEASURES.items():
            over, values = bounded(ev, samples(scores, positive), positive)
            found = over.measured(name, values, bounds=BOUNDS[name])
            row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
        rows.append(row)
    bounds = [f"{name}_{end}" for name in MEASURES for end in ("low", "high")]
    table = pd.DataFrame(rows).astype(dict.fromkeys(bounds, float))
    ev.table("separability", table)
    for name, title in (("auc", "AUC"), ("d_prime", "d'")):
        drawn = {"low": table[f"{name}_low"], "high": table[f"{name}_high"]}
        columns = {column: table[column] for column in ("layer", "position", name)}
        ev.table(f"{name}_by_layer", pd.DataFrame({**columns, **drawn})).line(
            f"{name}_by_layer",
            "layer: input of block",
            f"{name}: {title}",
            color="position: position from the end",
            band=True,
            title=f"Separability of harmful requests by layer ({title})",
            caption="Held-out requests along each place's own difference in means of training requests; "
            "bands are 95 % intervals. Separability says nothing of what controls refusal.",
        )


def _asks(learned: Learned, requests: Requests) -> np.ndarray:
    return requests.positive[learned.train]


def _differences(learned: Learned, requests: Requests) -> Float[Tensor, "prompt d_model"]:
    """Each harmful training request less the mean harmless one, at the selected place."""
    layer, place = learned.place
    streams = learned.streams[:, layer, place].float()
    asks = torch.from_numpy(_asks(learned, requests).copy()).to(streams.device)
    return streams[asks] - streams[~asks].mean(0)


def _scores(streams: Streams, at: Candidate, direction: Direction) -> Float[np.ndarray, " prompt"]:
    """The projection of the streams at a place on a direction."""
    return projection(streams[:, at.layer, at.position], direction).cpu().numpy().astype(float)


def _mean_samples(
    streams: Streams, at: Candidate, directions: Sequence[Direction], positive: Labels, samples
) -> Float[np.ndarray, " prompt"]:
    """The samples behind the mean number of several directions."""
    return np.mean([samples(_scores(streams, at, each), positive) for each in directions], axis=0)
