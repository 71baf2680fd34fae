"""How much likelier a model finds the positive text of each contrast: unmodified, steered, and with an
instruction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor

from engine.families.caa_steering.contrast_texts import ContrastTexts, contrast_texts
from engine.lab.continuations import log_probs, log_probs_by_edit
from engine.lab.directions import Direction, added
from engine.models.forward import Edit
from engine.models.hooked import HookedModel
from engine.models.sites import Site
from engine.spec.family_params import MarginScorer, TextTemplate

PerContrast = Float[np.ndarray, " contrast"]


@dataclass(frozen=True)
class Steering:
    """A direction, and random ones of its length, to be added at a site."""

    site: Site
    direction: Direction
    others: Float[Tensor, "direction d_model"]

    def added(self, coefficient: float) -> Edit:
        """The direction, times the coefficient, at every position."""
        return added(self.direction, coefficient)

    def random_added(self, coefficient: float) -> list[Edit]:
        """The same for each random direction."""
        return [added(other, coefficient) for other in self.others]


@dataclass(frozen=True)
class Reading:
    """Log-probabilities of both answers, in nats, and their tokens: the positive one, then the negative."""

    sums: Float[np.ndarray, "contrast side"]
    n_tokens: Int[np.ndarray, "contrast side"]

    def margin(self, scorer: MarginScorer) -> PerContrast:
        """ln p(positive) - ln p(negative), each over its own number of tokens or in all."""
        values = self.sums / self.n_tokens if scorer == "per_token" else self.sums
        return values[:, 0] - values[:, 1]

    @property
    def probability(self) -> PerContrast:
        """The positive answer's share of the probability of the two."""
        # p / (p + q) = 1 / (1 + q / p), in logarithms, which do not underflow.
        return np.exp(-np.logaddexp(0.0, self.sums[:, 1] - self.sums[:, 0]))


def read_margins(model: HookedModel, texts: ContrastTexts) -> Reading:
    """Both answers of each contrast, unmodified."""
    sums = np.column_stack([log_probs(model, side) for side in texts.sides])
    return Reading(sums, np.column_stack([side.n_tokens for side in texts.sides]))


@dataclass(frozen=True)
class Margins:
    """The held-out contrasts: unmodified, with the instruction, at each coefficient, by each random
    direction."""

    plain: Reading
    prompted: Reading
    steered: Mapping[float, Reading]
    random: Sequence[Reading]
    scorer: MarginScorer

    def gain(self, reading: Reading) -> PerContrast:
        """What a margin has gained on the unmodified model's."""
        return reading.margin(self.scorer) - self.plain.margin(self.scorer)

    def effect(self, coefficient: float) -> PerContrast:
        """What the vector, times the coefficient, does to each contrast."""
        return self.gain(self.steered[coefficient])

    @property
    def random_effects(self) -> Float[np.ndarray, "direction contrast"]:
        """What each random direction does."""
        return np.stack([self.gain(reading) for reading in self.random])


@runtime_checkable
class MarginSettings(Protocol):
    """Of the family's parameters, those that margins are read by."""

    coefficient: float
    instruction: str
    template: TextTemplate
    scorer: MarginScorer

    @property
    def doses(self) -> list[float]: ...


def all_margins(
    model: HookedModel,
    table: pd.DataFrame,
    steering: Steering,
    settings: MarginSettings,
    progress: Callable[..., None],
) -> Margins:
    """The contrasts of a table under every condition; random directions at the one coefficient alone."""
    texts = contrast_texts(model, table, settings.template)
    instructed = contrast_texts(model, table, settings.template, settings.instruction)
    doses = settings.doses
    edits = [steering.added(dose) for dose in doses] + steering.random_added(settings.coefficient)
    sums = []
    for number, side in enumerate(texts.sides):
        progress(number / 3)
        sums.append(log_probs_by_edit(model, side, steering.site, edits))
    progress(2 / 3)
    n_tokens = np.column_stack([side.n_tokens for side in texts.sides])
    readings = [Reading(np.column_stack(sides), n_tokens) for sides in zip(*sums, strict=True)]
    return Margins(
        plain=read_margins(model, texts),
        prompted=read_margins(model, instructed),
        steered=dict(zip(doses, readings, strict=False)),
        random=readings[len(doses) :],
        scorer=settings.scorer,
    )
