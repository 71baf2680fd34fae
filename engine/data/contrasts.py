"""Contrasts as token ids: two texts that differ in one thing, and where in their tokens they do.

What a steering vector is the mean difference of (Rimsky et al. 2024, "Steering Llama 2 via Contrastive
Activation Addition"): the positive text has what is looked for, the negative one has it not.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    too_long,
)


@dataclass(frozen=True, kw_only=True)
class TextContrasts(TokenizedPrompts):
    """Both texts of each contrast, each padded on the right by itself.

    The first `shared_start` tokens of the two are the same, and the last `shared_end`: what lies between is
    where they differ. Where one text begins with all of the other, nothing lies between in the shorter one.
    """

    positive: Int[Tensor, "prompt pos_positive"]
    positive_mask: Int[Tensor, "prompt pos_positive"]
    positive_last: Int[Tensor, " prompt"]
    negative: Int[Tensor, "prompt pos_negative"]
    negative_mask: Int[Tensor, "prompt pos_negative"]
    negative_last: Int[Tensor, " prompt"]
    shared_start: Int[Tensor, " prompt"]
    shared_end: Int[Tensor, " prompt"]


def tokenize_contrasts(prompts: PromptSet, model: PromptTokenizer, context_tokens: int) -> TextContrasts:
    """The contrasts that a model can read whole and tell apart; DataError where none is left."""
    sides = {side: model.token_ids(list(prompts.table[side])) for side in ("positive", "negative")}
    reasons = too_long(sides["positive"], context_tokens) | too_long(sides["negative"], context_tokens)
    for row, (one, other) in enumerate(zip(*sides.values(), strict=True)):
        if one == other:
            reasons[row] = "positive and negative are the same tokens"
    fitting, dropped = divided(prompts, dict(sorted(reasons.items())))
    fits = [row for row in range(len(prompts.table)) if row not in reasons]
    if not fits:
        raise refusal(prompts, dropped, "contrasts", "two texts of different tokens that the model can read")
    positive, positive_mask, positive_last = model.pad([sides["positive"][row] for row in fits])
    negative, negative_mask, negative_last = model.pad([sides["negative"][row] for row in fits])
    shared = [shared_ends(sides["positive"][row], sides["negative"][row]) for row in fits]
    return TextContrasts(
        table=fitting,
        dropped=dropped,
        cluster_column=prompts.cluster_column,
        positive=positive,
        positive_mask=positive_mask,
        positive_last=positive_last,
        negative=negative,
        negative_mask=negative_mask,
        negative_last=negative_last,
        shared_start=torch.tensor([start for start, _ in shared], device=positive.device),
        shared_end=torch.tensor([end for _, end in shared], device=positive.device),
    )


def shared_ends(one: TokenIds, other: TokenIds) -> tuple[int, int]:
    """How many tokens two texts begin with alike, and of the rest how many they end with alike."""
    shorter = min(len(one), len(other))
    start = next((i for i in range(shorter) if one[i] != other[i]), shorter)
    # Of the rest only: in `a a` and `a a a` the shared tokens would otherwise be counted from both ends.
    rest = shorter - start
    end = next((i for i in range(rest) if one[-1 - i] != other[-1 - i]), rest)
    return start, end
