"""Crosscoders: one dictionary whose latents have a decoder direction in each of several sources (layers).

    z = f(sum over sources of (x_s - mean_s) scale_s W_enc_s + b_enc)       x'_s = z W_dec_s + b_dec_s

1. Centre each source and scale it to mean squared norm d, so that all weigh the same.
2. BatchTopK: of a batch keep the k largest a row on average, where an activation counts as often as its
   latent's decoder is long, summed over sources. A running mean of the smallest kept is the threshold that
   a single row is encoded with.
3. The loss is the squared error summed over sources. Latents that have been silent for long learn from what
   the others left over (AuxK).
4. A latent's norm in a source, relative to its largest, says whether it is shared or exclusive;
   latent_scaling.py tells real exclusives from false ones.

Sources: Lindsey et al. 2024, "Sparse Crosscoders for Cross-Layer Features and Model Diffing"; Minder et al.
2025, "Robustly identifying concepts introduced during chat fine-tuning using crosscoders" (BatchTopK);
Gao et al. 2024 (AuxK). The gradients are those of autograd on the dense loss, made from active
latents only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from math import isfinite

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from engine.errors import DataError, ResultError, SpecError

AUX_COEFFICIENT = 1 / 32
WARM_UP, DECAY = 0.05, 0.2  # shares of all steps
THRESHOLD_RATE = 0.02
SCALED_ON_ROWS = 8192

Batch = Float[Tensor, "batch source d"]


@dataclass(frozen=True)
class Crosscoder:
    """Weights with sources side by side: `width` is source * d, in scaled units.

    `mean` and `scale` are of the activations as the model has them; `threshold` is on activations weighted
    by their decoder's norms.
    """

    enc: Float[Tensor, "latent width"]
    b_enc: Float[Tensor, " latent"]
    dec: Float[Tensor, "latent width"]
    b_dec: Float[Tensor, " width"]
    mean: Float[Tensor, "source d"]
    scale: Float[Tensor, " source"]
    k: int
    threshold: float

    @property
    def directions(self) -> Float[Tensor, "latent source d"]:
        """Decoder directions, in scaled units."""
        return self.dec.view(len(self.dec), *self.mean.shape)

    @property
    def norms(self) -> Float[Tensor, "latent source"]:
        return self.directions.norm(dim=2)

    def scaled(self, x: Batch) -> Float[Tensor, "batch width"]:
        """Activations centred, scaled, and sources side by side."""
        return ((x - self.mean) * self.scale[:, None]).flatten(1)

    def encode(self, x: Batch) -> Float[Tensor, "batch latent"]:
        """Codes by the threshold, row by row."""
        codes = torch.addmm(self.b_enc, self.scaled(x), self.enc.T).relu_()
        return codes * (codes * self.norms.sum(dim=1) > self.threshold)

    def decode(self, codes: Float[Tensor, "batch latent"]) -> Batch:
        """Activations in the model's own scale."""
        out = torch.addmm(self.b_dec, codes, self.dec).view(len(codes), *self.mean.shape)
        return out / self.scale[:, None] + self.mean


@dataclass(frozen=True)
class Active:
    """The kept entries of a batch, row by row: where they are, their activations, and the smallest kept."""

    rows: Int[Tensor, " entry"]
    latents: Int[Tensor, " entry"]
    values: Float[Tensor, " entry"]
    smallest: float


@dataclass(frozen=True)
class Trained:
    """A crosscoder and its history: step, tokens, loss (squared error of a row), l0, dead, lr."""

    crosscoder: Crosscoder
    history: pd.DataFrame


def start(first: Batch, n_features: int, k: int, seed: int) -> Crosscoder:
    """Random unit decoder rows with the encoder as their transpose, for activations like `first`."""
    _, n_sources, d = first.shape
    mean = first.double().mean(dim=0)
    spread = (first.double() - mean).square().sum(dim=2).mean(dim=0)
    scale = (d / spread.clamp_min(1e-12)).sqrt()
    generator = torch.Generator().manual_seed(seed)
    dec = torch.randn(n_features, n_sources * d, generator=generator)
    dec = dec / dec.norm(dim=1, keepdim=True)
    zeros = torch.zeros(n_features), torch.zeros(n_sources * d)
    return Crosscoder(dec.clone(), zeros[0], dec, zeros[1], mean.float(), scale.float(), k, 0.0)


def train(
    batches: Iterable[Batch],
    n_features: int,
    k: int,
    *,
    n_steps: int,
    lr: float = 1e-3,
    seed: int = 0,
    k_aux: int | None = None,
    dead_after_tokens: int = 100_000,
    progress: Callable[..., None] = lambda fraction, message="": None,
) -> Trained:
    """A crosscoder from a stream of aligned activations.

    `k_aux` is half of d where not given. Raises SpecError for k > n_features, DataError where the stream is
    empty, too short or has one source, ResultError where the loss is no longer a number.
    """
    if not 0 < k <= n_features:
        raise SpecError("k is not possible", expected=f"1 to n_features = {n_features:,}", seen=str(k))
    first, stream = _first_rows(iter(batches), n_steps)
    coder = start(first, n_features, k, seed)
    weights = [coder.enc, coder.b_enc, coder.dec, coder.b_dec]
    adam = torch.optim.Adam(weights, lr=lr, betas=(0.9, 0.999), eps=1e-8, fused=True)
    silent, history, tokens, step = torch.zeros(n_features, dtype=torch.long), [], 0, -1
    for step, batch in enumerate(islice(stream, n_steps)):
        x, dead = coder.scaled(batch.float()), silent >= dead_after_tokens
        loss, kept, gradients = gradients_of(coder, x, dead, k_aux or max(1, first.shape[2] // 2))
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        for group in adam.param_groups:
            group["lr"] = lr * _rate(step, n_steps)
        adam.step()
        known = kept.smallest if step == 0 else coder.threshold
        threshold = known + THRESHOLD_RATE * (kept.smallest - known)
        coder = replace(coder, threshold=threshold)
        tokens += len(batch)
        silent += len(batch)
        silent[kept.latents] = 0
        if step % 16 == 0 or step == n_steps - 1:
            _require_finite(loss, step, lr)
            dead_now, l0 = int(dead.sum()), len(kept.rows) / len(batch)
            history.append((step, tokens, loss, l0, dead_now, adam.param_groups[0]["lr"]))
            progress((step + 1) / n_steps, f"step {step + 1:,} of {n_steps:,}")
    if step + 1 < n_steps:
        raise DataError("the activations ran out", expected=f"{n_steps:,} batches", seen=f"{step + 1:,}")
    return Trained(coder, pd.DataFrame(history, columns=["step", "tokens", "loss", "l0", "dead", "lr"]))


def _rate(step: int, n_steps: int) -> float:
    warm_up, decay = max(1.0, WARM_UP * n_steps), max(1.0, DECAY * n_steps)
    return min(1.0, (step + 1) / warm_up, (n_steps - step) / decay)


def _require_finite(loss: float, step: int, lr: float) -> None:
    if not isfinite(loss):
        problem = f"the loss is not a number at step {step:,}"
        raise ResultError(problem, seen=f"lr {lr:g}", hint="a smaller lr")


def _first_rows(stream: Iterator[Batch], n_steps: int) -> tuple[Batch, Iterator[Batch]]:
    """Enough rows to see their scale, and the stream with those rows still in it."""
    held: list[Tensor] = []
    while len(held) < n_steps and sum(map(len, held)) < SCALED_ON_ROWS:
        if (batch := next(stream, None)) is None:
            break
        held.append(batch)
    if not held:
        raise DataError("there is nothing to train on", expected="at least one batch of activations")
    if held[0].ndim != 3 or held[0].shape[1] < 2:
        seen = " x ".join(map(str, held[0].shape))
        raise DataError("a crosscoder reads several sources", expected='"batch source d"', seen=seen)
    return torch.cat(held).float(), chain(held, stream)


@torch.no_grad()
def keep_largest(coder: Crosscoder, before: Float[Tensor, "batch latent"]) -> Active:
    """BatchTopK: the k largest a row on average, by activation times the decoder's norms, positive only."""
    weighted = before.relu() * coder.norms.sum(dim=1)
    largest, places = weighted.flatten().topk(len(before) * coder.k, sorted=False)
    places = places[largest > 0].sort().values
    rows, latents = places // before.shape[1], places % before.shape[1]
    positive = largest[largest > 0]
    smallest = positive.min().item() if len(positive) else 0.0
    return Active(rows, latents, before.flatten()[places], smallest)


@torch.no_grad()
def gradients_of(
    coder: Crosscoder, x: Float[Tensor, "batch width"], dead: Bool[Tensor, " latent"], k_aux: int
) -> tuple[float, Active, list[Tensor]]:
    """Loss of a scaled batch, what was kept, and the gradients of enc, b_enc, dec and b_dec."""
    before = torch.addmm(coder.b_enc, x, coder.enc.T)
    kept = keep_largest(coder, before)
    n, size = len(coder.enc), len(x)
    rebuilt = _sums(kept.rows, kept.latents, kept.values, coder.dec, size) + coder.b_dec
    error = rebuilt - x
    upstream = error * (2 / size)
    wanted = _dots(upstream, kept.rows, coder.dec, kept.latents)
    order = kept.latents.argsort(stable=True)
    rows, latents = kept.rows[order], kept.latents[order]
    dec = _sums(latents, rows, kept.values[order], upstream, n)
    enc = _sums(latents, rows, wanted[order], x, n)
    b_enc = torch.zeros_like(coder.b_enc).index_add_(0, kept.latents, wanted)
    gradients = [enc, b_enc, dec, upstream.sum(dim=0)]
    loss = error.square().sum().item() / size
    if dead.any():
        _add_auxiliary(coder, x, -error, before, dead, k_aux, gradients)
    return loss, kept, gradients


def _add_auxiliary(coder, x, left_over, before, dead, k_aux: int, gradients: list[Tensor]) -> None:
    """What the k_aux dead latents of a row that come nearest to firing learn: to rebuild the error."""
    enc, b_enc, dec, _ = gradients
    places = dead.nonzero().flatten()
    near = before[:, places].relu()
    if k_aux < len(places):
        near = near * (near >= near.topk(k_aux, dim=1).values[:, -1:])
    upstream = (near @ coder.dec[places] - left_over) * (2 * AUX_COEFFICIENT / len(x))
    wanted = upstream @ coder.dec[places].T * (near > 0)
    dec.index_add_(0, places, near.T @ upstream)
    enc.index_add_(0, places, wanted.T @ x)
    b_enc.index_add_(0, places, wanted.sum(dim=0))


def _sums(bags: Tensor, entries: Tensor, weights: Tensor, matrix: Tensor, n: int) -> Tensor:
    """For each of n bags the weighted sum of rows of a matrix; `bags` ascends."""
    offsets = torch.searchsorted(bags, torch.arange(n))
    return embedding_bag(entries, matrix, offsets, mode="sum", per_sample_weights=weights)


def _dots(one: Tensor, rows: Tensor, other: Tensor, latents: Tensor) -> Float[Tensor, " entry"]:
    """The product of a row of one with a row of the other, entry by entry; `rows` ascends.

    Row by row, because the gathered rows then stay in cache: three times as fast as all at once.
    """
    counts = torch.bincount(rows, minlength=len(one)).tolist()
    return torch.cat([other[j] @ row for row, j in zip(one, latents.split(counts), strict=True)])
