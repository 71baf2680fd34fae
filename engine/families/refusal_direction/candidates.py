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

NOT_NEEDED = "not looked at: enough of a lower score"
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
    """What a candidate does to selection requests (see the module).

    `kl` is None where enough candidates of a lower ablated score keep to the limits, `induced_score` also
    where the KL is beyond its limit: nothing hangs on them then, and they are not computed.
    """

    ablated_score: float
    kl: float | None = None
    induced_score: float | None = None


@dataclass(frozen=True)
class Limits:
    """What a candidate must keep to: see `Params`."""

    max_kl: float
    min_induced: float

    def broken(self, scores: CandidateScores) -> str:
        """Why a candidate is rejected; empty where it is not."""
        if scores.kl is None:
            return NOT_NEEDED
        # `not <=`, so that NaN is rejected too.
        if not scores.kl <= self.max_kl:
            return "changes other requests"
        if scores.induced_score is None or not scores.induced_score >= self.min_induced:
            return "does not induce"
        return ""


@dataclass(frozen=True)
class SelectedCandidate:
    """The candidate that was kept, and the table of all: a row each, with `rejected` and `stage`.

    `keeps_limits` says whether it keeps to every limit on all selection requests. Where no finalist does, the
    one that was kept has the lowest ablated score all the same.
    """

    chosen: Candidate
    scores: CandidateScores
    table: pd.DataFrame
    keeps_limits: bool


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
        self,
        candidates: Sequence[Candidate],
        limits: Limits,
        enough: int,
        progress: Callable[[float], None],
    ) -> list[CandidateScores]:
        """What each of the candidates does, as far as it decides which `enough` of them are the best.

        They are looked at in the order in which they would be chosen, until enough keep to the limits: what
        is then chosen is what it would be with all of them computed.
        """
        found: list[CandidateScores] = []
        # Candidates side by side, since the requests of one are too few to share between threads; a few at a
        # time, so that somebody hears how far it is.
        for start in range(0, len(candidates), AT_ONCE):
            progress(0.6 * start / len(candidates))
            some = candidates[start : start + AT_ONCE]
            found += side_by_side(self._ablated, some, self.model.device)
        unchanged = log_probs(self.model, self.other)
        order = sorted(range(len(found)), key=lambda place: found[place].ablated_score)
        at_once = min(AT_ONCE, max(enough, torch.get_num_threads()))
        kept = 0
        for start in range(0, len(order), at_once):
            if kept >= enough:
                break
            progress(0.6 + 0.4 * max(kept / enough, start / len(order)))
            places = order[start : start + at_once]
            pairs = [(candidates[place], found[place]) for place in places]
            looked_at = side_by_side(partial(self._side_effects, unchanged, limits), pairs, self.model.device)
            for place, scores in zip(places, looked_at, strict=True):
                found[place] = scores
                kept += not limits.broken(scores)
        return found

    def first(self, n: int) -> Selector:
        """The same on the first `n` requests of each kind."""
        return replace(self, asked=self.asked[:n], other=self.other[:n])

    def _ablated(self, candidate: Candidate) -> CandidateScores:
        edit = ablation_edits(self.model, candidate.direction)
        return CandidateScores(float(self._score(last_streams(self.model, self.asked, edit=edit)).mean()))

    def _side_effects(
        self,
        unchanged: Float[Tensor, "prompt vocab"],
        limits: Limits,
        pair: tuple[Candidate, CandidateScores],
    ) -> CandidateScores:
        """A candidate's scores with what ablation and addition do to the other requests."""
        candidate, scores = pair
        ablation = ablation_edits(self.model, candidate.direction)
        kl = float(kl_from(self.model, unchanged, last_streams(self.model, self.other, edit=ablation)).mean())
        if not kl <= limits.max_kl:
            return replace(scores, kl=kl)
        addition = addition_edits(candidate.direction, candidate.layer, self.coefficient)
        induced = self._score(last_streams(self.model, self.other, edit=addition))
        return replace(scores, kl=kl, induced_score=float(induced.mean()))

    def _score(self, resid: Float[Tensor, "prompt d_model"]) -> Float[Tensor, " prompt"]:
        return over_logits(self.model, resid, lambda logits, _: refusal_score(logits, self.tokens))


def log_probs(model: HookedModel, rows: TokenRows) -> Float[Tensor, "prompt vocab"]:
    """What the unchanged model predicts after each prompt, to compare with."""
    return over_logits(model, last_streams(model, rows), lambda logits, _: logits.log_softmax(-1))


def kl_from(
    model: HookedModel, unchanged: Float[Tensor, "prompt vocab"], resid: Float[Tensor, "prompt d_model"]
) -> Float[Tensor, " prompt"]:
    """KL(unchanged || what these streams predict), in nats; `unchanged` are log-probabilities."""

    return over_logits(model, resid, lambda logits, rows: divergence(unchanged[rows], logits))


def divergence(
    unchanged: Float[Tensor, "prompt vocab"], logits: Float[Tensor, "prompt vocab"]
) -> Float[Tensor, " prompt"]:
    """KL(unchanged || softmax(logits)), in nats; `unchanged` are log-probabilities."""
    return (unchanged.exp() * (unchanged - logits.log_softmax(-1))).sum(-1)


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
    first = selector.first(n_screen)
    screened = first.scored(candidates, limits, n_finalists, lambda done: progress(0.75 * done))
    order = _order(screened, limits)
    finalists = [candidates[i] for i in order[:n_finalists]]
    full = selector.scored(finalists, limits, 1, lambda done: progress(0.75 + 0.25 * done))
    best = _order(full, limits)[0]
    rows = [
        _row(candidate, scores, limits, "screened")
        for candidate, scores in zip(candidates, screened, strict=True)
    ]
    rows += [
        _row(candidate, scores, limits, "in full", i == best)
        for i, (candidate, scores) in enumerate(zip(finalists, full, strict=True))
    ]
    table = pd.DataFrame(rows).astype({"kl": float, "induced_score": float})
    return SelectedCandidate(finalists[best], full[best], table, not limits.broken(full[best]))


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
