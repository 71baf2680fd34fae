"""Crosscoders: one dictionary whose latents have a decoder direction in each of several sources.

    z = f(sum over sources of (x_s - mean_s) scale_s W_enc_s + b_enc)       x'_s = z W_dec_s + b_dec_s

Sources are sites of one model or of several, each of a width of its own. A row has them side by side: its
`width` is the sum of theirs, and `widths` says where one ends.

1. Centre each source and scale all to one mean squared norm, the mean of their widths, so that they weigh the
   same whatever their width.
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

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine.errors import DataError
from engine.lab.sparse.coder import Codes, batch_largest, check_width, codes_at, unit_rows, weighted_sums
from engine.lab.sparse.gradients import auxiliary_codes, summed_by_latent
from engine.lab.sparse.schedule import (
    AUX_COEFFICIENT,
    first_rows,
    learning_rate,
    require_finite,
    require_whole,
)

THRESHOLD_RATE = 0.02

Batch = Float[Tensor, "batch width"]
Widths = tuple[int, ...]


@dataclass(frozen=True)
class Crosscoder:
    """Weights in scaled units; `scale` is the same over each source.

    `mean` and `scale` are of the activations as the model has them; `threshold` is on activations weighted
    by their decoder's norms.
    """

    enc: Float[Tensor, "latent width"]
    b_enc: Float[Tensor, " latent"]
    dec: Float[Tensor, "latent width"]
    b_dec: Float[Tensor, " width"]
    mean: Float[Tensor, " width"]
    scale: Float[Tensor, " width"]
    widths: Widths
    k: int
    threshold: float

    @property
    def directions(self) -> tuple[Float[Tensor, "latent d"], ...]:
        """Decoder directions in each source, in scaled units."""
        return self.dec.split(self.widths, dim=1)

    @property
    def norms(self) -> Float[Tensor, "latent source"]:
        return torch.stack([part.norm(dim=1) for part in self.directions], dim=1)

    def scaled(self, x: Batch) -> Batch:
        """Activations centred and scaled."""
        return (x - self.mean) * self.scale

    def encode(self, x: Batch) -> Float[Tensor, "batch latent"]:
        """Codes by the threshold, row by row."""
        codes = torch.addmm(self.b_enc, self.scaled(x), self.enc.T).relu_()
        return codes * (codes * self.norms.sum(dim=1) > self.threshold)

    def decode(self, codes: Float[Tensor, "batch latent"]) -> Batch:
        """Activations in the model's own scale."""
        return torch.addmm(self.b_dec, codes, self.dec) / self.scale + self.mean


@dataclass(frozen=True)
class Trained:
    """A crosscoder and its history: step, tokens, loss (squared error of a row), l0, dead, lr."""

    crosscoder: Crosscoder
    history: pd.DataFrame


def by_source(x: Float[Tensor, "row width"], widths: Widths) -> Float[Tensor, "row source"]:
    """The sum over each source."""
    return torch.stack([part.sum(dim=1) for part in x.split(widths, dim=1)], dim=1)


def over_source(values: Float[Tensor, " source"], widths: Widths) -> Float[Tensor, " width"]:
    """A source's value at each of its places."""
    return values.repeat_interleave(torch.tensor(widths))


def start(first: Batch, widths: Widths, n_features: int, k: int, seed: int) -> Crosscoder:
    """Random unit decoder rows with the encoder as their transpose, for activations like `first`.

    A row's length is expected to be the same in each source, so that none begins ahead.
    """
    one_width = sum(widths) / len(widths)
    mean = first.double().mean(dim=0)
    spread = by_source((first.double() - mean).square(), widths).mean(dim=0)
    scale = over_source((one_width / spread.clamp_min(1e-12)).sqrt(), widths)
    generator = torch.Generator().manual_seed(seed)
    even = over_source((one_width / torch.tensor(widths)).sqrt(), widths)
    dec = unit_rows(torch.randn(n_features, sum(widths), generator=generator) * even)
    zeros = torch.zeros(n_features), torch.zeros(sum(widths))
    return Crosscoder(dec.clone(), zeros[0], dec, zeros[1], mean.float(), scale.float(), widths, k, 0.0)


def train(
    batches: Iterable[Batch],
    widths: Widths,
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
    """A crosscoder from a stream of aligned activations, of sources of these widths.

    `k_aux` is half of the sources' mean width where not given. Raises DataError for k > n_features, where the
    stream is empty, too short or of another width, and for less than two sources; ResultError where the loss
    is no longer a number.
    """
    check_width(n_features, k)
    first, stream = first_rows(iter(batches), n_steps, lambda batch: checked(batch, widths))
    coder = start(first, widths, n_features, k, seed)
    near = k_aux or max(1, sum(widths) // (2 * len(widths)))
    weights = [coder.enc, coder.b_enc, coder.dec, coder.b_dec]
    adam = torch.optim.Adam(weights, lr=lr, betas=(0.9, 0.999), eps=1e-8, fused=True)
    silent, history, tokens, done = torch.zeros(n_features, dtype=torch.long), [], 0, 0
    for done, batch in enumerate(islice(stream, n_steps), 1):
        x, dead = coder.scaled(batch.float()), silent >= dead_after_tokens
        loss, kept, smallest, gradients = gradients_of(coder, x, dead, near)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        rate = learning_rate(lr, done - 1, n_steps)
        for group in adam.param_groups:
            group["lr"] = rate
        adam.step()
        known = smallest if done == 1 else coder.threshold
        coder = replace(coder, threshold=known + THRESHOLD_RATE * (smallest - known))
        tokens += len(batch)
        silent = torch.where(kept.fired() > 0, 0, silent + len(batch))
        if done % 16 == 1 or done == n_steps:
            require_finite(loss, done, lr)
            history.append((done, tokens, loss, len(kept.values) / len(batch), int(dead.sum()), rate))
            progress(done / n_steps, f"step {done:,} of {n_steps:,}")
    require_whole(done, n_steps)
    return Trained(coder, pd.DataFrame(history, columns=["step", "tokens", "loss", "l0", "dead", "lr"]))


def checked(batch: Batch, widths: Widths) -> Batch:
    """The batch in fp32; DataError where it does not hold two or more sources of these widths."""
    if batch.ndim == 2 and len(widths) > 1 and batch.shape[1] == sum(widths) and len(batch):
        return batch.float()
    seen = " x ".join(map(str, batch.shape))
    expected = f'"batch width", the width of two or more sources: {" + ".join(map(str, widths))}'
    raise DataError("a crosscoder reads several sources", expected=expected, seen=seen)


@torch.no_grad()
def keep_largest(coder: Crosscoder, before: Float[Tensor, "batch latent"]) -> tuple[Codes, float]:
    """BatchTopK: the k largest a row on average, by activation times the decoder's norms, positive only.

    Also the smallest product that was kept; 0 where none is positive.
    """
    lengths = coder.norms.sum(dim=1)
    kept = codes_at(batch_largest(before.relu() * lengths, coder.k), before)
    weighted = kept.values * lengths[kept.latents]
    return kept, weighted.min().item() if len(weighted) else 0.0


@torch.no_grad()
def gradients_of(
    coder: Crosscoder, x: Float[Tensor, "batch width"], dead: Bool[Tensor, " latent"], k_aux: int
) -> tuple[float, Codes, float, list[Tensor]]:
    """Loss of a scaled batch, what was kept and its smallest, and gradients of enc, b_enc, dec and b_dec."""
    before = torch.addmm(coder.b_enc, x, coder.enc.T)
    kept, smallest = keep_largest(coder, before)
    error = kept.times(coder.dec) + coder.b_dec - x
    upstream = error * (2 / len(x))
    wanted = kept.dots(upstream, coder.dec)
    order, starts = kept.by_latent()
    rows = kept.rows[order]
    gradients = [
        weighted_sums(rows, starts, wanted[order], x),
        summed_by_latent(kept, wanted),
        weighted_sums(rows, starts, kept.values[order], upstream),
        upstream.sum(dim=0),
    ]
    if dead.any():
        _add_auxiliary(coder, x, -error, before, dead, k_aux, gradients)
    return error.square().sum().item() / len(x), kept, smallest, gradients


def _add_auxiliary(coder, x, left_over, before, dead, k_aux: int, gradients: list[Tensor]) -> None:
    """What the k_aux dead latents of a row that come nearest to firing learn: to rebuild the error."""
    enc, b_enc, dec, _ = gradients
    places = dead.nonzero().flatten()
    near = auxiliary_codes(before[:, places], k_aux)
    upstream = (near @ coder.dec[places] - left_over) * (2 * AUX_COEFFICIENT / len(x))
    wanted = upstream @ coder.dec[places].T * (near > 0)
    dec.index_add_(0, places, near.T @ upstream)
    enc.index_add_(0, places, wanted.T @ x)
    b_enc.index_add_(0, places, wanted.sum(dim=0))
