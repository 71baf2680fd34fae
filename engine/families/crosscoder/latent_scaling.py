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
    scaled units; `per_token` sums the share explained of each row, all sources together; `active` counts
    active latents over a context's rows. `error_scale` and `reconstruction_scale` are latent scaling's
    factors, for the direction of the source in which the latent is largest; NaN for a latent that never
    fired.
    """

    residual: Float[Tensor, "context source"]
    total: Float[Tensor, "context source"]
    per_token: Float[Tensor, " context"]
    active: Float[Tensor, " context"]
    n_rows: Float[Tensor, " context"]
    fired: Int[Tensor, " latent"]
    error_scale: Float[Tensor, "latent source"]
    reconstruction_scale: Float[Tensor, "latent source"]


@torch.no_grad()
def held_out(
    coder: Crosscoder,
    batches: Iterable[tuple[Float[Tensor, "_batch width"], Int[Tensor, " _batch"]]],
    n_contexts: int,
    probes: Float[Tensor, "latent width"],
) -> HeldOutSums:
    """Errors by context and latent scaling, over batches of rows and the context (from 0) of each row.

    For latent j, active as z_j, with d its direction in a source (`probes`, as `same_directions` or
    `carried_directions` make them), the least-squares factor of z_j d for a target y, both about their means,
    is d . cov(z_j, y) / (|d|^2 var(z_j)). The target is a source's reconstruction, or its error with the
    latent's own part put back.
    """
    n_latents, n_sources = coder.norms.shape
    widths = coder.widths
    # By context: squared errors and distances, active latents, rows.
    residual = torch.zeros(n_contexts, n_sources)
    total = torch.zeros(n_contexts, n_sources)
    per_token = torch.zeros(n_contexts)
    active = torch.zeros(n_contexts)
    n_rows = torch.zeros(n_contexts)
    fired = torch.zeros(n_latents, dtype=torch.long)
    # By latent, over all rows: sum of z_j^2, of z_j error and of z_j reconstruction; and the plain sums that
    # turn those second moments into covariances afterwards, so that one pass over the rows does.
    squares = torch.zeros(n_latents)
    errors = torch.zeros_like(coder.dec)
    rebuilds = torch.zeros_like(coder.dec)
    sum_of_codes = torch.zeros(n_latents)
    sum_of_errors = torch.zeros_like(coder.b_dec)
    sum_of_rebuilt = torch.zeros_like(coder.b_dec)
    for batch, contexts in batches:
        x = coder.scaled(batch.float())
        codes = coder.encode(batch.float())
        rebuilt = codes @ coder.dec  # without the bias: it is constant, and covariances do not see it
        error = x - rebuilt - coder.b_dec
        residual.index_add_(0, contexts, by_source(error.square(), widths))
        total.index_add_(0, contexts, by_source(x.square(), widths))
        per_token.index_add_(0, contexts, explained_by_row(x, error))
        active.index_add_(0, contexts, (codes > 0).sum(dim=1).float())
        n_rows.index_add_(0, contexts, torch.ones(len(batch)))
        fired += (codes > 0).sum(dim=0)
        squares += codes.square().sum(dim=0)
        errors += codes.T @ error
        rebuilds += codes.T @ rebuilt
        sum_of_codes += codes.sum(dim=0)
        sum_of_errors += error.sum(dim=0)
        sum_of_rebuilt += rebuilt.sum(dim=0)
    # n var(z_j) = sum z_j^2 - mean(z_j) sum z_j, and n cov(z_j, y) = sum z_j y - mean(z_j) sum y.
    mean = sum_of_codes / n_rows.sum()
    squares -= mean * sum_of_codes
    errors -= torch.outer(mean, sum_of_errors)
    rebuilds -= torch.outer(mean, sum_of_rebuilt)
    # The latent's own part put back: cov(z_j, error + z_j d_j) = cov(z_j, error) + var(z_j) d_j.
    errors += coder.dec * squares[:, None]
    # beta_j = d . cov(z_j, y) / (|d|^2 var(z_j)), source by source; n cancels, 0 / 0 is a latent that never
    # fired.
    weight = by_source(probes.square(), widths) * squares[:, None]
    return HeldOutSums(
        residual=residual,
        total=total,
        per_token=per_token,
        active=active,
        n_rows=n_rows,
        fired=fired,
        error_scale=by_source(probes * errors, widths) / weight,
        reconstruction_scale=by_source(probes * rebuilds, widths) / weight,
    )


def explained_by_row(x: Batch, error: Batch) -> Float[Tensor, " batch"]:
    """1 - |error|^2 / |x|^2 of each row of centred activations, all sources together."""
    # A row exactly at the mean has nothing to explain: the smallest positive divisor keeps it finite.
    total = x.square().sum(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
    return 1 - error.square().sum(dim=1) / total


def same_directions(coder: Crosscoder) -> Float[Tensor, "latent width"]:
    """Each latent's direction in its largest source, over again for each source: for sources of one basis."""
    by_place = torch.stack(coder.directions, dim=1)  # "latent source d"
    own = by_place[torch.arange(len(coder.dec)), coder.norms.argmax(dim=1)]
    return own.repeat(1, len(coder.widths))


@torch.no_grad()
def carried_directions(coder: Crosscoder, rows: Batch) -> Float[Tensor, "latent width"]:
    """Each latent's direction in its largest source, and in each other one what goes with it, as long.

    What goes with a direction v of source s, in source t, is C_ts (C_ss + ridge)^-1 v, with C the covariance
    of `rows`, which should be other rows than those measured on.
    """
    x = coder.scaled(rows.float())
    covariance = torch.cov(x.T, correction=0)  # of all sources at once: its blocks are C_st
    largest = coder.norms.argmax(dim=1)
    probes = torch.empty_like(coder.dec)
    start = 0
    for source, directions in enumerate(coder.directions):
        here = slice(start, start + coder.widths[source])
        start = here.stop
        mine = largest == source
        # (C_ss + ridge)^-1 C_s. for all targets t in one solve: the ridge keeps what hardly varies in the own
        # source from being blown up.
        own = covariance[here, here]
        regular = own + RIDGE * own.diagonal().mean() * torch.eye(len(own))
        probes[mine] = directions[mine] @ torch.linalg.solve(regular, covariance[here])
        probes[mine, here] = directions[
            mine
        ]  # in its own source the direction itself, not shrunk by the ridge
    # A regression shrinks where sources go together weakly. Only where the direction points matters for the
    # factor's numerator, its length for the units: so each keeps the latent's largest norm.
    lengths = by_source(probes.square(), coder.widths).sqrt()
    gains = coder.norms.amax(dim=1, keepdim=True) / lengths.clamp_min(1e-12)
    parts = zip(probes.split(coder.widths, dim=1), gains.T, strict=True)
    return torch.cat([part * gain[:, None] for part, gain in parts], dim=1)


def ratio_to_own(scale: Float[Tensor, "latent source"], own: Int[Tensor, " latent"]) -> Tensor:
    """The largest factor of another source over that of a latent's own: "latent", near 0 where exclusive."""
    places = torch.arange(len(scale))
    others = scale.clone()
    others[places, own] = -torch.inf  # of several sources, the one that has most of it decides
    return others.amax(dim=1) / scale[places, own]
