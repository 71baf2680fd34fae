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
   latent scaling (engine/families/crosscoder) tells real exclusives from false ones.

Sources: Lindsey et al. 2024, "Sparse Crosscoders for Cross-Layer Features and Model Diffing"; Minder et al.
2025, "Robustly identifying concepts introduced during chat fine-tuning using crosscoders" (BatchTopK);
Gao et al. 2024 (AuxK). Steps 2 and 3 are the trainer's of every dictionary (trainer.py, gradients.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from engine.errors import DataError
from engine.lab.sparse.coder import check_width
from engine.lab.sparse.gradients import Objective, default_k_aux
from engine.lab.sparse.trainer import (
    Recipe,
    Training,
    TrainingOutcome,
    first_rows,
    starting_weights,
    take_steps,
)
from engine.lab.sparse.widths import Widths, by_source, mean_width, norms_by_source, over_source

THRESHOLD_RATE = 0.02
NOTED_EVERY = 16  # steps, from the first

Batch = Float[Tensor, "batch width"]


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
    def directions(self) -> tuple[Float[Tensor, "latent _d"], ...]:
        """Decoder directions in each source, in scaled units."""
        return self.dec.split(self.widths, dim=1)

    @property
    def norms(self) -> Float[Tensor, "latent source"]:
        """How long a latent's direction is in each source."""
        return norms_by_source(self.dec, self.widths)

    def scaled(self, x: Batch) -> Batch:
        """Activations centred and scaled."""
        return (x - self.mean) * self.scale

    def encode(self, x: Batch) -> Float[Tensor, "batch latent"]:
        """Codes by the threshold on activation times decoder length, row by row."""
        codes = torch.addmm(self.b_enc, self.scaled(x), self.enc.T).relu_()
        # As in training, what counts is how much of the output an activation makes, z_j times the sum of
        # |d_j,s| over sources; what is kept keeps its own value.
        return codes * (codes * self.norms.sum(dim=1) > self.threshold)

    def decode(self, codes: Float[Tensor, "batch latent"]) -> Batch:
        """Activations in the model's own scale."""
        # The inverse of `scaled`: scale first, then the mean.
        return torch.addmm(self.b_dec, codes, self.dec) / self.scale + self.mean


def start(first: Batch, widths: Widths, n_features: int, k: int, seed: int) -> Crosscoder:
    """Random directions, for activations like `first`, which say their mean and scale."""
    # Step 1, in double precision: sums of squares of massive activations. Centred by a fixed mean, since a
    # learned bias that is taken from every source's input would have to be found again for each.
    mean = first.double().mean(dim=0)
    spread = by_source((first.double() - mean).square(), widths).mean(dim=0)
    # scale_s^2 E|x_s - mean_s|^2 = the mean width, for every source s. A constant source stays at 0 and does
    # not divide by it.
    scale = over_source((mean_width(widths) / spread.clamp_min(1e-12)).sqrt(), widths)
    # The bias starts at zero, since the activations are centred already.
    weights = starting_weights(n_features, widths, torch.zeros(sum(widths)), seed)
    return Crosscoder(
        enc=weights.W_enc,
        b_enc=weights.b_enc,
        dec=weights.W_dec,
        b_dec=weights.b_dec,
        mean=mean.float(),
        scale=scale.float(),
        widths=widths,
        k=k,
        # Until training has seen a batch: whatever is positive is active.
        threshold=0.0,
    )


def train(
    batches: Iterable[Float[Tensor, "_batch width"]],
    widths: Widths,
    n_features: int,
    k: int,
    *,
    n_steps: int,
    lr: float = 1e-3,
    seed: int = 0,
    k_aux: int | None = None,
    dead_after_tokens: int = 100_000,
    progress: Callable[..., None] | None = None,
) -> TrainingOutcome[Crosscoder]:
    """A crosscoder from a stream of aligned activations, of sources of these widths.

    `k_aux` is half of the sources' mean width where not given. Raises DataError for k > n_features, where the
    stream is empty, too short or of another width, and for less than two sources; ResultError where the loss
    is no longer a number.
    """
    check_width(n_features, k)
    # Steps 2 and 3: with several widths, decoder rows stay free and weigh in the selection.
    objective = Objective("batchtopk", k, widths, k_aux or default_k_aux(widths))
    noted = frozenset(range(1, n_steps + 1, NOTED_EVERY))
    recipe = Recipe(objective, lr, n_steps, dead_after_tokens, THRESHOLD_RATE, noted)

    def checked(batch: Tensor) -> Tensor:
        return checked_batch(batch, widths)

    first, stream = first_rows(iter(batches), n_steps, checked)
    coder = start(first, widths, n_features, k, seed)
    training = Training.start(recipe, coder.b_dec, n_features, seed)
    take_steps([training], stream, lambda batch: coder.scaled(checked(batch)), progress)
    weights = training.weights
    return training.outcome(
        replace(
            coder,
            enc=weights.W_enc,
            b_enc=weights.b_enc,
            dec=weights.W_dec,
            b_dec=weights.b_dec,
            threshold=training.threshold or 0.0,
        )
    )


def checked_batch(batch: Float[Tensor, ...], widths: Widths) -> Batch:
    """The batch in fp32; DataError where it does not hold two or more sources of these widths."""
    if batch.ndim == 2 and len(widths) > 1 and batch.shape[1] == sum(widths) and len(batch):
        # The weights are fp32, and torch multiplies no mixed dtypes.
        return batch.float()
    seen = " x ".join(map(str, batch.shape))
    expected = f'"batch width", the width of two or more sources: {" + ".join(map(str, widths))}'
    raise DataError("a crosscoder reads several sources", expected=expected, seen=seen)
