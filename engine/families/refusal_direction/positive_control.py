"""A behaviour that is known to be steerable, on the same model in the same run: the language of the answer.

1. Training requests, half of which ask for French, are answered by the unmodified model.
2. At each of a few layers the French direction is the difference in means of the block's input over the
   answers' positions: answers in French less answers in another language, each where they were asked for.
   Where few are told so (the judge leaves short ones undecided), all answers count as what was asked for.
   That is how steering vectors are made (Rimsky et al. 2024, section 3), and not how a refusal direction is:
   at the template's last position, before the answer begins, requests differ in the language that is asked
   for and not in the language that is being written.
3. The layer is the one at which the direction, added to selection requests that do not ask for French,
   brings most answers in French.
4. On held-out requests: addition to those that do not ask for it should bring French; ablation from those
   that ask for it may take it away or not, since every token of the answer can read the instruction anew.

Where addition brings no French, edits of the stream do not work on this model or in this code, and that a
refusal direction does nothing says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from engine.data.chat import render_chat
from engine.data.prompts import PromptSet
from engine.evidence.builder import Evidence
from engine.families.refusal_direction.arms import (
    Arm,
    ablation_arm,
    addition_arm,
    baseline_arm,
    single_layer_arm,
)
from engine.families.refusal_direction.findings import CHANGE, changed, evidence_over
from engine.families.refusal_direction.recipe import FEWEST_FILTERED, Progress, Requests, read_requests
from engine.lab.directions import Direction, mean_difference, random_directions
from engine.lab.prompt_batches import PromptBatch, read_prompts
from engine.lab.split import Split
from engine.models.generate import Completion, generate
from engine.spec.sites import RESID_PRE

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

FRENCH = "french"


@dataclass(frozen=True)
class ControlSettings:
    """What the positive control is told. `layers` are those of which one is selected, each by the answers to
    `selected_on` requests; `train_prompts` of each kind are answered for the means, `answered` held out."""

    layers: Sequence[int]
    coefficient: float
    train_prompts: int
    selected_on: int
    answered: int
    max_new_tokens: int
    batch_size: int
    seed: int


@dataclass(frozen=True)
class LanguageDirection:
    """The French direction and the block whose input it is."""

    layer: int
    direction: Direction


def positive_control(
    ev: Evidence,
    model: HookedModel,
    prompts: PromptSet,
    shows: Callable[[str], bool],
    divide: Callable[..., Split],
    told: ControlSettings,
    progress: Progress,
) -> LanguageDirection | None:
    """Answers in French, where it is asked for and where it is not, under the French direction.

    None where no answer in training is in French, or every one is: there is no direction then.
    """
    requests = read_requests(model, render_chat(prompts, model), FRENCH, divide)
    candidates = _candidates(ev, model, requests, shows, told)
    progress(0.3)
    if not candidates:
        return None
    chosen = _select(ev, model, requests, candidates, shows, told, lambda done: progress(0.3 + 0.3 * done))

    # 4. As step 6 of the family.
    direction = chosen.direction
    drawn = random_directions(direction, 1, told.seed)[0]
    unchanged = baseline_arm(model)
    by_kind = {
        True: {
            "baseline": unchanged,
            "ablation": ablation_arm(model, direction),
            "single_layer": single_layer_arm(model, direction, chosen.layer),
            "random_ablation": ablation_arm(model, drawn, "a random direction"),
        },
        False: {
            "baseline": unchanged,
            "addition": addition_arm(model, direction, chosen.layer, told.coefficient),
            "random_addition": addition_arm(
                model, drawn, chosen.layer, told.coefficient, "a random direction"
            ),
        },
    }
    n_arms = sum(map(len, by_kind.values()))
    done = 0
    for asks, kinds in by_kind.items():
        index = requests.of("held_out", positive=asks, limit=told.answered)
        over = evidence_over(requests, index, ev)
        answered: dict[str, np.ndarray] = {}
        for name, arm in kinds.items():
            answered[name] = _in_french(_answers(arm, requests.some(index), told), shows)
            done += 1
            progress(0.6 + 0.4 * done / n_arms)
        report(over, answered, {name: arm.about for name, arm in kinds.items()}, asks)
    return chosen


def _candidates(
    ev: Evidence, model: HookedModel, requests: Requests, shows: Callable[[str], bool], told: ControlSettings
) -> list[LanguageDirection]:
    """Steps 1 and 2: the French direction at each layer; none where all answers are of one language."""
    index = np.concatenate(
        [requests.of("train", positive=asks, limit=told.train_prompts) for asks in (True, False)]
    )
    rows = requests.some(index)
    answers = _answers(baseline_arm(model), rows, told)
    asked = requests.positive[index]
    shown = _in_french(answers, shows)
    about = "Training requests for French that were answered in French."
    ev.count("language_n_french_train", int((shown & asked).sum()), about)

    # An answer of one token has been read by nobody: there is no position at which it is being continued.
    used = np.array([len(each.token_ids) > 1 for each in answers], dtype=bool)
    if not (used & shown).any() or not (used & ~shown).any():
        return []
    as_asked = used & (shown == asked)
    # The judge leaves short answers undecided; where few are left what was asked for decides.
    enough = min((as_asked & asked).sum(), (as_asked & ~asked).sum()) >= FEWEST_FILTERED
    kept = np.flatnonzero(as_asked if enough else used)
    if len(set(asked[kept].tolist())) < 2:
        return []
    streams = _answer_streams(model, [rows[row] for row in kept], [answers[row] for row in kept], told.layers)
    french = torch.from_numpy(asked[kept].copy()).to(streams.device)
    directions = mean_difference(streams[french], streams[~french])
    return [LanguageDirection(layer, directions[place]) for place, layer in enumerate(told.layers)]


def _answer_streams(
    model: HookedModel, prompts: list[list[int]], answers: Sequence[Completion], layers: Sequence[int]
) -> Float[Tensor, "prompt layer d_model"]:
    """The mean input of some blocks over the positions of each answer."""
    at = model.sites(RESID_PRE)
    sites = [at[layer] for layer in layers]
    starts = torch.tensor([len(prompt) for prompt in prompts], device=model.device)

    def of_answers(batch: PromptBatch) -> Tensor:
        positions = torch.arange(batch.resid.shape[1], device=batch.resid.device)[None]
        start = starts[batch.prompts][:, None]
        inside = ((positions >= start) & (positions <= batch.last[:, None])).float()[..., None]
        means = [(batch.activations[site].float() * inside).sum(1) / inside.sum(1) for site in sites]
        return torch.stack(means, dim=1)

    rows = [[*prompt, *answer.token_ids] for prompt, answer in zip(prompts, answers, strict=True)]
    return read_prompts(model, rows, of_answers, read=sites, n_shared=0)


def _select(
    ev: Evidence,
    model: HookedModel,
    requests: Requests,
    candidates: Sequence[LanguageDirection],
    shows: Callable[[str], bool],
    told: ControlSettings,
    progress: Progress,
) -> LanguageDirection:
    """Step 3: the layer at which addition brings most French; the earliest of equals."""
    rows = requests.some(requests.of("select", positive=False, limit=told.selected_on))
    shares = []
    for number, candidate in enumerate(candidates):
        arm = addition_arm(model, candidate.direction, candidate.layer, told.coefficient)
        shares.append(float(_in_french(_answers(arm, rows, told), shows).mean()))
        progress((number + 1) / len(candidates))
    best = int(np.argmax(shares))
    ev.count("language_layer", candidates[best].layer, "Layer of the French direction.", unit="layer")
    table = pd.DataFrame({"layer": [each.layer for each in candidates], "french": shares})
    ev.table("language_layers", table.assign(n=len(rows), selected=table.index == best))
    return candidates[best]


def report(ev: Evidence, answered: dict[str, np.ndarray], about: dict[str, str], asks: bool) -> None:
    """Shares and changes, each change beside that by a random direction."""
    prefix = "language" if asks else "plain_language"
    where = "requests for French" if asks else "requests that do not ask for it"
    means = f"Positive control: share of answers in French to {where}, {{}}."
    for name, shown in answered.items():
        add = ev.control if name == "baseline" or name.startswith("random") else ev.finding
        add(f"{prefix}_{name}", shown, means.format(about[name]))
    of = f"Positive control: change of the share of answers in French to {where}, {{}}."
    kind = "ablation" if asks else "addition"
    before = answered["baseline"]
    name = f"random_{kind}"
    drawn = changed(answered[name], before)
    chance = ev.control(
        f"{prefix}_change_{name}", drawn.gained, of.format(about[name]), less=drawn.lost, bounds=CHANGE
    )
    for name, shown in answered.items():
        if name != "baseline" and not name.startswith("random"):
            change = changed(shown, before)
            ev.finding(
                f"{prefix}_change_{name}",
                change.gained,
                of.format(about[name]),
                less=change.lost,
                bounds=CHANGE,
                control=chance,
            )


def _answers(arm: Arm, rows: Sequence[list[int]], told: ControlSettings) -> list[Completion]:
    return generate(
        arm.model, rows, max_tokens=told.max_new_tokens, edit=arm.edit, batch_size=told.batch_size
    )


def _in_french(answers: Sequence[Completion], shows: Callable[[str], bool]) -> np.ndarray:
    return np.array([shows(each.text) for each in answers], dtype=bool)
