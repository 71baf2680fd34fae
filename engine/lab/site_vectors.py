"""One vector per position at a hook site: read, or replaced by a function of it.

A site is given by name, its layer a number or a relative depth. All axes after the position are laid side by
side, so that `attn.hook_z` is "batch pos head*d_head".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.models.forward import read_activations
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
    names = {site_of(name, model.n_layers): name for name in sites}
    found = read_activations(model.path, model.embed(input_ids), list(names))
    # Heads and their widths side by side at hook_z; at the other sites there is nothing to flatten.
    return {names[site]: value.flatten(2) for site, value in found.items()}


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

    def splice(value: Tensor) -> Tensor:
        flat = value.flatten(2)
        new = f(flat[:, first_position:]).to(value.dtype)
        # Back in the site's own axes (heads apart at hook_z).
        return torch.cat((flat[:, :first_position], new), dim=1).view_as(value)

    run = model.forward(input_ids, edit={site_of(site, model.n_layers): splice})
    return model.unembed(run.resid)
