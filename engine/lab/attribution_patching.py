"""Attribution patching: every patch of the grid estimated by one gradient, in about three forwards.

A patch changes an activation from a_base to a_source; to first order the logit difference then changes by
(a_source - a_base) . d(logit difference)/da, taken in the base run. One forward of the source, one of the
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
from jaxtyping import Float, Int
from torch import Tensor

from engine.lab.groups import equal_length_groups
from engine.lab.pairs import SITES, Pairs, Sweep, answer_direction, empty_sweep, logit_differences
from engine.lab.threads import side_by_side

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

Activations = dict[str, list[Tensor]]  # by site, then layer: "prompt pos d_model"; z "prompt pos head d_head"


def estimated_sweep(
    model: HookedModel, pairs: Pairs, *, sites: Sequence[str] = SITES, prompts_at_once: int = 4
) -> Sweep:
    """What `patching.sweep` measures at every position, estimated; NaN after a prompt's end."""
    out = empty_sweep(model, pairs, sites)

    def estimate(index: list[int]) -> None:
        _estimate_group(model, pairs.rows(index), out, np.array(index))

    side_by_side(estimate, equal_length_groups(pairs.last, prompts_at_once), model.device)
    return out


def _estimate_group(model: HookedModel, pairs: Pairs, out: Sweep, index: np.ndarray) -> None:
    """Fills the prompts `index` of `out`, all of one length."""
    length, sites = int(pairs.last[0]) + 1, list(out.logit_diff)
    with torch.no_grad():
        source, source_diff = _run(model, pairs, pairs.source[:, :length], sites)
    with torch.enable_grad():
        base, base_diff = _run(model, pairs, pairs.base[:, :length], sites)
        flat = [activation for site in sites for activation in base[site]]
        gradients = iter(torch.autograd.grad(base_diff.sum(), flat))
    out.base[index], out.source[index] = base_diff.detach().cpu(), source_diff.cpu()
    for site in sites:
        effects = [
            ((there - here.detach()) * next(gradients)).sum(-1)
            for there, here in zip(source[site], base[site], strict=True)
        ]
        estimate = base_diff.detach().view(-1, *[1] * effects[0].ndim) + torch.stack(effects, dim=1)
        out.logit_diff[site][index, :, :length] = estimate.cpu()


def _run(
    model: HookedModel, pairs: Pairs, input_ids: Int[Tensor, "prompt pos"], sites: Sequence[str]
) -> tuple[Activations, Float[Tensor, " prompt"]]:
    """Every site's activations, and the logit differences that depend on them."""
    kept: Activations = {site: [] for site in SITES}
    resid = model.embed(input_ids).detach().requires_grad_(torch.is_grad_enabled())
    span = model.span(resid)
    for layer in range(model.n_layers):
        z = model.z(layer, resid, span)
        attn_out = model.attn_out(layer, z)
        mlp_out = model.mlp_out(layer, resid + attn_out)
        for site, activation in zip(SITES, (resid, attn_out, mlp_out, z), strict=True):
            kept[site].append(activation)
        resid = resid + attn_out + mlp_out
    logit_diff = logit_differences(model, resid[:, -1], answer_direction(model, pairs))
    return {site: kept[site] for site in sites}, logit_diff
