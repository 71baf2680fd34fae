"""Prompt pairs as token ids: which pairs fit a model's tokenizer, and why the others do not."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from engine.data.answers import PromptAnswers, TokenRange, answer_misfit, continuations, subject_spans
from engine.data.prompts import PromptSet
from engine.data.tokenized_prompts import PromptTokenizer, TokenIds, divided, refusal

SUBJECTS = {"subject": "clean", "corrupted_subject": "corrupted"}  # each is a part of that prompt's text
FITTING = "equal token length of clean and corrupted, one token for each answer, its space included"


@dataclass(frozen=True, kw_only=True)
class PromptPairs(PromptAnswers):
    """Pairs of equal token length, padded on the right, with one token for each answer.

    `subject_first` and `subject_last` say where the subject stands, in the clean and in the corrupted
    prompt alike: positions before, in and after it, up to `last`.
    """

    corrupted: Int[Tensor, "prompt pos"]


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


def tokenize_pairs(prompts: PromptSet, model: PromptTokenizer, *, strict: bool = False) -> PromptPairs:
    """The pairs that fit the model's tokenizer.

    Dropped, with a reason: pairs of unequal token length, answers of more than one token, subjects
    that a token's edge cuts or that stand at different tokens. DataError where none is left; with
    `strict`, where any is dropped.
    """
    pairs = _tokenized(prompts.table, model)
    texts = prompts.table.to_dict("records")
    reasons = {p.row: reason for p in pairs if (reason := _misfit(p, texts[p.row]))}
    fits = [p for p in pairs if p.row not in reasons]
    fitting, dropped = divided(prompts, reasons)
    if not fits or (strict and reasons):
        raise refusal(prompts, dropped, "pairs", FITTING)
    return _assembled(fitting, fits, dropped, model, prompts.cluster_column)


def _tokenized(table: pd.DataFrame, model: PromptTokenizer) -> list[_TokenizedPair]:
    clean, corrupted = (model.token_ids(list(table[side])) for side in ("clean", "corrupted"))
    sides = {"clean": clean, "corrupted": corrupted}
    spans = [
        subject_spans(table, part, whole, sides[whole], model)
        for part, whole in SUBJECTS.items()
        if part in table
    ]
    columns = zip(
        clean,
        corrupted,
        continuations(table, "answer", clean, model),
        continuations(table, "wrong_answer", clean, model),
        # Without subjects each pair has no spans, rather than the zip no pairs.
        zip(*spans, strict=True) if spans else [()] * len(table),
        strict=True,
    )
    return [_TokenizedPair(row, *cells) for row, cells in enumerate(columns)]


def _misfit(pair: _TokenizedPair, texts: Mapping[Hashable, str]) -> str:
    """Why a pair cannot be used, or nothing."""
    if len(pair.clean) != len(pair.corrupted):
        return f"clean has {len(pair.clean)} tokens, corrupted {len(pair.corrupted)}"
    if pair.clean == pair.corrupted:
        return "clean and corrupted are the same tokens"
    for name, ids in (("answer", pair.answer), ("wrong_answer", pair.wrong_answer)):
        if reason := answer_misfit(str(texts["clean"]), name, str(texts[name]), ids):
            return reason
    if pair.answer == pair.wrong_answer:
        return "answer and wrong_answer are the same token"
    if None in pair.spans:
        return "the subject does not begin and end where tokens do"
    if len(set(pair.spans)) > 1:
        clean, corrupted = pair.spans
        return f"the subject's first and last token are {clean} in clean, {corrupted} in corrupted"
    return ""


def _assembled(
    table: pd.DataFrame,
    pairs: list[_TokenizedPair],
    dropped: pd.DataFrame,
    model: PromptTokenizer,
    cluster_column: str,
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
        cluster_column=cluster_column,
    )
