"""Patches as edits of whole forwards: what `patching.sweep` must equal.

`patch_one` makes one by the bridge's own functions and shares no code with the sweep. `edited_sweep` makes
all of a grid, many in a batch, through the one forward: slow, and for whatever that forward reads and edits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.lab.ablation import START, Constants
from engine.lab.patch_metrics import PatchMetric
from engine.lab.patch_pairs import PATCHED, PatchPairs, Sweep, empty_sweep
from engine.models.forward import Edit, forward
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


@torch.no_grad()
def edited_sweep(
    model: HookedModel,
    pairs: PatchPairs,
    masks: Mapping[str, Bool[Tensor, "prompt pos"]],
    layers: Sequence[int],
    metric: PatchMetric,
    instead: Constants | None,
    tokens_at_once: int,
    progress: Callable[[float], None],
) -> Sweep:
    """Every patch of the positions in `masks`, by site, at `layers`; see `patching.sweep`."""
    out = empty_sweep(model, pairs, list(masks))
    for pair in range(len(pairs)):
        length = int(pairs.last[pair]) + 1
        base, source = (r[[pair], :length] for r in (pairs.base_resid(model), pairs.source_resid(model)))
        places = [Site(layer, PATCHED[name]) for name in masks for layer in layers]
        run = forward(model.path, source, read=places)
        here = metric.rows([pair])
        first = torch.zeros(1, dtype=torch.long, device=base.device)
        out.source[pair] = here.of(model, run.resid[:, -1], first).item()
        out.base[pair] = here.of(model, forward(model.path, base).resid[:, -1], first).item()
        for name, mask in masks.items():
            positions = torch.nonzero(mask[pair, :length]).flatten().tolist()
            heads = range(model.shape.n_heads) if name == "z" else [None]
            cells = list(product(positions, heads))
            for layer in layers:
                put = run.activations[Site(layer, PATCHED[name])][0]
                if instead is not None:
                    put = instead.values[Site(layer, PATCHED[name])][instead.role[pair, :length]]
                for start in range(0, len(cells), max(1, tokens_at_once // length)):
                    batch = cells[start : start + max(1, tokens_at_once // length)]
                    edit = {Site(layer, PATCHED[name]): _replacing(put, batch)}
                    patched = forward(model.path, base.expand(len(batch), -1, -1), edit=edit).resid[:, -1]
                    values = here.of(model, patched, first.expand(len(batch)))
                    for (position, head), value in zip(batch, values.tolist(), strict=True):
                        at = (pair, layer, position) if head is None else (pair, layer, position, head)
                        out.patched[name][at] = value
        progress((pair + 1) / len(pairs))
    return out


def _replacing(put: Float[Tensor, "pos ..."], cells: Sequence[tuple[int, int | None]]) -> Edit:
    """An edit that puts one place of `put` into each row of a batch: row r gets that of `cells[r]`."""
    rows = torch.arange(len(cells), device=put.device)
    positions: Int[Tensor, " row"] = torch.tensor([position for position, _ in cells], device=put.device)
    heads = [head for _, head in cells]

    def edit(value: Tensor) -> Tensor:
        new = value.clone()
        if heads[0] is None:
            new[rows, positions] = put[positions].to(value.dtype)
        else:
            head = torch.tensor(heads, device=put.device)
            new[rows, positions, head] = put[positions, head].to(value.dtype)
        return new

    return edit
