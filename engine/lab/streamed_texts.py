"""The texts of several conditions of steering side by side, token by token, from one batch.

1. One forward continues all conditions at once, each row under the edits of its own condition. A step of four
   rows costs about as much as one and a half steps of one row: reading the weights is most of the work.
2. A text that has come to its end stays in the batch, so that a row is the same condition at every step; what
   the model adds behind the end is dropped.
3. Where the numbers of one condition are none any more, which spoils the batch, all are made anew, one after
   the other, and the one that broke says why.

The texts are those of `engine.models.generate.generate` under each condition alone, greedily, up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import torch
from torch import Tensor

from engine.errors import ModelError
from engine.models.forward import Edit
from engine.models.generate import (
    PREFILL_TOKENS,
    Completion,
    NewToken,
    Stop,
    StopReason,
    end_tokens,
    stream,
)
from engine.models.growing_text import GrowingText
from engine.models.hooked import HookedModel
from engine.models.sites import Site

TO_THE_LIMIT = Stop(at_end=False)


@dataclass(frozen=True)
class SteeringCondition:
    """What a text goes on from, and under which edits."""

    name: str
    prompt: Sequence[int]
    edit: Mapping[Site, Edit]


@dataclass(frozen=True)
class StreamedText:
    """One condition's text so far: `completion` is there once it is whole, `problem` where it never is."""

    condition: str
    text: str = ""
    completion: Completion | None = None
    problem: str = ""

    @property
    def is_finished(self) -> bool:
        return self.completion is not None or bool(self.problem)


def streamed_texts(
    model: HookedModel, conditions: Sequence[SteeringCondition], max_tokens: int
) -> Iterator[list[StreamedText]]:
    """All texts, in the order of the conditions, after each new token; the last ones are whole.

    Whoever stops asking stops it. DataError for a prompt that is too long for the model, ModelError where the
    unmodified model's own numbers are none.
    """
    if _fit_one_batch(model, conditions, max_tokens):
        try:
            yield from _in_one_batch(model, conditions, max_tokens)
            return
        except ModelError:
            # One of them broke: which one is known where each is made by itself.
            if not any(condition.edit for condition in conditions):
                raise
    yield from _one_after_the_other(model, conditions, max_tokens)


def _fit_one_batch(model: HookedModel, conditions: Sequence[SteeringCondition], max_tokens: int) -> bool:
    """Whether all rows are computed together from the first step to the last."""
    longest = max(len(condition.prompt) for condition in conditions)
    has_room = longest + max_tokens <= model.anatomy.context_tokens
    return has_room and longest * len(conditions) <= PREFILL_TOKENS


def _in_one_batch(
    model: HookedModel, conditions: Sequence[SteeringCondition], max_tokens: int
) -> Iterator[list[StreamedText]]:
    # Rows of a batch are its prompts, the longest first; those of one length stay in their order.
    order = sorted(range(len(conditions)), key=lambda number: -len(conditions[number].prompt))
    rows = [conditions[number] for number in order]
    tokens = stream(
        model,
        [row.prompt for row in rows],
        max_tokens=max_tokens,
        stop=TO_THE_LIMIT,
        edit=edits_by_row([row.edit for row in rows]),
        batch_size=len(rows),
        # A common start would be computed once for all, under no condition's edits.
        share_prefix=False,
    )
    writers = [_Writer(model, condition) for condition in conditions]
    while step := list(islice(tokens, len(rows))):
        for new in step:
            writers[order[new.prompt]].add(new)
        texts = [writer.so_far() for writer in writers]
        yield texts
        if all(text.is_finished for text in texts):
            return


def _one_after_the_other(
    model: HookedModel, conditions: Sequence[SteeringCondition], max_tokens: int
) -> Iterator[list[StreamedText]]:
    texts = [StreamedText(condition.name) for condition in conditions]
    for number, condition in enumerate(conditions):
        writer = _Writer(model, condition)
        try:
            for new in stream(model, [condition.prompt], max_tokens=max_tokens, edit=condition.edit):
                writer.add(new)
                texts = [*texts[:number], writer.so_far(), *texts[number + 1 :]]
                yield texts
        except ModelError as error:
            if not condition.edit:
                raise
            broken = replace(texts[number], text="", problem=error.problem)
            texts = [*texts[:number], broken, *texts[number + 1 :]]
            yield texts


def edits_by_row(edits: Sequence[Mapping[Site, Edit]]) -> dict[Site, Edit]:
    """Edits of a batch that has a row for each of these, under which that row alone is computed."""
    sites = dict.fromkeys(site for each in edits for site in each)
    return {site: _by_row([each.get(site) for each in edits]) for site in sites}


def _by_row(edits: Sequence[Edit | None]) -> Edit:
    def edited(value: Tensor) -> Tensor:
        rows = zip(value.split(1), edits, strict=True)
        return torch.cat([row if edit is None else edit(row) for row, edit in rows])

    return edited


@dataclass
class _Writer:
    """One condition's text as it grows, up to where the model ends it."""

    model: HookedModel
    condition: SteeringCondition
    tokens: list[NewToken] = field(default_factory=list)
    stopped: StopReason | None = None

    def __post_init__(self) -> None:
        self.ends = end_tokens(self.model)
        self.growing = GrowingText(self.model.decode, self.condition.prompt)

    def add(self, new: NewToken) -> None:
        """One token more; nothing once the text has ended."""
        if self.stopped is not None:
            return
        self.tokens.append(new)
        self.stopped = "token" if new.token_id in self.ends else new.stopped
        # The token that ends a text is none of its text.
        if new.token_id not in self.ends:
            self.growing.add(new.token_id)
        if self.stopped is not None:
            self.growing.finish()

    def so_far(self) -> StreamedText:
        made = None
        if self.stopped is not None:
            made = Completion(
                text=self.growing.text,
                token_ids=tuple(new.token_id for new in self.tokens),
                log_probs=tuple(new.log_prob for new in self.tokens),
                stopped=self.stopped,
            )
        return StreamedText(self.condition.name, self.growing.text, made)
