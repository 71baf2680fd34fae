"""One patch at a time through the bridge's hooks: what `patching.sweep` must equal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from engine.lab.patch_pairs import PATCHED, PatchPairs
from engine.models.sites import Site

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel


def patch_one(
    model: HookedModel,
    pairs: PatchPairs,
    pair: int,
    site: str,
    layer: int,
    position: int,
    head: int | None = None,
) -> float:
    """The logit difference of the base run with one activation of the source run in its place."""
    # Without padding: the bridge then needs no mask.
    length = int(pairs.last[pair]) + 1
    name = str(Site(layer, PATCHED[site]))
    place: tuple[Any, ...] = (slice(None), position) if head is None else (slice(None), position, head)
    with torch.no_grad():
        _, cache = model.bridge.run_with_cache(
            # Only the one site is cached: this runs once for each patch.
            pairs.source[[pair], :length],
            names_filter=name,
            prepend_bos=False,
        )

        def patch(activation: torch.Tensor, hook: object) -> torch.Tensor:
            patched = activation.clone()
            patched[place] = cache[name][place]
            return patched

        logits = model.bridge.run_with_hooks(
            pairs.base[[pair], :length], fwd_hooks=[(name, patch)], prepend_bos=False
        )
    last = logits[0, -1]
    return float(last[pairs.answer[pair]] - last[pairs.wrong_answer[pair]])
