"""Latent scaling: is a latent that a crosscoder keeps in one source only really absent from the other?

1. Run the crosscoder over held-out contexts; keep its errors by context and source.
2. For each latent take its direction in the source where it is largest. Fit, by least squares, the factor
   with which that direction, as active as the latent is, explains each source's error (with the latent's own
   part put back) and each source's reconstruction.
3. Divide by the factor of its own source. A real exclusive has ratios near 0. A high ratio for the error: the
   concept is there and the crosscoder dropped it (complete shrinkage). A high ratio for the reconstruction:
   other latents write the same there (latent decoupling).

Source: Minder et al. 2025, "Robustly identifying concepts introduced during chat fine-tuning using
crosscoders". Directions are compared across sources, so all have one basis, as a residual stream has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.lab.sparse.crosscoder import Batch, Crosscoder


@dataclass(frozen=True)
class Held:
    """What a crosscoder does on held-out contexts.

    `residual` and `total` are sums of squared errors and of squared distances from the training mean, in
    scaled units; `active` counts active latents over a context's rows. `error_scale` and
    `reconstruction_scale` are latent scaling's factors, for the direction of the source in which the latent
    is largest; NaN for a latent that never fired.
    """

    residual: Float[Tensor, "context source"]
    total: Float[Tensor, "context source"]
    active: Float[Tensor, " context"]
    n_rows: Float[Tensor, " context"]
    fired: Int[Tensor, " latent"]
    error_scale: Float[Tensor, "latent source"]
    reconstruction_scale: Float[Tensor, "latent source"]


@torch.no_grad()
def held_out(
    coder: Crosscoder, batches: Iterable[tuple[Batch, Int[Tensor, " batch"]]], n_contexts: int
) -> Held:
    """Errors by context and latent scaling, over batches of rows and the context (from 0) of each row.

    For latent j, active as z_j, with d its direction in its largest source, the least-squares factor of z_j d
    for a target y is d . sum(z_j y) / (|d|^2 sum(z_j^2)). The target is a source's reconstruction without its
    bias, or its error with the latent's own part put back.
    """
    (n, n_sources), d = coder.norms.shape, coder.mean.shape[1]
    residual, total = (torch.zeros(n_contexts, n_sources) for _ in range(2))
    active, n_rows, fired = torch.zeros(n_contexts), torch.zeros(n_contexts), torch.zeros(n, dtype=torch.long)
    squares, errors, rebuilds = torch.zeros(n), torch.zeros_like(coder.dec), torch.zeros_like(coder.dec)
    for batch, contexts in batches:
        x, codes = coder.scaled(batch.float()), coder.encode(batch.float())
        rebuilt = codes @ coder.dec
        error = x - rebuilt - coder.b_dec
        residual.index_add_(0, contexts, error.view(-1, n_sources, d).square().sum(dim=2))
        total.index_add_(0, contexts, x.view(-1, n_sources, d).square().sum(dim=2))
        active.index_add_(0, contexts, (codes > 0).sum(dim=1).float())
        n_rows.index_add_(0, contexts, torch.ones(len(batch)))
        fired += (codes > 0).sum(dim=0)
        squares += codes.square().sum(dim=0)
        errors += codes.T @ error
        rebuilds += codes.T @ rebuilt
    own = coder.directions[torch.arange(n), coder.norms.argmax(dim=1)]
    weight = (own.square().sum(dim=1) * squares)[:, None]
    put_back = torch.einsum("nd,nsd->ns", own, coder.directions) * squares[:, None]
    by_error, by_rebuilt = (
        torch.einsum("nd,nsd->ns", own, part.view(n, n_sources, d)) for part in (errors, rebuilds)
    )
    return Held(residual, total, active, n_rows, fired, (by_error + put_back) / weight, by_rebuilt / weight)


def ratio_to_own(scale: Float[Tensor, "latent source"], own: Int[Tensor, " latent"]) -> Tensor:
    """The largest factor of another source over that of a latent's own: "latent", near 0 where exclusive."""
    places = torch.arange(len(scale))
    others = scale.clone()
    others[places, own] = -torch.inf
    return others.amax(dim=1) / scale[places, own]
