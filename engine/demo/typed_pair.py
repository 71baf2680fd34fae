"""A pair of prompts as it is typed, and what keeps it from being patched, before anything is computed."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.data.answers import answer_misfit
from engine.demo.limits import LIMITS, prompt_ids
from engine.demo.token_alignment import TokenAlignment, align
from engine.errors import DemoError
from engine.lab.patch_tables import visible_token

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

MOST_TOKENS = 100
"""Of a prompt: as many columns as a map can show."""
MOST_PATCHED = 40
"""Tokens from the first difference on: each of them is patched, and computes all that follow it."""
PAIR_LIMITS = replace(LIMITS, characters=2000, tokens=MOST_TOKENS)
NAMES = {
    "clean": "the clean prompt",
    "corrupted": "the corrupted prompt",
    "answer": "the answer",
    "wrong_answer": "the wrong answer",
}


@dataclass(frozen=True)
class TypedPair:
    """The texts of a pair as they are read: answers with the space that sets them off from the prompt."""

    clean: str
    corrupted: str
    answer: str
    wrong_answer: str

    @classmethod
    def of(cls, clean: str, corrupted: str, answer: str, wrong_answer: str) -> TypedPair:
        return cls(clean, corrupted, with_space(clean, answer), with_space(clean, wrong_answer))

    @property
    def row(self) -> dict[str, str]:
        """The pair as a row of a prompt set."""
        return {"id": "typed", "relation": "typed", **vars(self)}

    @property
    def rows(self) -> list[dict[str, str]]:
        """The pair and its swap: an experiment wants two prompts at least, and these have equal lengths."""
        swap = TypedPair.of(self.corrupted, self.clean, self.wrong_answer, self.answer)
        return [self.row, swap.row | {"id": "swapped"}]


def with_space(prompt: str, answer: str) -> str:
    """The answer with a space before it where two words would meet: nobody types it in a box of its own."""
    edge = prompt[-1:] + answer[:1]
    return f" {answer}" if len(edge) == 2 and edge.isascii() and edge.isalnum() else answer


def require_pair(model: HookedModel, pair: TypedPair) -> TokenAlignment:
    """The two prompts token against token; DemoError for what cannot be patched, and why."""
    for field, name in NAMES.items():
        require_plain_text(getattr(pair, field), name)
    clean = prompt_ids(model, pair.clean, NAMES["clean"], PAIR_LIMITS)
    corrupted = prompt_ids(model, pair.corrupted, NAMES["corrupted"], PAIR_LIMITS)
    aligned = aligned_tokens(model, clean, corrupted)
    if aligned.problem:
        raise DemoError(
            aligned.problem,
            expected="two different prompts of equal length: an activation goes to its own position",
            hint="words of as many tokens, such as another name; the table of tokens shows where",
        )
    added = {field: answer_tokens(model, pair, field) for field in ("answer", "wrong_answer")}
    for field, ids in added.items():
        require_answer(model, pair, field, ids)
    if added["answer"] == added["wrong_answer"]:
        raise DemoError(
            "answer and wrong answer are the same token, whose logits do not differ",
            expected="two different answers",
            seen=repr(pair.answer),
        )
    first = next(i for i, column in enumerate(aligned.columns) if column.differs)
    patched = len(clean) - first
    if patched > MOST_PATCHED:
        raise DemoError(
            "too much of the prompts would have to be patched",
            expected=f"at most {MOST_PATCHED} tokens from the first difference on",
            seen=f"{patched} tokens from position {first} on",
            hint="what both prompts have in common costs nothing where it stands before the difference",
        )
    return aligned


def aligned_tokens(model: HookedModel, clean: Sequence[int], corrupted: Sequence[int]) -> TokenAlignment:
    """Two prompts of token ids laid against each other, their tokens to be seen."""
    return align(*([visible_token(t) for t in model.token_strings(ids)] for ids in (clean, corrupted)))


def answer_tokens(model: HookedModel, pair: TypedPair, field: str) -> list[int]:
    """What an answer adds to the clean prompt; nothing where it runs into the prompt's last token."""
    before, whole = model.token_ids([pair.clean, pair.clean + getattr(pair, field)])
    return whole[len(before) :] if whole[: len(before)] == before else []


def require_answer(model: HookedModel, pair: TypedPair, field: str, ids: Sequence[int]) -> None:
    """DemoError for an answer that is not one token after the clean prompt."""
    text = getattr(pair, field)
    if not text.strip():
        raise DemoError(f"{NAMES[field]} is empty", expected="a word of one token")
    reason = answer_misfit(pair.clean, NAMES[field], text, list(ids))
    if reason:
        pieces = ", ".join(visible_token(token) for token in model.token_strings(ids))
        raise DemoError(
            reason,
            expected="one token after the prompt, its space included",
            seen=f"the tokens {pieces}" if ids else repr(text),
            hint="a shorter or a more frequent word",
        )


def require_plain_text(text: str, name: str) -> None:
    """DemoError for a character that steers a terminal or a file and that no reader sees."""
    for place, character in enumerate(text):
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t":
            raise DemoError(
                f"{name} has a control character",
                expected="text, spaces and line ends",
                seen=f"U+{ord(character):04X}, its character {place + 1}",
                hint="delete it, and what was copied with it",
            )
