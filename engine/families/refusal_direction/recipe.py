"""The recipe by which a direction is learned, for any behaviour that one kind of requests asks for.

Refusal, of harmful requests, and the positive control, French where French is asked for, go through the same
lines: what the recipe can do on a model shows in the one, and what it finds in the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch import Tensor

from engine.data.chat import ChatPrompts
from engine.errors import DataError
from engine.families.refusal_direction.candidates import (
    Limits,
    SelectedCandidate,
    Selector,
    find_candidates,
    select,
)
from engine.lab.directions import Labels
from engine.lab.prompt_batches import streams_before_answer, token_rows
from engine.lab.refusals import refusal_scores
from engine.lab.split import Split, hash_order

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

FEWEST_FILTERED = 8
"""Requests of a kind without which the filter is given up: a mean over fewer is mostly noise."""
Progress = Callable[..., None]


@dataclass(frozen=True)
class Requests:
    """Chat requests of two kinds; `positive` are those that ask for the behaviour.

    `rows` are their token ids, `n_places` how many positions the template has behind every request, and
    `template` those tokens as text.
    """

    chats: ChatPrompts
    positive: Labels
    split: Split
    rows: list[list[int]]
    n_places: int
    template: tuple[str, ...]

    def some(self, index: np.ndarray) -> list[list[int]]:
        """The token ids of some requests."""
        return [self.rows[i] for i in index]

    def of(self, part: str, *, positive: bool, limit: int | None = None) -> np.ndarray:
        """The requests of a part that are of one kind, in the order of their ids' hashes."""
        order = hash_order(self.chats.ids)
        kept = self.split.rows(part) & (self.positive == positive)
        return order[kept[order]][:limit]

    def both(self, part: str) -> np.ndarray:
        """The requests of a part, those that ask for the behaviour first."""
        return np.concatenate([self.of(part, positive=True), self.of(part, positive=False)])


def read_requests(
    model: HookedModel, chats: ChatPrompts, positive: str, divide: Callable[[ChatPrompts], Split]
) -> Requests:
    """The requests with their labels, divided into parts.

    DataError unless there are two labels, one of them `positive`, and where the template adds nothing behind
    a request.
    """
    if "label" not in chats.table:
        raise DataError(
            "these requests have no labels",
            expected=f"a column label, with {positive!r} and one other",
            seen=", ".join(map(str, chats.table.columns)),
        )
    labels = chats.table["label"].astype(str).to_numpy(dtype=str)
    found = sorted(set(labels.tolist()))
    if len(found) != 2 or positive not in found:
        raise DataError(
            "a direction is the difference of two kinds of requests",
            expected=f"the labels {positive!r} and one other",
            seen=", ".join(found) or "none",
        )
    # A token that holds a part of the request is not the template's, so that prompts may differ by one.
    n_places = int((chats.last - chats.request_last).min())
    if n_places < 1:
        raise DataError(
            f"{model.name}'s chat template adds nothing behind a request",
            expected="a token or more, at which the model has read the request and not begun to answer",
            seen="0 tokens",
        )
    rows = token_rows(chats)
    template = model.token_strings(rows[0][-n_places:])
    return Requests(chats, labels == positive, divide(chats), rows, n_places, tuple(template))


@dataclass(frozen=True)
class Settings:
    """What the recipe is told: see `Params`, whose fields these are.

    `layers` and `positions` are those whose candidates are screened; positions count back from -1.
    """

    layers: Sequence[int]
    positions: Sequence[int]
    limits: Limits
    n_screen: int
    n_finalists: int
    coefficient: float
    filtered: bool


@dataclass(frozen=True)
class Learned:
    """A direction and how it came about.

    `train` are the training requests that were used, `streams` their residual streams at every layer and
    place; `filtered` says whether those that the model treats as the other kind were left out.
    """

    selection: SelectedCandidate
    train: np.ndarray
    streams: Float[Tensor, "prompt layer place d_model"]
    filtered: bool

    @property
    def place(self) -> tuple[int, int]:
        """Layer and place of the direction among `streams`."""
        chosen = self.selection.chosen
        return chosen.layer, self.streams.shape[2] + chosen.position


def learn(
    model: HookedModel, requests: Requests, tokens: Sequence[int], settings: Settings, progress: Progress
) -> Learned:
    """Filter the requests, take the candidates on training requests, select one on selection requests."""
    train, train_filtered = _filtered(model, requests, "train", tokens, settings.filtered)
    chosen, select_filtered = _filtered(model, requests, "select", tokens, settings.filtered)
    progress(0.1)
    streams = streams_before_answer(model, requests.some(train), requests.n_places)
    progress(0.2)
    candidates = [
        candidate
        for candidate in find_candidates(streams, requests.positive[train])
        if candidate.layer in settings.layers and candidate.position in settings.positions
    ]
    asks = requests.positive[chosen]
    selection = select(
        candidates,
        Selector(
            model,
            asked=requests.some(chosen[asks]),
            other=requests.some(chosen[~asks]),
            tokens=tokens,
            coefficient=settings.coefficient,
        ),
        settings.limits,
        n_screen=settings.n_screen,
        n_finalists=settings.n_finalists,
        progress=lambda done: progress(0.2 + 0.8 * done),
    )
    return Learned(selection, train, streams, train_filtered and select_filtered)


def _filtered(
    model: HookedModel, requests: Requests, part: str, tokens: Sequence[int], wanted: bool
) -> tuple[np.ndarray, bool]:
    """The requests of a part that the model treats as their kind: a score above 0 where the behaviour is
    asked for, and below 0 where it is not.

    All of them, and False, where too few of a kind would be left.
    """
    everything = requests.both(part)
    if not wanted:
        return everything, False
    asks = requests.positive[everything]
    scores = refusal_scores(model, requests.some(everything), tokens).cpu().numpy()
    as_asked = (scores > 0) == asks
    for kind in (True, False):
        of_kind = asks == kind
        if (as_asked & of_kind).sum() < min(FEWEST_FILTERED, of_kind.sum()):
            return everything, False
    return everything[as_asked], True
