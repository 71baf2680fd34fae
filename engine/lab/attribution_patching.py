"""Attribution patching: every patch of the grid estimated by one gradient, in about three forwards.

A patch changes an activation from a_base to a_source; to first order the metric (the logit difference) then
changes by (a_source - a_base) . d metric / da, taken in the base run. One forward of the source, one of the
base and one backward give all sites, layers, positions and heads at once. Exact where the model is linear
in between.

Source: Nanda 2023, "Attribution Patching"; Syed, Rager & Conmy 2023, "Attribution Patching Outperforms
Automated Circuit Discovery".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from engine.lab.groups import equal_length_groups
from engine.lab.patch_metrics import PatchMetric, patch_metric
from engine.lab.patch_pairs import (
    PATCHED,
    SITES,
    PatchPairs,
    Sweep,
    empty_sweep,
)
from engine.lab.threads import side_by_side
from engine.models.forward import differentiate, forward

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel


def estimated_sweep(
    model: HookedModel,
    pairs: PatchPairs,
    *,
    sites: Sequence[str] = SITES,
    metric: PatchMetric | None = None,
    prompts_at_once: int = 4,
) -> Sweep:
    """What `patching.sweep` measures at every position, estimated; NaN after a prompt's end."""
    out = empty_sweep(model, pairs, sites)
    whole = patch_metric(model, pairs) if metric is None else metric

    def estimate(index: list[int]) -> None:
        _estimate_group(model, pairs.rows(index), whole.rows(index), out, np.array(index))

    side_by_side(estimate, equal_length_groups(pairs.last, prompts_at_once), model.device)
    return out


def _estimate_group(
    model: HookedModel, pairs: PatchPairs, metric: PatchMetric, out: Sweep, index: np.ndarray
) -> None:
    """Fills the prompts `index` of `out`, all of one length."""
    length = int(pairs.last[0]) + 1
    kinds = [PATCHED[name] for name in out.patched]
    sites = model.sites(*kinds)
    everyone = torch.arange(len(pairs), device=pairs.answer.device)

    def objective(resid: Float[Tensor, "prompt pos d_model"]) -> Float[Tensor, " prompt"]:
        return metric.of(model, resid[:, -1], everyone)

    # 1. The source run: a_source, and the metric L of that run.
    source = forward(model.path, pairs.source_resid(model)[:, :length], read=sites)
    # 2. The base run and one backward: a_base, and dL/da there, for every site, layer, position and head.
    base = differentiate(model.path, pairs.base_resid(model)[:, :length], sites, objective)
    out.source[index] = objective(source.resid).cpu()
    out.base[index] = base.objective.cpu()
    for name, kind in PATCHED.items():
        if name not in out.patched:
            continue
        # 3. To first order, L(patched) = L(base) + (a_source - a_base) . dL/da. The sum is over d_model, or
        # over d_head for z, whose heads stay apart: a patch replaces one position (and head) at a time.
        effects = [
            ((source.activations[site] - base.activations[site]) * base.gradients[site]).sum(-1)
            for site in model.sites(kind)
        ]
        unpatched = base.objective.view(-1, *[1] * effects[0].ndim)
        out.patched[name][index, :, :length] = (unpatched + torch.stack(effects, dim=1)).cpu()
