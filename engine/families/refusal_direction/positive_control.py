"""A behaviour that is known to be steerable, by the same recipe on the same model in the same run.

Requests that ask for French are answered in French, the others are not. Ablation of the French direction
should take French away from the first, addition should bring it to the second. Where neither does, the recipe
or the machinery does not work on this model, and that a refusal direction does nothing says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

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
from engine.families.refusal_direction.recipe import (
    Learned,
    Progress,
    Requests,
    Settings,
    learn,
    read_requests,
)
from engine.lab.directions import random_directions
from engine.lab.refusals import refusal_tokens
from engine.lab.split import Split
from engine.models.generate import generate

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

FRENCH = "french"
FRENCH_STARTS = ("Le", "La", "Les", "L", "Il", "Un", "Une", "C", "En", "Pour", "Je", "Bien")
"""How an answer in French may begin: taken where the model's own answers give nothing."""


@dataclass(frozen=True)
class ControlSettings:
    """What the positive control is told besides the recipe's settings."""

    token_prompts: int
    answered: int
    max_new_tokens: int
    batch_size: int
    seed: int


def positive_control(
    ev: Evidence,
    model: HookedModel,
    prompts: PromptSet,
    shows: Callable[[str], bool],
    recipe: Callable[[Requests], Settings],
    divide: Callable[..., Split],
    told: ControlSettings,
    progress: Progress,
) -> Learned:
    """Answers in French, where it is asked for and where it is not, under the French direction."""
    # As steps 1 to 4 of the family, with French in the place of refusal.
    requests = read_requests(model, render_chat(prompts, model), FRENCH, divide)
    tokens = _first_tokens(ev, model, requests, shows, told)
    progress(0.15)
    learned = learn(model, requests, tokens, recipe(requests), lambda done: progress(0.15 + 0.35 * done))
    chosen = learned.selection.chosen
    ev.count("language_layer", chosen.layer, "Layer of the French direction.", unit="layer")

    # As step 6.
    direction = chosen.direction
    drawn = random_directions(direction, 1, told.seed)[0]
    coefficient = recipe(requests).coefficient
    unchanged = baseline_arm(model)
    by_kind = {
        True: {
            "baseline": unchanged,
            "ablation": ablation_arm(model, direction),
            "single_layer": single_layer_arm(model, chosen),
            "random_ablation": ablation_arm(model, drawn, "a random direction"),
        },
        False: {
            "baseline": unchanged,
            "addition": addition_arm(model, direction, chosen.layer, coefficient),
            "random_addition": addition_arm(model, drawn, chosen.layer, coefficient, "a random direction"),
        },
    }
    done = 0
    for asks, kinds in by_kind.items():
        index = requests.of("held_out", positive=asks, limit=told.answered)
        over = evidence_over(requests, index, ev)
        answered: dict[str, np.ndarray] = {}
        for name, arm in kinds.items():
            answered[name] = _in_french(arm, requests.some(index), shows, told)
            done += 1
            progress(0.5 + 0.5 * done / 7)
        report(over, answered, {name: arm.about for name, arm in kinds.items()}, asks)
    return learned


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


def _in_french(
    arm: Arm, rows: Sequence[list[int]], shows: Callable[[str], bool], told: ControlSettings
) -> np.ndarray:
    found = generate(
        arm.model, rows, max_tokens=told.max_new_tokens, edit=arm.edit, batch_size=told.batch_size
    )
    return np.array([shows(each.text) for each in found], dtype=bool)


def _first_tokens(
    ev: Evidence, model: HookedModel, requests: Requests, shows: Callable[[str], bool], told: ControlSettings
) -> tuple[int, ...]:
    """The tokens with which the model's own answers in French begin, on training requests."""
    index = np.concatenate(
        [requests.of("train", positive=asks, limit=told.token_prompts) for asks in (True, False)]
    )
    answers = generate(
        model, requests.some(index), max_tokens=told.max_new_tokens, batch_size=told.batch_size
    )
    shown = np.array([shows(each.text) for each in answers], dtype=bool)
    about = "Training requests for French that were answered in French."
    ev.count("language_n_french_train", int((shown & requests.positive[index]).sum()), about)
    own = refusal_tokens(model, answers, shows).ids
    return own or tuple(ids[0] for ids in model.token_ids(FRENCH_STARTS, special_tokens=False) if ids)
