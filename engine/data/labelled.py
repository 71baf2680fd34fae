"""Labelled texts as token ids: what a probe learns to tell apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from engine.data.prompts import PromptSet
from engine.data.tokenized_prompts import PromptTokenizer, TokenizedPrompts, divided, refusal, too_long
from engine.errors import DataError


@dataclass(frozen=True, kw_only=True)
class LabelledTexts(TokenizedPrompts):
    """Texts, padded on the right, each with the index of its label in `labels`, which are in alphabetical
    order.

    `last` is the index of each text's last token.
    """

    labels: tuple[str, ...]
    tokens: Int[Tensor, "prompt pos"]
    mask: Int[Tensor, "prompt pos"]
    last: Int[Tensor, " prompt"]
    label: Int[Tensor, " prompt"]


def tokenize_labelled(prompts: PromptSet, model: PromptTokenizer, context_tokens: int) -> LabelledTexts:
    """The texts that a model can read whole; DataError where those left have fewer than two labels."""
    ids = model.token_ids(list(prompts.table["text"]))
    reasons = too_long(ids, context_tokens)
    fitting, dropped = divided(prompts, reasons)
    fits = [row for row in range(len(prompts.table)) if row not in reasons]
    if not fits:
        raise refusal(prompts, dropped, "texts", f"at most {context_tokens} tokens")
    labels = sorted(set(fitting["label"]))
    if len(labels) < 2:
        raise DataError(
            "the texts that are left have one label",
            where=prompts.name,
            expected="two labels or more",
            seen=repr(labels[0]),
        )
    tokens, mask, last = model.pad([ids[row] for row in fits])
    return LabelledTexts(
        table=fitting,
        dropped=dropped,
        cluster_column=prompts.cluster_column,
        labels=tuple(labels),
        tokens=tokens,
        mask=mask,
        last=last,
        label=torch.tensor([labels.index(label) for label in fitting["label"]], device=tokens.device),
    )
