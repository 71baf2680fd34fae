"""Numerical identities that run with every experiment on prompts; where one fails, numbers are withheld."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from engine.evidence.result import Check
from engine.lab.attribution import Attribution
from engine.lab.facts import Facts
from engine.lab.lens import LensReading
from engine.lab.split import hash_order
from engine.lab.threads import side_by_side
from engine.models.huggingface import parity_limit

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

SUM_LIMITS = {"float32": 1e-4, "bfloat16": 5e-2}
SAMPLED_PROMPTS = 8


def model_receipts(model: HookedModel, facts: Facts) -> list[Check]:
    """Logits of a few prompts against Hugging Face's own, and each prompt alone against a padded batch."""
    rows = hash_order(facts.ids)[:SAMPLED_PROMPTS]
    alone, theirs = _alone(model, facts, rows), _hugging_face(model, facts, rows)
    limit = parity_limit(model.dtype, float(theirs.abs().max()))
    return [
        Check(
            "hugging_face_logits",
            _largest_difference(alone, theirs),
            limit,
            f"Largest logit difference of the engine's forward from Hugging Face's, {len(rows)} prompts.",
        ),
        Check(
            "padding",
            _largest_difference(_padded(model, facts, rows), alone),
            limit,
            f"Largest logit difference of a prompt alone from it in a padded batch, {len(rows)} prompts.",
        ),
    ]


def attribution_receipt(model: HookedModel, attribution: Attribution) -> Check:
    """Whether contributions add up to the logit differences."""
    return Check(
        "attributions_sum",
        attribution.largest_residue,
        SUM_LIMITS[model.dtype],
        "Largest distance of summed contributions from a logit difference, relative to the largest of these.",
    )


def lens_receipt(model: HookedModel, facts: Facts, reading: LensReading) -> Check:
    """Whether the lens after the last block says what the model says, on a few prompts."""
    rows = hash_order(facts.ids)[:SAMPLED_PROMPTS]
    logits = _hugging_face(model, facts, rows)
    output = logits.log_softmax(-1).gather(1, facts.prompts.answer[rows][:, None])[:, 0].cpu().numpy()
    return Check(
        "last_lens_row",
        float(np.abs(reading.logprob[rows, -1, 0] - output).max()),
        2 * parity_limit(model.dtype, float(logits.abs().max())),  # of a logit and of the log of their sum
        f"Largest difference in nats of the lens after the last block from the output, {len(rows)} prompts.",
    )


def _alone(model: HookedModel, facts: Facts, rows: np.ndarray) -> Float[Tensor, "prompt vocab"]:
    """Each prompt's logits at its last position, from a batch of its own."""
    return _each(model, facts, rows, lambda ids: model.logits(ids)[0, -1])


def _hugging_face(model: HookedModel, facts: Facts, rows: np.ndarray) -> Float[Tensor, "prompt vocab"]:
    """The same from the Hugging Face model."""
    theirs = model.hf
    return _each(model, facts, rows, lambda ids: theirs(ids, use_cache=False).logits[0, -1])


def _each(
    model: HookedModel, facts: Facts, rows: np.ndarray, last_logits: Callable[[Tensor], Tensor]
) -> Float[Tensor, "prompt vocab"]:
    prompts = [facts.prompts.clean[[row], : int(facts.prompts.last[row]) + 1] for row in rows.tolist()]
    return torch.stack(side_by_side(last_logits, prompts, model.device)).float()


def _padded(model: HookedModel, facts: Facts, rows: np.ndarray) -> Float[Tensor, "prompt vocab"]:
    """Last-position logits in one batch that is padded by at least one position for every prompt."""
    ids = facts.prompts.clean[rows]
    mask = torch.arange(ids.shape[1] + 1)[None].to(ids.device) <= facts.prompts.last[rows, None]
    ids = torch.nn.functional.pad(ids, (0, 1))
    with torch.no_grad():
        resid = model.layers(model.embed(ids), attention_mask=mask.long())
        return model.unembed(resid[torch.arange(len(ids)), facts.prompts.last[rows]]).float()


def _largest_difference(seen: Tensor, expected: Tensor) -> float:
    return float((seen - expected).abs().max())
