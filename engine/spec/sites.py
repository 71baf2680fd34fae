"""Hook sites: TransformerLens names for places in a model, some of them at a relative depth."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal

from engine.errors import SpecError, nearest

MODEL_SITES = ("hook_embed", "hook_pos_embed", "ln_final.hook_scale", "ln_final.hook_normalized")
BLOCK_SITES = (
    "hook_resid_pre",
    "hook_resid_mid",
    "hook_resid_post",
    "hook_attn_in",
    "hook_attn_out",
    "hook_mlp_in",
    "hook_mlp_out",
    "ln1.hook_scale",
    "ln1.hook_normalized",
    "ln2.hook_scale",
    "ln2.hook_normalized",
    "attn.hook_q",
    "attn.hook_k",
    "attn.hook_v",
    "attn.hook_rot_q",
    "attn.hook_rot_k",
    "attn.hook_attn_scores",
    "attn.hook_pattern",
    "attn.hook_z",
    "attn.hook_result",
    "mlp.hook_pre",
    "mlp.hook_pre_linear",
    "mlp.hook_post",
)
BLOCK = re.compile(r"blocks\.(?P<depth>[0-9.]+%|[^.]+)\.(?P<site>.*)")
LAYER = re.compile(r"0|[1-9][0-9]{0,5}")
SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
FORM = "blocks.LAYER.SITE, with LAYER a number (6) or a relative depth (50%), as in blocks.6.hook_resid_pre"


def validate_site(site: str) -> str:
    """The site itself, or a SpecError with the nearest names, before any model is known."""
    if site in MODEL_SITES:
        return site
    match = BLOCK.fullmatch(site)
    if not match:
        raise SpecError(
            f"{site!r} is not a hook site",
            expected=f"{FORM}; or {', '.join(MODEL_SITES)}",
            seen=repr(site),
            near=nearest(site, [*MODEL_SITES, *(f"blocks.{_depth_in(site)}.{s}" for s in BLOCK_SITES)]),
        )
    depth, kind = match["depth"], match["site"]
    share = SHARE.fullmatch(depth)
    if not LAYER.fullmatch(depth) and not (share and Decimal(share[1]) <= 100):
        expected = "a layer counted from 0, or a depth from 0% to 100%"
        raise SpecError(f"{depth!r} is not a layer", expected=expected, seen=repr(site))
    if kind not in BLOCK_SITES:
        raise SpecError(
            f"a block has no site {kind!r}",
            expected="one of " + ", ".join(BLOCK_SITES),
            seen=repr(site),
            near=[f"blocks.{depth}.{s}" for s in nearest(kind, BLOCK_SITES)],
        )
    return site


def resolve_site(site: str, n_layers: int) -> str:
    """The site with its layer as a number, for a model of `n_layers` layers.

    A relative depth p% is the layer nearest to p% of `n_layers`, halves rounded up, and the last layer
    at most: of 30 layers, 0% is layer 0, 50% layer 15 and 100% layer 29.
    """
    match = BLOCK.fullmatch(validate_site(site))
    if not match:
        return site
    layer = _layer(match["depth"], n_layers)
    if layer >= n_layers:
        raise SpecError(
            f"the model has no layer {layer}",
            expected=f"a layer from 0 to {n_layers - 1}, or a depth as in blocks.50%.{match['site']}",
            seen=repr(site),
        )
    return f"blocks.{layer}.{match['site']}"


def _layer(depth: str, n_layers: int) -> int:
    if not depth.endswith("%"):
        return int(depth)
    exact = Decimal(depth[:-1]) * n_layers / 100
    return min(int(exact.to_integral_value(ROUND_HALF_UP)), n_layers - 1)


def _depth_in(site: str) -> str:
    """The layer that a misspelt site names, for suggestions."""
    found = re.search(r"[0-9]+%?", site)
    return found[0] if found else "0"
