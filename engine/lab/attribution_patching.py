"""Attribution patching: every patch of the grid estimated by one gradient, in about three forwards.

A patch changes an activation from a_base to a_source; to first order the metric (the logit difference) then
changes by (a_source - a_base) . d metric / da, taken in the base run. One forward of the source, one of the
base and one backward give all sites, layers, positions and heads at once. Exact where the model is linear
in between. Other methods take another gradient: `eap_ig_inputs` its mean over runs that start between the
two embeddings (Hanna, Pezzelle & Belinkov 2024), `relp` the coefficients of relevance propagation (Jafari et
al. 2025; `engine.models.propagation`), which need no more runs.

Source: Nanda 2023, "Attribution Patching"; Syed, Rager & Conmy 2023, "Attribution Patching Outperforms
Automated Circuit Discovery".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from engine.models.forward import Gradients, differentiate, forward
from engine.models.propagation import RELP, Propagation
from engine.models.sites import Site
from engine.spec.family_params import GridMethod

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel


def estimated_sweep(
    model: HookedModel,
    pairs: PatchPairs,
    *,
    sites: Sequence[str] = SITES,
    metric: PatchMetric | None = None,
    method: GridMethod = "eap",
    steps: int = 5,
    rules: Propagation = RELP,
    prompts_at_once: int = 4,
) -> Sweep:
    """What `patching.sweep` measures at every position, estimated; NaN after a prompt's end.

    `steps` are those of `eap_ig_inputs`, in the middles of equal parts; `rules` those of `relp`.
    """
    out = empty_sweep(model, pairs, sites)
    whole = patch_metric(model, pairs) if metric is None else metric

    differentiated = model.propagating(rules) if method == "relp" else model
    # In the base run itself, or at the middles of equal parts of the way to the source run.
    portions = [(k + 0.5) / steps for k in range(steps)] if method == "eap_ig_inputs" else [0.0]

    def estimate(index: list[int]) -> None:
        _estimate_group(differentiated, pairs.rows(index), whole.rows(index), out, np.array(index), portions)

    side_by_side(estimate, equal_length_groups(pairs.last, prompts_at_once), model.device)
    return out


def _estimate_group(
    model: HookedModel,
    pairs: PatchPairs,
    metric: PatchMetric,
    out: Sweep,
    index: np.ndarray,
    portions: Sequence[float],
) -> None:
    """Fills the prompts `index` of `out`, all of one length."""
    length = int(pairs.last[0]) + 1
    kinds = [PATCHED[name] for name in out.patched]
    sites = model.sites(*kinds)
    everyone = torch.arange(len(pairs), device=pairs.answer.device)

    def objective(resid: Float[Tensor, "prompt pos d_model"]) -> Float[Tensor, " prompt"]:
        return metric.of(model, resid[:, -1], everyone)

    # 1. The source run: a_source, and the metric L of that run.
    source_start = pairs.source_resid(model)[:, :length]
    source = forward(model.path, source_start, read=sites)
    # 2. The base run and one backward: a_base, and dL/da there, for every site, layer, position and head.
    base_start = pairs.base_resid(model)[:, :length]
    base = differentiate(model.path, base_start + portions[0] * (source_start - base_start), sites, objective)
    if len(portions) > 1 or portions[0]:
        base = _between(model, base_start, source_start, sites, objective, base, portions)
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


def _between(
    model: HookedModel,
    base_start: Float[Tensor, "prompt pos d_model"],
    source_start: Float[Tensor, "prompt pos d_model"],
    sites: Sequence[Site],
    objective: Callable[[Tensor], Tensor],
    first: Gradients,
    portions: Sequence[float],
) -> Gradients:
    """The base run's activations, and the mean gradient of runs that start between the two embeddings.

    `first` is that of the first portion.
    """
    total = dict(first.gradients)
    for portion in portions[1:]:
        start = base_start + portion * (source_start - base_start)
        found = differentiate(model.path, start, sites, objective).gradients
        total = {site: gradient + found[site] for site, gradient in total.items()}
    base = forward(model.path, base_start, read=sites)
    means = {site: gradient / len(portions) for site, gradient in total.items()}
    return Gradients(objective(base.resid), base.activations, means)
