"""Hook sites: TransformerLens's names for places in a model, and how a spec writes them.

The one list of sites stands here, as data without torch, because a spec is judged by it before any model is
loaded. `engine.models.sites` makes values of it: a site of a given model, with sizes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from engine.errors import SpecError, nearest


@dataclass(frozen=True)
class SiteKind:
    """One kind of place. `name` is TransformerLens's, within a block or within the model.

    `axes` are those of its activations. `readable` says that the engine's own forward reads it and can go on
    with something else in its place; the others are known so that a spec that names one is told so.
    """

    name: str
    axes: str
    readable: bool = False

    @property
    def short(self) -> str:
        """`resid_pre` for `hook_resid_pre`, `z` for `attn.hook_z`: what patches and tables call it."""
        return self.name.rpartition("hook_")[2]


RESID_PRE = SiteKind("hook_resid_pre", "batch pos d_model", readable=True)
Z = SiteKind("attn.hook_z", "batch pos head d_head", readable=True)
ATTN_OUT = SiteKind("hook_attn_out", "batch pos d_model", readable=True)
RESID_MID = SiteKind("hook_resid_mid", "batch pos d_model", readable=True)
MLP_POST = SiteKind("mlp.hook_post", "batch pos d_mlp", readable=True)
MLP_OUT = SiteKind("hook_mlp_out", "batch pos d_model", readable=True)
RESID_POST = SiteKind("hook_resid_post", "batch pos d_model", readable=True)

BLOCK_SITES = (
    # In the order in which a block computes them, which `engine.models.forward` keeps.
    RESID_PRE,
    Z,
    ATTN_OUT,
    RESID_MID,
    MLP_POST,
    MLP_OUT,
    RESID_POST,
    # Inside the parts of a block: the plain path does not hand these out.
    SiteKind("hook_attn_in", "batch pos head d_model"),
    SiteKind("hook_mlp_in", "batch pos d_model"),
    SiteKind("ln1.hook_scale", "batch pos 1"),
    SiteKind("ln1.hook_normalized", "batch pos d_model"),
    SiteKind("ln2.hook_scale", "batch pos 1"),
    SiteKind("ln2.hook_normalized", "batch pos d_model"),
    SiteKind("attn.hook_q", "batch pos head d_head"),
    SiteKind("attn.hook_k", "batch pos key_value_head d_head"),
    SiteKind("attn.hook_v", "batch pos key_value_head d_head"),
    SiteKind("attn.hook_rot_q", "batch pos head d_head"),
    SiteKind("attn.hook_rot_k", "batch pos key_value_head d_head"),
    SiteKind("attn.hook_attn_scores", "batch head query key"),
    SiteKind("attn.hook_pattern", "batch head query key"),
    SiteKind("attn.hook_result", "batch pos head d_model"),
    SiteKind("mlp.hook_pre", "batch pos d_mlp"),
    SiteKind("mlp.hook_pre_linear", "batch pos d_mlp"),
)
MODEL_SITES = (
    SiteKind("hook_embed", "batch pos d_model"),
    SiteKind("hook_pos_embed", "batch pos d_model"),
    SiteKind("ln_final.hook_scale", "batch pos 1"),
    SiteKind("ln_final.hook_normalized", "batch pos d_model"),
)
READABLE_SITES = tuple(kind for kind in BLOCK_SITES if kind.readable)
BLOCK = re.compile(r"blocks\.(?P<depth>[0-9.]+%|[^.]+)\.(?P<kind>.*)")
LAYER = re.compile(r"0|[1-9][0-9]{0,5}")
SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
FORM = "blocks.LAYER.SITE, with LAYER a number (6) or a relative depth (50%), as in blocks.6.hook_resid_pre"


def validate_site(site: str) -> str:
    """The site itself, or a SpecError with the nearest names, before any model is known.

    It must be one that the engine reads: what TransformerLens names besides is refused here, and not after a
    model has been loaded.
    """
    split_site(site)
    return site


def split_site(site: str) -> tuple[str, SiteKind]:
    """The depth as it is written ("6", "50%") and the kind; SpecError as `validate_site`."""
    # Known to TransformerLens and outside of the blocks: told so, and not that it is misspelt.
    if site in [kind.name for kind in MODEL_SITES]:
        raise _not_readable(site, "0")
    match = BLOCK.fullmatch(site)
    if not match:
        raise SpecError(
            f"{site!r} is not a hook site",
            expected=FORM,
            seen=repr(site),
            near=nearest(site, _readable_at(_depth_in(site))),
        )
    depth = match["depth"]
    share = SHARE.fullmatch(depth)
    if not LAYER.fullmatch(depth) and not (share and Decimal(share[1]) <= 100):
        expected = "a layer counted from 0, or a depth from 0% to 100%"
        raise SpecError(f"{depth!r} is not a layer", expected=expected, seen=repr(site))
    kinds = {kind.name: kind for kind in BLOCK_SITES}
    name = match["kind"]
    if name not in kinds:
        raise SpecError(
            f"a block has no site {name!r}",
            expected="one of " + ", ".join(kind.name for kind in READABLE_SITES),
            seen=repr(site),
            near=nearest(site, _readable_at(depth)),
        )
    if not kinds[name].readable:
        raise _not_readable(site, depth)
    return depth, kinds[name]


def resolve_site(site: str, n_layers: int) -> str:
    """The site with its layer as a number, for a model of `n_layers` layers.

    A relative depth p% is the layer nearest to p% of `n_layers`, halves rounded up, and the last layer
    at most: of 30 layers, 0% is layer 0, 50% layer 15 and 100% layer 29.
    """
    depth, kind = split_site(site)
    layer = _layer(depth, n_layers)
    if layer >= n_layers:
        raise SpecError(
            f"the model has no layer {layer}",
            expected=f"a layer from 0 to {n_layers - 1}, or a depth as in blocks.50%.{kind.name}",
            seen=repr(site),
        )
    return f"blocks.{layer}.{kind.name}"


def resolve_sites(sites: Sequence[str], n_layers: int) -> list[str]:
    """Several sites, each as `resolve_site` has it; SpecError also where two of them are one place.

    50% and 53% are two layers of 30 and one of 12.
    """
    resolved = [resolve_site(site, n_layers) for site in sites]
    for i, site in enumerate(resolved):
        if site in resolved[:i]:
            written = f"{sites[resolved.index(site)]} and {sites[i]}, of {n_layers} layers both {site}"
            raise SpecError("a site is given twice", expected="different sites", seen=written)
    return resolved


def _layer(depth: str, n_layers: int) -> int:
    if not depth.endswith("%"):
        return int(depth)
    # In decimals: 29 % of 50 layers is 14.5, which binary floats put just below.
    exact = Decimal(depth[:-1]) * n_layers / 100
    return min(int(exact.to_integral_value(ROUND_HALF_UP)), n_layers - 1)


def _readable_at(depth: str) -> list[str]:
    return [f"blocks.{depth}.{kind.name}" for kind in READABLE_SITES]


def _not_readable(site: str, depth: str) -> SpecError:
    """For a place that TransformerLens names and the plain path does not hand out."""
    readable = _readable_at(depth)
    return SpecError(
        f"{site} is a site of TransformerLens that the engine does not read or replace",
        expected="one of " + ", ".join(readable),
        seen=repr(site),
        near=nearest(site, readable) or readable[:1],
    )


def _depth_in(site: str) -> str:
    """The layer that a misspelt site names, for suggestions."""
    found = re.search(r"[0-9]+%?", site)
    return found[0] if found else "0"
