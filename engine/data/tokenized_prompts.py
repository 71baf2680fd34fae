"""Prompts in a model's tokens, of whatever kind: their table, which were dropped and why, their clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Bool
from torch import Tensor

from engine.data.prompts import PromptSet, cluster_labels
from engine.errors import DataError

TokenIds = list[int]
NAMED_AT_MOST = 10
Kind = TypeVar("Kind", bound="TokenizedPrompts")


@runtime_checkable
class PromptTokenizer(Protocol):
    """The part of a HookedModel that prompts need."""

    def token_ids(self, texts: Sequence[str], /) -> list[TokenIds]: ...

    def pad(self, ids: list[TokenIds], /) -> tuple[Tensor, Tensor, Tensor]: ...


@dataclass(frozen=True, kw_only=True)
class TokenizedPrompts:
    """What every kind has: a row of `table` for each prompt, and the ids and reasons of those left out.

    `cluster_column` is that of the prompt set. Every tensor of a kind has the prompts along its first axis.
    """

    table: pd.DataFrame
    dropped: pd.DataFrame  # id, reason
    cluster_column: str = ""

    def __len__(self) -> int:
        return len(self.table)

    @property
    def ids(self) -> np.ndarray:
        """The id of each prompt. Shape "prompt", text."""
        return self.table["id"].astype(str).to_numpy(dtype=str)

    @property
    def clusters(self) -> np.ndarray:
        """The cluster of each prompt, beside its id. Shape "prompt", text."""
        return cluster_labels(self.table, self.cluster_column)

    def keep(self: Kind, wanted: Bool[Tensor, " prompt"], reason: str) -> Kind:
        """The wanted prompts; the others join `dropped` with one reason. The width in tokens stays."""
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


def divided(prompts: PromptSet, reasons: Mapping[int, str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows that fit, and the ids of those that do not with their reasons."""
    fitting = prompts.table.drop(index=list(reasons)).reset_index(drop=True)
    ids = prompts.table["id"]
    dropped = pd.DataFrame([(ids.iloc[row], why) for row, why in reasons.items()], columns=["id", "reason"])
    return fitting, dropped


def too_long(ids: Sequence[TokenIds], context_tokens: int) -> dict[int, str]:
    """The rows that a model cannot read whole, with the reason."""
    return {
        row: f"{len(tokens)} tokens, of which the model reads {context_tokens}"
        for row, tokens in enumerate(ids)
        if len(tokens) > context_tokens
    }


def refusal(prompts: PromptSet, dropped: pd.DataFrame, noun: str, expected: str) -> DataError:
    """The error for a set of which none fits, with the first reasons."""
    named = [": ".join(cells) for cells in dropped[:NAMED_AT_MOST].astype(str).to_numpy()]
    more = len(dropped) - len(named)
    return DataError(
        f"{len(dropped)} of {len(prompts.table)} {noun} do not fit this model's tokenizer",
        where=prompts.name,
        expected=expected,
        seen="\n            ".join(named + ([f"and {more} more"] if more else [])),
    )
