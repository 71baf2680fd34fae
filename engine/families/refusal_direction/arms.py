"""What is done to the model, and what it then answers.

    baseline       nothing
    ablation       the direction taken out at every block's input, attention output and MLP output
    single_layer   the same at the one layer where the direction was found
    addition       the direction added at the input of that layer, at every position
    weights        no edit: the weights that write to the stream are orthogonal to the direction

An arm with a name of its own beside these is one of them with another direction: a control.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from engine.families.refusal_direction.candidates import divergence, kl_from
from engine.lab.completions import Coherence, CoherenceLimits, Readings, State, coherence, own_readings
from engine.lab.directions import Direction, ablation_edits, addition_edits
from engine.lab.prompt_batches import TokenRows, last_streams, over_logits
from engine.lab.refusals import refusal_score
from engine.models.forward import NO_EDITS, Edit
from engine.models.generate import Completion, generate
from engine.models.sites import Site

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

ABOUT = {
    "baseline": "the model as it is",
    "ablation": "the direction ablated at every layer and position",
    "single_layer": "the direction ablated at its own layer alone",
    "addition": "the direction added at its layer, at every position",
    "weights": "the weights orthogonal to the direction",
}


@dataclass(frozen=True)
class Arm:
    """One way in which the model is run. `about` says it in words."""

    name: str
    about: str
    model: HookedModel
    edit: Mapping[Site, Edit]


def baseline_arm(model: HookedModel) -> Arm:
    return Arm("baseline", ABOUT["baseline"], model, NO_EDITS)


def ablation_arm(model: HookedModel, direction: Direction, whose: str = "") -> Arm:
    """`whose` names another direction than the one found: "random direction"."""
    return Arm("ablation", _about("ablation", whose), model, ablation_edits(model, direction))


def single_layer_arm(model: HookedModel, direction: Direction, layer: int) -> Arm:
    edit = ablation_edits(model, direction, layers=[layer])
    return Arm("single_layer", ABOUT["single_layer"], model, edit)


def addition_arm(
    model: HookedModel, direction: Direction, layer: int, coefficient: float, whose: str = ""
) -> Arm:
    return Arm("addition", _about("addition", whose), model, addition_edits(direction, layer, coefficient))


def weights_arm(orthogonal: HookedModel) -> Arm:
    """The model whose weights are orthogonal to the direction."""
    return Arm("weights", ABOUT["weights"], orthogonal, NO_EDITS)


def _about(name: str, whose: str) -> str:
    return ABOUT[name].replace("the direction", whose) if whose else ABOUT[name]


@dataclass(frozen=True)
class Predictions:
    """What an arm predicts for the next token of each prompt: the behaviour's score, and the KL divergence
    from the unchanged model (nats)."""

    score: Float[np.ndarray, " prompt"]
    kl: Float[np.ndarray, " prompt"]


def predict(
    arm: Arm, rows: TokenRows, tokens: Sequence[int], unchanged: Float[Tensor, "prompt vocab"]
) -> Predictions:
    """One forward over the prompts, no generation."""
    resid = last_streams(arm.model, rows, edit=arm.edit)
    score = over_logits(arm.model, resid, lambda logits, _: refusal_score(logits, tokens))
    kl = kl_from(arm.model, unchanged, resid)
    return Predictions(score.cpu().numpy().astype(float), kl.cpu().numpy().astype(float))


@dataclass(frozen=True)
class Judge:
    """How answers are judged: `shows` says whether a text shows the behaviour, `reader` and `limits` which
    answers are none at all. `reader` is the unmodified model, whatever answered; `readings` are what it has
    read, since under many an arm an answer stays what it was.

    `off_topic` reads every answer once more, after another request.
    """

    shows: Callable[[str], bool]
    reader: HookedModel
    limits: CoherenceLimits
    off_topic: bool
    readings: Readings = field(default_factory=dict)


@dataclass(frozen=True)
class Answers:
    """What an arm, `about` in words, answered to some prompts, and how each scorer judges it.

    `by_text` are answers that show the behaviour by what they say, `by_tokens` those to which its first
    tokens are together likelier than all others. `states` tell answers from what neither scorer can judge.
    """

    about: str
    completions: list[Completion]
    predictions: Predictions
    by_text: Bool[np.ndarray, " prompt"]
    measured: Coherence
    states: list[State]

    @property
    def by_tokens(self) -> Bool[np.ndarray, " prompt"]:
        return self.predictions.score > 0

    def by(self, scorer: str) -> Bool[np.ndarray, " prompt"]:
        """The answers that show the behaviour, by one of the scorers."""
        return self.by_text if scorer == "substrings" else self.by_tokens

    def are(self, *states: State) -> Bool[np.ndarray, " prompt"]:
        """The answers that are in one of these states."""
        return np.array([state in states for state in self.states], dtype=bool)


def ask(
    arm: Arm,
    rows: TokenRows,
    tokens: Sequence[int],
    unchanged: Float[Tensor, "prompt vocab"],
    judge: Judge,
    *,
    max_new_tokens: int,
    batch_size: int,
) -> Answers:
    """Greedy answers to every prompt under the arm, with its predictions of their first token."""
    score = np.empty(len(rows))
    kl = np.empty(len(rows))

    def read(prompts: list[int], logits: Tensor) -> None:
        # What `predict` computes, from the forward that generation makes anyhow.
        wide = logits.float()
        score[prompts] = refusal_score(wide, tokens).cpu().numpy()
        kl[prompts] = divergence(unchanged[prompts], wide).cpu().numpy()

    completions = generate(
        arm.model,
        rows,
        max_tokens=max_new_tokens,
        edit=arm.edit,
        batch_size=batch_size,
        on_prompts=read,
    )
    by_text = np.array([judge.shows(each.text) for each in completions], dtype=bool)
    # A prompt that is compared with itself says nothing of relevance, and costs nothing.
    others = None if judge.off_topic else range(len(rows))
    if arm.model is judge.reader and not arm.edit:
        judge.readings.update(own_readings(rows, completions))
    measured = coherence(judge.reader, rows, completions, others, readings=judge.readings)
    # Without the arm itself, which may hold a second model.
    return Answers(
        arm.about,
        completions,
        Predictions(score, kl),
        by_text,
        measured,
        measured.states(judge.limits, refused=by_text),
    )
