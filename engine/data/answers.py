"""Prompts and their answers as token ids: what a lens reads, and all that can be had of a `prompt,answer`
file.

A logit difference needs a wrong answer as well. Where a file names none it is the answer of another prompt,
of the same relation where there is one: as in a set of pairs, whose wrong answers are right ones elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from engine.data.prompts import PromptSet
from engine.data.tokenized_prompts import (
    PromptTokenizer,
    TokenIds,
    TokenizedPrompts,
    divided,
    refusal,
)
from engine.errors import DataError

TokenRange = tuple[int, int]  # first and last token
FITTING = "one token for each answer, its space included"


@dataclass(frozen=True, kw_only=True)
class PromptAnswers(TokenizedPrompts):
    """Prompts, padded on the right, with one token for the answer and one for a wrong answer.

    `last` is the index of each prompt's last token. `subject_first` and `subject_last` say where the subject
    stands; None where the table has no subjects.
    """

    clean: Int[Tensor, "prompt pos"]
    mask: Int[Tensor, "prompt pos"]
    last: Int[Tensor, " prompt"]
    answer: Int[Tensor, " prompt"]
    wrong_answer: Int[Tensor, " prompt"]
    subject_first: Int[Tensor, " prompt"] | None = None
    subject_last: Int[Tensor, " prompt"] | None = None


def tokenize_answers(prompts: PromptSet, model: PromptTokenizer) -> PromptAnswers:
    """The prompts with answers that fit the model's tokenizer.

    Dropped, with a reason: answers of more than one token, subjects that a token's edge cuts. DataError where
    none is left, or where wrong answers are to be taken from other prompts and all have one answer.
    """
    table = prompts.table
    clean = model.token_ids(list(table["clean"]))
    answers = continuations(table, "answer", clean, model)
    wrong = continuations(table, "wrong_answer", clean, model) if "wrong_answer" in table else None
    spans = subject_spans(table, "subject", "clean", clean, model) if "subject" in table else None
    reasons = {}
    for row, texts in enumerate(table.to_dict("records")):
        reason = answer_misfit(texts["clean"], "answer", texts["answer"], answers[row])
        if wrong and not reason:
            reason = answer_misfit(texts["clean"], "wrong_answer", texts["wrong_answer"], wrong[row])
            if not reason and wrong[row] == answers[row]:
                reason = "answer and wrong_answer are the same token"
        if spans and not reason and spans[row] is None:
            reason = "the subject does not begin and end where tokens do"
        if reason:
            reasons[row] = reason
    fitting, dropped = divided(prompts, reasons)
    fits = [row for row in range(len(table)) if row not in reasons]
    if not fits:
        raise refusal(prompts, dropped, "prompts", FITTING)
    answer = [answers[row][0] for row in fits]
    if wrong:
        wrong_answer = [wrong[row][0] for row in fits]
    else:
        source = _wrong_answers_from(fitting, answer, prompts.name)
        wrong_answer = [answer[other] for other in source]
        fitting = fitting.assign(wrong_answer=fitting["answer"].iloc[source].to_numpy())
    ids, mask, last = model.pad([clean[row] for row in fits])
    found = [spans[row] for row in fits] if spans else []
    return PromptAnswers(
        table=fitting,
        dropped=dropped,
        cluster_column=prompts.cluster_column,
        clean=ids,
        mask=mask,
        last=last,
        answer=torch.tensor(answer, device=ids.device),
        wrong_answer=torch.tensor(wrong_answer, device=ids.device),
        subject_first=torch.tensor([span[0] for span in found if span], device=ids.device) if found else None,
        subject_last=torch.tensor([span[1] for span in found if span], device=ids.device) if found else None,
    )


def continuations(
    table: pd.DataFrame, column: str, clean: list[TokenIds], model: PromptTokenizer
) -> list[TokenIds]:
    """What the answer adds to the clean prompt: right for tokenizers that add a BOS to every text too."""
    whole = model.token_ids(list(table["clean"] + table[column]))
    # Where the whole does not begin with the prompt's tokens, prompt and answer share one: there is no answer
    # to itself.
    return [w[len(c) :] if w[: len(c)] == c else [] for c, w in zip(clean, whole, strict=True)]


def subject_spans(
    table: pd.DataFrame, part: str, whole: str, ids: list[TokenIds], model: PromptTokenizer
) -> list[TokenRange | None]:
    """The tokens of each subject's last occurrence; the space before a word belongs to its token."""
    texts = list(table[whole])
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


def answer_misfit(prompt: str, name: str, answer: str, ids: TokenIds) -> str:
    """Why an answer cannot be used, or nothing; it has no ids where it does not begin at a token's edge."""
    # Before the next check, which would blame the answer for a space that the prompt took.
    if not ids and prompt[-1].isspace():
        return f"the prompt's last space is in one token with {name} {answer!r}: leave it to the answer"
    if not ids or _runs_on(prompt, answer):
        return f"{name} {answer!r} runs into the prompt's last word; does it lack its space?"
    return f"{name} {answer!r} is {len(ids)} tokens, not one" if len(ids) != 1 else ""


def _runs_on(prompt: str, answer: str) -> bool:
    """Whether two ASCII words meet without a space; in many scripts words do so rightly."""
    edge = prompt[-1] + answer[0]
    return edge.isascii() and edge.isalnum()


def _wrong_answers_from(table: pd.DataFrame, answer: Sequence[int], name: str) -> list[int]:
    """For each prompt the row of another whose answer is its wrong one: of its relation where one differs."""
    relations = table["relation"].astype(str).tolist()
    digests = [hashlib.sha256(str(id).encode()).hexdigest() for id in table["id"]]
    # An order that nobody chose. Backwards from the prompt's own place, since the control of another prompt's
    # answer goes forwards from there (`engine.lab.facts`): the two should not be one answer.
    order = sorted(range(len(table)), key=digests.__getitem__, reverse=True)
    places = {row: place for place, row in enumerate(order)}
    found = []
    for row, relation in enumerate(relations):
        # Lazily, since nearly always one of the next few will do.
        others = (order[(places[row] + step) % len(order)] for step in range(1, len(order)))
        different = (other for other in others if answer[other] != answer[row])
        first = next(different, None)
        if first is None:
            raise DataError(
                "all prompts have one answer",
                where=name,
                expected="a column wrong_answer, or prompts with different answers",
                seen=repr(table["answer"].iloc[row]),
            )
        # The first of this relation, else the first of all.
        same = (other for other in chain([first], different) if relations[other] == relation)
        found.append(next(same, first))
    return found
