"""The part a position plays in a fact: subject, its last token, what stands between, the last token."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.data.pairs import PromptPairs

ROLES = ("subject", "subject last", "between", "last")


def role_positions(prompts: PromptPairs, *roles: str) -> Bool[np.ndarray, "prompt pos"]:
    """True at the positions that play one of the roles.

    "subject" is its tokens before the last one, "between" what follows it up to the last token of the prompt.
    Where the prompts name no subject, it is what lies between the first and last differing token.
    """
    first, end = subject_span(prompts)
    last = prompts.last.cpu()[:, None]
    position = torch.arange(prompts.clean.shape[1])[None]
    masks = {
        "subject": (position >= first[:, None]) & (position < end[:, None]),
        "subject last": position == end[:, None],
        "between": (position > end[:, None]) & (position < last),
        "last": position == last,
    }
    return torch.stack([masks[role] for role in roles]).any(0).numpy()


def subject_span(prompts: PromptPairs) -> tuple[Int[Tensor, " prompt"], Int[Tensor, " prompt"]]:
    """First and last position of each subject."""
    if prompts.subject_first is not None and prompts.subject_last is not None:
        return prompts.subject_first.cpu(), prompts.subject_last.cpu()
    differs = (prompts.clean != prompts.corrupted).long().cpu()
    # argmax gives the first maximum; on the flipped row that is the last differing position.
    return differs.argmax(1), differs.shape[1] - 1 - differs.flip(1).argmax(1)


def over_positions(
    values: Float[np.ndarray, "prompt layer pos *head"], asked: Bool[np.ndarray, "prompt pos"]
) -> Float[np.ndarray, "prompt layer *head"]:
    """Each prompt's mean over its positions of a role; NaN where it has none."""
    # z has an axis of heads after the positions, the other sites have none.
    per_head = [1] * (values.ndim - 3)
    # `where` and not a product: positions that were not patched are NaN, and NaN times 0 is NaN.
    kept = np.where(asked.reshape(len(asked), 1, -1, *per_head), values, 0.0)
    # 0 / 0 is the NaN that says "no such position"; numpy would warn of it.
    with np.errstate(invalid="ignore"):
        return kept.sum(axis=2) / asked.sum(axis=1).reshape(-1, 1, *per_head)
