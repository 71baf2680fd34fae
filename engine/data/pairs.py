"""Prompt pairs as token ids: which pairs fit a model's tokenizer, and why the others do not."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from engine.data.prompts import SUBJECTS, PromptSet, cluster_labels
from engine.errors import DataError

TokenIds = list[int]
TokenRange = tuple[int, int]  # first and last token
NAMED_AT_MOST = 10


@runtime_checkable
class PairTokenizer(Protocol):
    """The part of a HookedModel that pairs need."""

    def token_ids(self, texts: Sequence[str], /) -> list[TokenIds]: ...

    def pad(self, ids: list[TokenIds], /) -> tuple[Tensor, Tensor, Tensor]: ...


@dataclass(frozen=True)
class PromptPairs:
    """Pairs of equal token length, padded on the right, with one token for each answer.

    `subject_first` and `subject_last` say where the subject stands, in the clean and in the corrupted
    prompt alike: positions before, in and after it, up to `last`. None where the table has no subjects.
    `cluster_column` is that of the prompt set.
    """

    table: pd.DataFrame
    clean: Int[Tensor, "prompt pos"]
    corrupted: Int[Tensor, "prompt pos"]
    mask: Int[Tensor, "prompt pos"]
    last: Int[Tensor, " prompt"]
    answer: Int[Tensor, " prompt"]
    wrong_answer: Int[Tensor, " prompt"]
    dropped: pd.DataFrame  # id, reason
    subject_first: Int[Tensor, " prompt"] | None = None
    subject_last: Int[Tensor, " prompt"] | None = None
    cluster_column: str = ""

    def __len__(self) -> int:
        return len(self.table)

    @property
    def ids(self) -> np.ndarray:
        """The id of each pair. Shape "prompt", text."""
        return self.table["id"].astype(str).to_numpy(dtype=str)

    @property
    def clusters(self) -> np.ndarray:
        """The cluster of each pair, beside its id. Shape "prompt", text."""
        return cluster_labels(self.table, self.cluster_column)

    def keep(self, wanted: Bool[Tensor, " prompt"], reason: str) -> PromptPairs:
        """The wanted pairs; the others join `dropped` with one reason. The width in tokens stays."""
        rows = wanted.cpu().numpy()
        gone = pd.DataFrame({"id": self.table["id"][~rows], "reason": reason})
        # Every tensor is "prompt ..." along its first axis: none can be forgotten when a field is added.
        tensors = {name: t[wanted] for name, t in vars(self).items() if isinstance(t, Tensor)}
        return replace(
            self,
            table=self.table[rows].reset_index(drop=True),
            dropped=pd.concat([self.dropped, gone], ignore_index=True),
            **tensors,
        )


@dataclass(frozen=True)
class _TokenizedPair:
    """One row as token ids; an answer is empty where it does not begin at a token's edge."""

    row: int
    clean: TokenIds
    corrupted: TokenIds
    answer: TokenIds
    wrong_answer: TokenIds
    spans: tuple[
        TokenRange | None, ...
    ]  # of the subject in clean, in corrupted; as far as the table has them


def tokenize_pairs(prompts: PromptSet, model: PairTokenizer, *, strict: bool = False) -> PromptPairs:
    """The pairs that fit the model's tokenizer.

    Dropped, with a reason: pairs of unequal token length, answers of more than one token, subjects
    that a token's edge cuts or that stand at different tokens. DataError where none is left; with
    `strict`, where any is dropped.
    """
    pairs = _tokenized(prompts.table, model)
    texts = prompts.table.to_dict("records")
    reasons = {p.row: reason for p in pairs if (reason := _misfit(p, texts[p.row]))}
    fits = [p for p in pairs if p.row not in reasons]
    dropped = pd.DataFrame([(texts[r]["id"], why) for r, why in reasons.items()], columns=["id", "reason"])
    if not fits or (strict and reasons):
        raise _refusal(prompts, dropped)
    fitting = prompts.table.iloc[[p.row for p in fits]].reset_index(drop=True)
    return replace(_assembled(fitting, fits, dropped, model), cluster_column=prompts.cluster_column)


def _tokenized(table: pd.DataFrame, model: PairTokenizer) -> list[_TokenizedPair]:
    clean, corrupted = (model.token_ids(list(table[side])) for side in ("clean", "corrupted"))
    sides = {"clean": clean, "corrupted": corrupted}
    spans = [_spans(table, part, sides[whole], model) for part, whole in SUBJECTS.items() if part in table]
    columns = zip(
        clean,
        corrupted,
        _continuations(table, "answer", clean, model),
        _continuations(table, "wrong_answer", clean, model),
        # Without subjects each pair has no spans, rather than the zip no pairs.
        zip(*spans, strict=True) if spans else [()] * len(table),
        strict=True,
    )
    return [_TokenizedPair(row, *cells) for row, cells in enumerate(columns)]


def _continuations(
    table: pd.DataFrame, column: str, clean: list[TokenIds], model: PairTokenizer
) -> list[TokenIds]:
    """What the answer adds to the clean prompt: right for tokenizers that add a BOS to every text too."""
    whole = model.token_ids(list(table["clean"] + table[column]))
    # Where the whole does not begin with the prompt's tokens, prompt and answer share one: there is no answer
    # to itself.
    return [w[len(c) :] if w[: len(c)] == c else [] for c, w in zip(clean, whole, strict=True)]


def _spans(
    table: pd.DataFrame, part: str, ids: list[TokenIds], model: PairTokenizer
) -> list[TokenRange | None]:
    """The tokens of each subject's last occurrence; the space before a word belongs to its token."""
    texts = list(table[SUBJECTS[part]])
    subjects = list(table[part])
    starts = [text.rindex(subject) for text, subject in zip(texts, subjects, strict=True)]
    before = model.token_ids([t[:i].removesuffix(" ") for t, i in zip(texts, starts, strict=True)])
    until = model.token_ids([t[: i + len(s)] for t, i, s in zip(texts, starts, subjects, strict=True)])
    # Token ids of a text's beginnings are compared with those of the whole: where a beginning's are not the
    # whole's own first ones, its end is inside a token, and the subject has no tokens to itself.
    return [
        (len(b), len(u) - 1) if w[: len(b)] == b and w[: len(u)] == u else None
        for b, u, w in zip(before, until, ids, strict=True)
    ]


def _misfit(pair: _TokenizedPair, texts: Mapping[Hashable, str]) -> str:
    """Why a pair cannot be used, or nothing."""
    if len(pair.clean) != len(pair.corrupted):
        return f"clean has {len(pair.clean)} tokens, corrupted {len(pair.corrupted)}"
    if pair.clean == pair.corrupted:
        return "clean and corrupted are the same tokens"
    for name, ids in (("answer", pair.answer), ("wrong_answer", pair.wrong_answer)):
        # Before the next check, which would blame the answer for a space that the prompt took.
        if not ids and texts["clean"][-1].isspace():
            return (
                f"the prompt's last space is in one token with {name} {texts[name]!r}: leave it to the answer"
            )
        if not ids or _runs_on(texts["clean"], texts[name]):
            return f"{name} {texts[name]!r} runs into the prompt's last word; does it lack its space?"
        if len(ids) != 1:
            return f"{name} {texts[name]!r} is {len(ids)} tokens, not one"
    if pair.answer == pair.wrong_answer:
        return "answer and wrong_answer are the same token"
    if None in pair.spans:
        return "the subject does not begin and end where tokens do"
    if len(set(pair.spans)) > 1:
        clean, corrupted = pair.spans
        return f"the subject's first and last token are {clean} in clean, {corrupted} in corrupted"
    return ""


def _runs_on(prompt: str, answer: str) -> bool:
    """Whether two ASCII words meet without a space; in many scripts words do so rightly."""
    edge = prompt[-1] + answer[0]
    return edge.isascii() and edge.isalnum()


def _refusal(prompts: PromptSet, dropped: pd.DataFrame) -> DataError:
    named = [": ".join(cells) for cells in dropped[:NAMED_AT_MOST].to_numpy()]
    more = len(dropped) - len(named)
    return DataError(
        f"{len(dropped)} of {len(prompts.table)} pairs do not fit this model's tokenizer",
        where=prompts.name,
        expected="equal token length of clean and corrupted, one token for each answer, its space included",
        seen="\n            ".join(named + ([f"and {more} more"] if more else [])),
    )


def _assembled(
    table: pd.DataFrame, pairs: list[_TokenizedPair], dropped: pd.DataFrame, model: PairTokenizer
) -> PromptPairs:

    clean, mask, last = model.pad([p.clean for p in pairs])
    corrupted, _, _ = model.pad([p.corrupted for p in pairs])

    def column(values: list[int]) -> Tensor:
        return torch.tensor(values, device=clean.device)

    # `_misfit` has seen to it that both prompts have the subject at the same tokens.
    spans = [p.spans[0] for p in pairs if p.spans and p.spans[0]]
    return PromptPairs(
        table=table,
        clean=clean,
        corrupted=corrupted,
        mask=mask,
        last=last,
        answer=column([p.answer[0] for p in pairs]),
        wrong_answer=column([p.wrong_answer[0] for p in pairs]),
        dropped=dropped,
        subject_first=column([first for first, _ in spans]) if spans else None,
        subject_last=column([end for _, end in spans]) if spans else None,
    )
