"""Which difference of means controls a behaviour: candidates by layer and position, screened and selected.

A candidate is the difference in means of the two kinds of training requests at the input of a block and at
one of the template's positions behind the request. On selection requests it gets three numbers:

    ablated_score   mean score of the behaviour on requests that ask for it, the direction ablated: the lower,
                    the more of the behaviour hangs on it
    induced_score   mean score on the other requests, the direction added at its layer
    kl              mean KL divergence of the next-token prediction on those, ablated from unchanged (nats)

Source: Arditi et al. 2024, 2.3 and appendix C.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from engine.errors import SpecError
from engine.lab.directions import (
    Direction,
    Labels,
    ablation_edits,
    addition_edits,
    mean_difference,
)
from engine.lab.prompt_batches import TokenRows, last_streams, over_logits
from engine.lab.refusals import refusal_score
from engine.lab.threads import side_by_side

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

NOTHING = 1e-5
"""A difference of means that is shorter than this share of the activations is rounding, and no direction."""
AT_ONCE = 8
"""Candidates between two reports of progress."""


@dataclass(frozen=True)
class Candidate:
    """A direction, at the input of block `layer` and at `position`, which counts back from the last, -1."""

    layer: int
    position: int
    direction: Direction

    @property
    def place(self) -> str:
        return f"layer {self.layer}, position {self.position}"


@dataclass(frozen=True)
class CandidateScores:
    """What a candidate does to selection requests (see the module)."""

    ablated_score: float
    induced_score: float
    kl: float


@dataclass(frozen=True)
class Limits:
    """What a candidate must keep to: see `Params`."""

    max_kl: float
    min_induced: float

    def broken(self, scores: CandidateScores) -> str:
        """Why a candidate is rejected; empty where it is not."""
        reasons = []
        if not scores.kl <= self.max_kl:
            reasons.append("changes other requests")
        if not scores.induced_score >= self.min_induced:
            reasons.append("does not induce")
        return ", ".join(reasons)


@dataclass(frozen=True)
class SelectedCandidate:
    """The candidate that was kept, and the table of all: a row each, with `rejected` and `stage`.

    `n_passed` is how many of those selected in full kept to every limit. Where none did, the one that was
    kept has the lowest ablated score all the same, and `n_passed` is 0.
    """

    chosen: Candidate
    scores: CandidateScores
    table: pd.DataFrame
    n_passed: int


def find_candidates(
    streams: Float[Tensor, "prompt layer place d_model"], positive: Labels
) -> list[Candidate]:
    """The difference in means at every layer and every place, the last of which is position -1.

    A place where the two kinds do not differ has none: before the first block the template's tokens are the
    same whatever was requested.
    """
    kinds = torch.from_numpy(positive.copy()).to(streams.device)
    differences = mean_difference(streams[kinds], streams[~kinds])
    sizes = streams.float().norm(dim=-1).mean(0)
    found = []
    n_places = streams.shape[2]
    for layer in range(streams.shape[1]):
        for place in range(n_places):
            direction = differences[layer, place]
            if float(direction.norm()) > NOTHING * float(sizes[layer, place]):
                found.append(Candidate(layer, place - n_places, direction))
    return found


@dataclass(frozen=True)
class Selector:
    """Scores candidates on selection requests: `asked` ask for the behaviour, `other` do not.

    `tokens` are those with which the behaviour begins.
    """

    model: HookedModel
    asked: TokenRows
    other: TokenRows
    tokens: Sequence[int]
    coefficient: float

    def scored(
        self, candidates: Sequence[Candidate], progress: Callable[[float], None]
    ) -> list[CandidateScores]:
        """What each of the candidates does."""
        unchanged = log_probs(self.model, self.other)
        found: list[CandidateScores] = []
        # Candidates side by side, since the requests of one are too few to share between threads; a few at a
        # time, so that somebody hears how far it is.
        for start in range(0, len(candidates), AT_ONCE):
            progress(start / len(candidates))
            some = candidates[start : start + AT_ONCE]
            found += side_by_side(partial(self._scores, unchanged), some, self.model.device)
        return found

    def first(self, n: int) -> Selector:
        """The same on the first `n` requests of each kind."""
        return replace(self, asked=self.asked[:n], other=self.other[:n])

    def _scores(self, unchanged: Float[Tensor, "prompt vocab"], candidate: Candidate) -> CandidateScores:
        # Both kinds in one forward: what they share is then computed once, and batches are full.
        ablation = ablation_edits(self.model, candidate.direction)
        ablated = last_streams(self.model, [*self.asked, *self.other], edit=ablation)
        n_asked = len(self.asked)
        addition = addition_edits(candidate.direction, candidate.layer, self.coefficient)
        added = last_streams(self.model, self.other, edit=addition)
        return CandidateScores(
            ablated_score=float(self._score(ablated[:n_asked]).mean()),
            induced_score=float(self._score(added).mean()),
            kl=float(kl_from(self.model, unchanged, ablated[n_asked:]).mean()),
        )

    def _score(self, resid: Float[Tensor, "prompt d_model"]) -> Float[Tensor, " prompt"]:
        return over_logits(self.model, resid, lambda logits, _: refusal_score(logits, self.tokens))


def log_probs(model: HookedModel, rows: TokenRows) -> Float[Tensor, "prompt vocab"]:
    """What the unchanged model predicts after each prompt, to compare with."""
    return over_logits(model, last_streams(model, rows), lambda logits, _: logits.log_softmax(-1))


def kl_from(
    model: HookedModel, unchanged: Float[Tensor, "prompt vocab"], resid: Float[Tensor, "prompt d_model"]
) -> Float[Tensor, " prompt"]:
    """KL(unchanged || what these streams predict), in nats; `unchanged` are log-probabilities."""

    def divergence(logits: Tensor, rows: slice) -> Tensor:
        before = unchanged[rows]
        return (before.exp() * (before - logits.log_softmax(-1))).sum(-1)

    return over_logits(model, resid, divergence)


def select(
    candidates: Sequence[Candidate],
    selector: Selector,
    limits: Limits,
    *,
    n_screen: int,
    n_finalists: int,
    progress: Callable[[float], None],
) -> SelectedCandidate:
    """Screen all candidates on a few requests, score the best of them on all, and keep one.

    The best keep to every limit and have the lowest ablated score; where fewer than `n_finalists` keep to the
    limits, the next lowest scores fill up. SpecError where there is no candidate.
    """
    if not candidates:
        raise SpecError(
            "no direction to choose from",
            expected="a layer and a position at which the two kinds of requests differ",
            seen="the same activations for both",
            hint="a layer from 1 on: before the first block the template's tokens are the same for all",
        )
    screened = selector.first(n_screen).scored(candidates, lambda done: progress(0.75 * done))
    order = _order(screened, limits)
    finalists = [candidates[i] for i in order[:n_finalists]]
    full = selector.scored(finalists, lambda done: progress(0.75 + 0.25 * done))
    best = _order(full, limits)[0]
    rows = [
        _row(candidate, scores, limits, "screened")
        for candidate, scores in zip(candidates, screened, strict=True)
    ]
    rows += [
        _row(candidate, scores, limits, "in full", i == best)
        for i, (candidate, scores) in enumerate(zip(finalists, full, strict=True))
    ]
    passed = [not limits.broken(scores) for scores in full]
    return SelectedCandidate(finalists[best], full[best], pd.DataFrame(rows), sum(passed))


def _order(scores: Sequence[CandidateScores], limits: Limits) -> list[int]:
    """The candidates from the best to the worst: those within the limits first, then by ablated score."""
    keys = [(bool(limits.broken(each)), each.ablated_score) for each in scores]
    return sorted(range(len(scores)), key=lambda i: keys[i])


def _row(
    candidate: Candidate, scores: CandidateScores, limits: Limits, stage: str, selected: bool = False
) -> dict[str, object]:
    return {
        "layer": candidate.layer,
        "position": candidate.position,
        "ablated_score": scores.ablated_score,
        "induced_score": scores.induced_score,
        "kl": scores.kl,
        "length": float(candidate.direction.norm()),
        "stage": stage,
        "rejected": limits.broken(scores),
        "selected": selected,
    }
