"""Held-out requests and what is done with them: every arm answers, other directions are scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch import Tensor

from engine.evidence.result import Check
from engine.families.refusal_direction.arms import (
    Answers,
    Arm,
    Judge,
    Predictions,
    ablation_arm,
    addition_arm,
    ask,
    baseline_arm,
    predict,
    single_layer_arm,
    weights_arm,
)
from engine.families.refusal_direction.candidates import Candidate, log_probs
from engine.families.refusal_direction.other_directions import NOUNS
from engine.families.refusal_direction.recipe import Progress, Requests
from engine.lab.continuations import Continuations
from engine.lab.continuations import log_probs as text_log_probs
from engine.lab.directions import Direction
from engine.lab.weight_orthogonalization import has_post_norms, orthogonalized, weights_receipt
from engine.models.generate import Completion

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel


@dataclass(frozen=True)
class AnswerSettings:
    """How held-out requests are answered: see `Params`, whose fields these are."""

    coefficient: float
    weights: bool
    max_new_tokens: int
    batch_size: int


@dataclass(frozen=True)
class HeldOut:
    """Held-out requests and all that is needed to run the model on them in another way."""

    model: HookedModel
    chosen: Candidate
    tokens: Sequence[int]
    harmful: list[list[int]]
    harmless: list[list[int]]
    judge: Judge
    unchanged: dict[bool, Float[Tensor, "prompt vocab"]]
    told: AnswerSettings

    @classmethod
    def of(
        cls,
        model: HookedModel,
        requests: Requests,
        chosen: Candidate,
        tokens: Sequence[int],
        judge: Judge,
        told: AnswerSettings,
    ) -> HeldOut:
        rows = {kind: requests.some(requests.of("held_out", positive=kind)) for kind in (True, False)}
        unchanged = {kind: log_probs(model, each) for kind, each in rows.items()}
        return cls(model, chosen, tokens, rows[True], rows[False], judge, unchanged, told)

    @property
    def can_orthogonalize(self) -> bool:
        """Whether orthogonal weights are ablation in this architecture."""
        model = self.model
        return model.is_plain and not has_post_norms(model)

    def answers(self, drawn: Direction, progress: Progress) -> tuple[dict[str, Answers], dict[str, Answers]]:
        """Answers to harmful and to harmless requests by arm."""
        model = self.model
        chosen = self.chosen
        direction = chosen.direction
        times = self.told.coefficient
        noun = NOUNS["random"]
        # Made one after the other: orthogonal weights are a second model while they are used.
        harmful: dict[str, Callable[[], Arm]] = {
            "baseline": lambda: baseline_arm(model),
            "ablation": lambda: ablation_arm(model, direction),
            "single_layer": lambda: single_layer_arm(model, direction, chosen.layer),
            "random_ablation": lambda: ablation_arm(model, drawn, noun),
        }
        if self.told.weights and self.can_orthogonalize:
            harmful["weights"] = lambda: weights_arm(orthogonalized(model, direction))
        harmless: dict[str, Callable[[], Arm]] = {
            "baseline": lambda: baseline_arm(model),
            "addition": lambda: addition_arm(model, direction, chosen.layer, times),
            "ablation": lambda: ablation_arm(model, direction),
            "random_addition": lambda: addition_arm(model, drawn, chosen.layer, times, noun),
        }
        n = len(harmful) + len(harmless)
        found: dict[bool, dict[str, Answers]] = {True: {}, False: {}}
        for kind, made in ((True, harmful), (False, harmless)):
            for name, make in made.items():
                progress(sum(map(len, found.values())) / n, f"answering held-out requests: {name}")
                found[kind][name] = self.ask(make(), kind)
        return found[True], found[False]

    def ask(self, arm: Arm, harmful: bool) -> Answers:
        return ask(
            arm,
            self.rows(harmful),
            self.tokens,
            self.unchanged[harmful],
            self.judge,
            max_new_tokens=self.told.max_new_tokens,
            batch_size=self.told.batch_size,
        )

    def predict(self, arm: Arm, harmful: bool) -> Predictions:
        """What the arm predicts of every request, without an answer."""
        return predict(arm, self.rows(harmful), self.tokens, self.unchanged[harmful])

    def losses(self, arm: Arm, answers: Sequence[Completion]) -> Float[np.ndarray, " prompt"]:
        """Mean -ln p of each answer to a harmless request under the arm, from its second token on (nats per
        token): what the first one is shows in the KL. NaN of an answer without a second token."""
        pairs = list(zip(self.harmless, answers, strict=True))
        given = np.array([len(answer.token_ids) > 1 for _, answer in pairs], dtype=bool)
        found = np.full(len(pairs), np.nan)
        if given.any():
            texts = Continuations(
                [[*prompt, *answer.token_ids] for prompt, answer in pairs if len(answer.token_ids) > 1],
                [len(prompt) + 1 for prompt, answer in pairs if len(answer.token_ids) > 1],
            )
            found[given] = -text_log_probs(arm.model, texts, arm.edit) / texts.n_tokens
        return found

    def under(self, direction: Direction, noun: str) -> dict[bool, Arm]:
        """Ablation for harmful requests, addition for harmless ones, of another direction."""
        model = self.model
        layer = self.chosen.layer
        times = self.told.coefficient
        return {
            True: ablation_arm(model, direction, noun),
            False: addition_arm(model, direction, layer, times, noun),
        }

    def rows(self, harmful: bool) -> list[list[int]]:
        return self.harmful if harmful else self.harmless

    def weights_check(self) -> Check:
        """Orthogonal weights are ablation: over two harmful requests, at every position."""
        input_ids, mask, _ = self.model.pad(self.harmful[:2])
        return weights_receipt(self.model, self.chosen.direction, input_ids, mask)
