"""The forward pass along the plain path, stopped at a hook site or with something else spliced in there.

A site is a TransformerLens name, its layer a number or a relative depth. Six kinds can be read and replaced;
`attn.hook_z` is flattened to "batch pos head*d_head".
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.models.blocks import Resid, Span
from engine.models.hooked import HookedModel
from engine.models.sites import site_of
from engine.models.sites import width as site_width
from engine.spec.sites import READABLE_SITES

KINDS = tuple(kind.name for kind in READABLE_SITES)
Flat = Float[Tensor, "batch pos d"]


def readable_site(model: HookedModel, site: str) -> str:
    """The site with its layer as a number; SpecError where it cannot be read as one vector per position."""
    return str(site_of(site, model.n_layers))


def width(model: HookedModel, site: str) -> int:
    """How long the vectors at a site are."""
    return site_width(site_of(site, model.n_layers).kind, model.shape)


@torch.no_grad()
def activations_at(
    model: HookedModel, input_ids: Int[Tensor, "batch pos"], sites: Sequence[str]
) -> dict[str, Flat]:
    """What one forward has at each site (resolved names), computing nothing beyond the last of them.

    No attention mask is needed: texts are padded on the right, and no real position sees a later one.
    """
    found: dict[str, Tensor] = {}
    left = set(sites)

    def look(site: str, value: Tensor) -> Tensor | None:
        if site in left:
            found[site] = value
            left.remove(site)
        return value if left else None

    resid: Tensor | None = model.embed(input_ids)
    span = model.span(resid)
    for layer in range(model.n_layers):
        resid = _visited(model, layer, resid, span, look)
        if resid is None:
            break
    return found


@torch.no_grad()
def run_with_replacement(
    model: HookedModel,
    input_ids: Int[Tensor, "batch pos"],
    site: str,
    f: Callable[[Flat], Flat],
    *,
    first_position: int = 0,
) -> Float[Tensor, "batch pos vocab"]:
    """Logits of the forward in which the activations x at `site` are f(x); exact where f is the identity.

    Positions before `first_position` stay as they are: 1 where a context begins with a BOS that f knows
    nothing of.
    """
    wanted = readable_site(model, site)

    def splice(here: str, value: Tensor) -> Tensor:
        if here != wanted:
            return value
        new = f(value[:, first_position:]).to(value.dtype)
        return torch.cat((value[:, :first_position], new), dim=1) if first_position else new

    resid: Tensor | None = model.embed(input_ids)
    span = model.span(resid)
    for layer in range(model.n_layers):
        assert resid is not None
        resid = _visited(model, layer, resid, span, splice)
    assert resid is not None
    return model.unembed(resid)


def _visited(
    model: HookedModel, layer: int, resid: Tensor, span: Span, at: Callable[[str, Tensor], Tensor | None]
) -> Tensor | None:
    """The residual stream after a block in which each site's value is what `at` makes of it; None at once
    where that is None."""
    steps = _block(model, layer, resid, span)
    kind, value = next(steps)
    while True:
        given = at(f"blocks.{layer}.{kind}", value)
        if given is None:
            return None
        try:
            kind, value = steps.send(given)
        except StopIteration:
            return given


def _block(
    model: HookedModel, layer: int, resid: Resid, span: Span
) -> Generator[tuple[str, Tensor], Tensor, None]:
    """One block, site by site; goes on with whatever it is sent in place of each value."""
    resid = yield "hook_resid_pre", resid
    z = model.z(layer, resid, span)
    flat = yield "attn.hook_z", z.flatten(-2)
    attn_out = yield "hook_attn_out", model.attn_out(layer, flat.unflatten(-1, z.shape[-2:]))
    resid_mid = yield "hook_resid_mid", resid + attn_out
    mlp_out = yield "hook_mlp_out", model.mlp_out(layer, resid_mid)
    yield "hook_resid_post", resid_mid + mlp_out
