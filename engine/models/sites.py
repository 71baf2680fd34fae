"""A hook site of a given model, as a value.

The kinds of site are listed once, in `engine.spec.sites`. Within the models and the lab a site travels as a
`Site`; its text is TransformerLens's name, which is what specs, ledgers and files hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.models.known import ModelShape
from engine.spec.sites import SiteKind, resolve_site, split_site


@dataclass(frozen=True)
class Site:
    """A kind of place in one block."""

    layer: int
    kind: SiteKind

    def __str__(self) -> str:
        return f"blocks.{self.layer}.{self.kind.name}"


def site_of(name: str, n_layers: int) -> Site:
    """The site that a spec names, in a model of `n_layers` layers; a relative depth becomes a layer.

    SpecError, with the sites that can be read, where it is none of them or the model has no such layer.
    """
    layer, kind = split_site(resolve_site(name, n_layers))
    return Site(int(layer), kind)


def width(kind: SiteKind, shape: ModelShape) -> int:
    """How long the vectors of a site are, with all axes after the position laid side by side."""
    sizes = {
        "d_model": shape.d_model,
        "head": shape.n_heads,
        "d_head": shape.d_head,
        "d_mlp": shape.d_mlp,
    }
    return math.prod(sizes[axis] for axis in kind.axes.removeprefix("batch pos ").split())
