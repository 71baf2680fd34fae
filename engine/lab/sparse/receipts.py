"""Numerical identities of a run that reads a model's activations and replaces them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from engine.evidence.result import Check
from engine.lab.sparse.metrics import SpliceLosses
from engine.models.huggingface import parity_limit

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

SPLICE_LIMIT = 1e-5


@torch.no_grad()
def sae_receipts(
    model: HookedModel, ids: Int[Tensor, "context pos"], spliced: SpliceLosses | None = None
) -> list[Check]:
    """Logits of a few texts against Hugging Face's, and activations that replace themselves."""
    ids = ids.to(model.device)
    ours, theirs = model.logits(ids).float(), model.hf(ids, use_cache=False).logits.float()
    checks = [
        Check(
            "hugging_face_logits",
            float((ours - theirs).abs().max()),
            parity_limit(model.dtype, float(theirs.abs().max())),
            f"Largest logit difference of the engine's forward from Hugging Face's, {len(ids)} contexts.",
        )
    ]
    if spliced is not None:
        about = "Largest logit change when the activations are replaced by themselves, of the largest logit."
        checks.append(Check("identity_splice", spliced.identity_error, SPLICE_LIMIT, about))
    return checks
