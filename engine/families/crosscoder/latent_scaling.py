"""Latent scaling: is a latent that a crosscoder keeps in one source only really absent from the other?

1. Run the crosscoder over held-out contexts; keep its errors by context and source.
2. For each latent take its direction in the source where it is largest. Sources of one basis, as the sites of
   one residual stream, take it over as it is. Into a source of another basis, another model's, a ridge
   regression of that source's activations on the own source's, over training rows, carries it; its length
   stays. Where nothing there goes with the latent, that leads nowhere in particular.
3. Fit, by least squares about the means, the factor with which that direction, as active as the latent is,
   explains each source's error (with the latent's own part put back) and each source's reconstruction.
4. Divide by the factor of its own source. A real exclusive has ratios near 0. A high ratio for the error: the
   concept is there and the crosscoder dropped it (complete shrinkage). A high ratio for the reconstruction:
   other latents write the same there (latent decoupling).

Source: Minder et al. 2025, "Robustly identifying concepts introduced during chat fine-tuning using
crosscoders", for sources of one basis and without the means; the carrying over is this project's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.lab.sparse.crosscoder import Batch, Crosscoder
from engine.lab.sparse.widths import by_source

RIDGE = 0.01  # of a source's mean variance


@dataclass(frozen=True)
class HeldOutSums:
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
    coder: Crosscoder,
    batches: Iterable[tuple[Batch, Int[Tensor, " batch"]]],
    n_contexts: int,
    probes: Float[Tensor, "latent width"],
) -> HeldOutSums:
    """Errors by context and latent scaling, over batches of rows and the context (from 0) of each row.

    For latent j, active as z_j, with d its direction in a source (`probes`, as `same_directions` or
    `carried_directions` make them), the least-squares factor of z_j d for a target y, both about their means,
    is d . cov(z_j, y) / (|d|^2 var(z_j)). The target is a source's reconstruction, or its error with the
    latent's own part put back.
    """
    (n, n_sources), widths = coder.norms.shape, coder.widths
    residual, total = (torch.zeros(n_contexts, n_sources) for _ in range(2))
    active, n_rows, fired = torch.zeros(n_contexts), torch.zeros(n_contexts), torch.zeros(n, dtype=torch.long)
    squares, errors, rebuilds = torch.zeros(n), torch.zeros_like(coder.dec), torch.zeros_like(coder.dec)
    sums = torch.zeros(n), torch.zeros_like(coder.b_dec), torch.zeros_like(coder.b_dec)
    for batch, contexts in batches:
        x, codes = coder.scaled(batch.float()), coder.encode(batch.float())
        rebuilt = codes @ coder.dec
        error = x - rebuilt - coder.b_dec
        residual.index_add_(0, contexts, by_source(error.square(), widths))
        total.index_add_(0, contexts, by_source(x.square(), widths))
        active.index_add_(0, contexts, (codes > 0).sum(dim=1).float())
        n_rows.index_add_(0, contexts, torch.ones(len(batch)))
        fired += (codes > 0).sum(dim=0)
        squares += codes.square().sum(dim=0)
        errors += codes.T @ error
        rebuilds += codes.T @ rebuilt
        for total_of, values in zip(sums, (codes, error, rebuilt), strict=True):
            total_of += values.sum(dim=0)
    mean = sums[0] / n_rows.sum()
    squares -= mean * sums[0]
    errors -= torch.outer(mean, sums[1])
    rebuilds -= torch.outer(mean, sums[2])
    weight = by_source(probes.square(), widths) * squares[:, None]
    errors += coder.dec * squares[:, None]
    by_error, by_rebuilt = (by_source(probes * part, widths) / weight for part in (errors, rebuilds))
    return HeldOutSums(residual, total, active, n_rows, fired, by_error, by_rebuilt)


def same_directions(coder: Crosscoder) -> Float[Tensor, "latent width"]:
    """Each latent's direction in its largest source, over again for each source: for sources of one basis."""
    own = torch.stack(coder.directions, dim=1)[torch.arange(len(coder.dec)), coder.norms.argmax(dim=1)]
    return own.repeat(1, len(coder.widths))


@torch.no_grad()
def carried_directions(coder: Crosscoder, rows: Batch) -> Float[Tensor, "latent width"]:
    """Each latent's direction in its largest source, and in each other one what goes with it, as long.

    What goes with a direction v of source s, in source t, is C_ts (C_ss + ridge)^-1 v, with C the covariance
    of `rows`, which should be other rows than those measured on.
    """
    x = coder.scaled(rows.float())
    covariance = torch.cov(x.T, correction=0)
    largest, probes, end = coder.norms.argmax(dim=1), torch.empty_like(coder.dec), 0
    for source, directions in enumerate(coder.directions):
        here = slice(end, end := end + coder.widths[source])
        mine, own = largest == source, covariance[here, here]
        regular = own + RIDGE * own.diagonal().mean() * torch.eye(len(own))
        probes[mine] = directions[mine] @ torch.linalg.solve(regular, covariance[here])
        probes[mine, here] = directions[mine]
    lengths = by_source(probes.square(), coder.widths).sqrt()
    gains = coder.norms.amax(dim=1, keepdim=True) / lengths.clamp_min(1e-12)
    return torch.cat([p * g[:, None] for p, g in zip(probes.split(coder.widths, 1), gains.T, strict=True)], 1)


def ratio_to_own(scale: Float[Tensor, "latent source"], own: Int[Tensor, " latent"]) -> Tensor:
    """The largest factor of another source over that of a latent's own: "latent", near 0 where exclusive."""
    places = torch.arange(len(scale))
    others = scale.clone()
    others[places, own] = -torch.inf
    return others.amax(dim=1) / scale[places, own]
