"""The heat map of one pair: one site patched at every layer and position, and one patch looked at closely.

`patching.sweep` patches whole prompt sets and every head. Here it is one pair, one site and of `z` one head,
by the same `run_down`, so that a person can wait for it: positions are told as they are done, and a position
costs as much as the tokens that follow it.

Source: Meng et al. 2022 (the map by layer and position), Wang et al. 2023 (single heads).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from engine.errors import DataError
from engine.lab.patch_metrics import log_probabilities, patch_metric
from engine.lab.patch_pairs import PATCHED, SITES, PatchPairs
from engine.lab.patching import PARALLEL_STAGE, STAGE, BaseRun, BothRuns, Patches, run_down, sweep
from engine.lab.threads import side_by_side
from engine.models.forward import Edit, ForwardPass, forward
from engine.models.sites import Site

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

LEAST_GAP = 0.01
"""Logits: where two runs are nearer than this, a share of their difference would be a ratio of roundings."""


@dataclass(frozen=True)
class PatchGrid:
    """The logit difference after each patch, and of the two unpatched runs."""

    patched: Float[np.ndarray, "layer pos"]
    base: float
    source: float

    @property
    def gap(self) -> float:
        """What there is to restore or to destroy, in logits."""
        return self.source - self.base

    @property
    def has_scale(self) -> bool:
        return abs(self.gap) >= LEAST_GAP

    @property
    def effects(self) -> Float[np.ndarray, "layer pos"]:
        """Each patch on a scale where 0 is the run patched into and 1 the run patched from."""
        return self.effect_of(self.patched)

    def effect_of(self, patched: Float[np.ndarray, "*place"]) -> Float[np.ndarray, "*place"]:
        """Logit differences after other patches of the same pair, on the same scale."""
        return (patched - self.base) / self.gap


@dataclass(frozen=True)
class PatchOutcome:
    """What the model says next, in nats: in the run patched from and the run patched into, and after a patch.

    `logit_diffs` are answer minus wrong answer of the three, in this order.
    """

    source: Float[Tensor, " vocab"]
    base: Float[Tensor, " vocab"]
    patched: Float[Tensor, " vocab"]
    logit_diffs: tuple[float, float, float]


def patch_grid(
    model: HookedModel,
    pair: PatchPairs,
    site: str,
    head: int | None = None,
    progress: Callable[[float], None] = lambda fraction: None,
) -> PatchGrid:
    """Every patch of `site` (of one head, for z) of one pair. DataError for a site or head that is not there.

    `progress` hears the share of the work that is done after each position; what it raises ends the work.
    """
    require_place(model, site, head)
    if not model.is_plain:
        # A bridge has no keys and values to go on from: the sweep knows how to do without.
        found = sweep(model, pair, sites=[site], progress=progress)
        length = int(pair.last[0]) + 1
        patched = found.patched[site][0, :, :length]
        return PatchGrid(patched if head is None else patched[..., head], *_ends(found.base, found.source))
    runs = BothRuns.of(model, pair, patch_metric(model, pair))
    base = runs.base_run()
    unpatched, source = runs.unpatched()
    # Before the first difference the two runs are one, and a patch changes nothing: the base run's value.
    patched = np.full((model.n_layers, base.last + 1), unpatched[0])
    live = list(range(int(base.first_change[0]), base.last + 1))
    told = _Progress(progress, total=sum(base.last + 1 - position for position in live))

    def column(position: int) -> Float[Tensor, " patch"]:
        change = runs.changes(site, range(model.n_layers), position)[0]
        values = run_down(base, _column(base, site, position, change if head is None else change[:, head]))
        told.add(base.last + 1 - position)
        return values.cpu()

    # The earliest position has most to compute: begun first, it does not end alone.
    for position, values in zip(live, side_by_side(column, live, model.device), strict=True):
        # Where a patch of the last layer can no longer matter, there is no value for it.
        patched[: len(values), position] = values.numpy()
    return PatchGrid(patched, *_ends(unpatched, source))


def heads_grid(model: HookedModel, pair: PatchPairs, position: int) -> Float[np.ndarray, "layer head"]:
    """The logit difference after each head's z was patched at one position of one pair."""
    asked = np.zeros(tuple(pair.base.shape), dtype=bool)
    asked[0, position] = True
    return sweep(model, pair, sites=["z"], positions=asked).patched["z"][0, :, position]


@torch.no_grad()
def patch_outcome(
    model: HookedModel, pair: PatchPairs, site: str, layer: int, position: int, head: int | None = None
) -> PatchOutcome:
    """One patch as an edit of a whole forward, with all that the model then says at the last position."""
    require_place(model, site, head)
    place = Site(layer, PATCHED[site])
    length = int(pair.last[0]) + 1
    source_start, base_start = (r[:, :length] for r in (pair.source_resid(model), pair.base_resid(model)))
    source = forward(model.path, source_start, read=[place])
    put = source.activations[place][:, position]

    def replaced(activation: Tensor) -> Tensor:
        patched = activation.clone()
        if head is None:
            patched[:, position] = put
        else:
            patched[:, position, head] = put[:, head]
        return patched

    def run(edit: Mapping[Site, Edit]) -> ForwardPass:
        return forward(model.path, base_start, edit=edit)

    base, patched = side_by_side(run, ({}, {place: replaced}), model.device)
    resid = torch.cat([each.resid[:, -1] for each in (source, base, patched)])
    metric = patch_metric(model, pair)
    differences = metric.of(model, resid, torch.zeros(3, dtype=torch.long, device=resid.device))
    said = log_probabilities(model, resid)
    first, second, third = differences.tolist()
    return PatchOutcome(*said.cpu(), logit_diffs=(first, second, third))


def require_place(model: HookedModel, site: str, head: int | None) -> None:
    """DataError for a site that cannot be patched, a head that the model has not, or z without a head."""
    if site not in SITES:
        raise DataError(f"cannot patch {site!r}", expected="one of " + ", ".join(SITES), seen=site)
    n_heads = model.shape.n_heads
    if site == "z" and (head is None or not 0 <= head < n_heads):
        raise DataError(
            f"{model.name} has no such head", expected=f"a head from 0 to {n_heads - 1}", seen=str(head)
        )
    if site != "z" and head is not None:
        raise DataError(f"{site} has no heads", expected="z, or no head", seen=f"head {head}")


def _column(base: BaseRun, site: str, position: int, change: Float[Tensor, "layer d_model"]) -> Patches:
    """The patches of one position, by layer and so by stage; those that can matter."""
    n_layers = len(change)
    stages = PARALLEL_STAGE if base.model.decoder.parallel else STAGE
    stage = 2 * torch.arange(n_layers) + stages[site]
    if position < base.last:
        # Attention alone carries an earlier position to the last one, at stage 2 n_layers - 2 at the latest.
        stage = stage[stage <= 2 * n_layers - 2]
    return Patches(position, stage, torch.zeros_like(stage), change[: len(stage)])


def _ends(base: np.ndarray, source: np.ndarray) -> tuple[float, float]:
    return float(base[0]), float(source[0])


class _Progress:
    """Adds up, from several threads, how much of a whole is done, and tells the share."""

    def __init__(self, tell: Callable[[float], None], total: int) -> None:
        self.tell, self.total = tell, total
        self.done = 0
        self.lock = Lock()

    def add(self, amount: int) -> None:
        with self.lock:
            self.done += amount
            share = self.done / self.total
        self.tell(share)
