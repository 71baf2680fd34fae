"""One patch at a time through the bridge's hooks: what `patching.sweep` must equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.lab.ablation import START, Constants
from engine.lab.patch_pairs import PATCHED, PatchPairs
from engine.models.sites import Site
from engine.spec.family_params import MetricName

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

Hook = tuple[str | Callable, Callable]
"""A site's name and what is done there, as the bridge takes them."""


def patch_one(
    model: HookedModel,
    pairs: PatchPairs,
    pair: int,
    site: str,
    layer: int,
    position: int,
    head: int | None = None,
    metric: MetricName = "logit_diff",
    instead: Constants | None = None,
) -> float:
    """The metric of the base run with one activation of the source run, or a constant, in its place.

    `kl` is measured from the source run.
    """
    # Without padding: the bridge then needs no mask.
    length = int(pairs.last[pair]) + 1
    base, source = pairs.base[[pair], :length], pairs.source[[pair], :length]
    starting_base, starting_source = (
        _starting(start, pair, length) for start in (pairs.base_start, pairs.source_start)
    )
    where = Site(layer, PATCHED[site])
    place: tuple[Any, ...] = (slice(None), position) if head is None else (slice(None), position, head)
    seen: dict[str, Tensor] = {}

    def keep(activation: Tensor, hook: object) -> Tensor:
        seen["source"] = activation.clone()
        return activation

    def patch(activation: Tensor, hook: object) -> Tensor:
        patched = activation.clone()
        if instead is None:
            patched[place] = seen["source"][place]
        else:
            constant = instead.values[where][instead.role[pair, position]]
            patched[place] = constant if head is None else constant[head]
        return patched

    with torch.no_grad():
        # A hook that starts a run goes first, so that a patch of the same site sees what it left.
        clean = _last_logits(model, source, [*starting_source, (str(where), keep)])
        last = _last_logits(model, base, [*starting_base, (str(where), patch)])
    answer = pairs.answer[pair]
    if metric == "logit_diff":
        return float(last[answer] - last[pairs.wrong_answer[pair]])
    if metric == "kl":
        return float(torch.nn.functional.kl_div(last.log_softmax(-1), clean.softmax(-1), reduction="sum"))
    probability = last.softmax(-1)[answer]
    return float(probability if metric == "probability" else probability.log())


def _starting(start: Tensor | None, pair: int, length: int) -> list[Hook]:
    """The hook that begins a run from a residual stream of its own, if it has one."""
    return [] if start is None else [(str(START), lambda activation, hook: start[[pair], :length])]


def _last_logits(model: HookedModel, input_ids: Tensor, hooks: list[Hook]) -> Tensor:
    return model.bridge.run_with_hooks(input_ids, fwd_hooks=hooks, prepend_bos=False)[0, -1]
