"""Training of Top-K and BatchTopK sparse autoencoders on any stream of activations, one or several seeds.

1. Scale the activations so that their mean squared norm is d, which makes learning rates transfer between
   sites.
2. Start the decoder's bias at their mean, so that latents need not learn it; train (trainer.py).

Sources: Gao et al. 2024, arXiv 2406.04093 (Top-K, initialisation); Bussmann et al. 2024, arXiv 2412.06410
(BatchTopK).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from engine.errors import DataError
from engine.lab.sparse.architectures.by_name import ArchitectureName
from engine.lab.sparse.coder import Coder, check_width, unit_rows
from engine.lab.sparse.gradients import AUX_COEFFICIENT, Objective, default_k_aux
from engine.lab.sparse.trainer import (
    Checkpoint,
    Recipe,
    Training,
    TrainingOutcome,
    first_rows,
    starting_weights,
    take_steps,
)

DEAD_AFTER_TOKENS = 10_000_000
"""Gao et al. 2024; shorter trainings take a tenth of their tokens."""
COLUMNS = ["step", "tokens", "loss", "aux_loss", "l0", "dead", "lr"]
"""Of an autoencoder's history."""


def train(
    batches: Iterable[Float[Tensor, "_batch d"]],
    d: int,
    n_features: int,
    k: int,
    *,
    architecture: ArchitectureName = "topk",
    lr: float = 1e-3,
    seed: int = 0,
    n_steps: int,
    aux_coefficient: float = AUX_COEFFICIENT,
    k_aux: int | None = None,
    dead_after_tokens: int = DEAD_AFTER_TOKENS,
    checkpoint_steps: Collection[int] = (),
    progress: Callable[..., None] | None = None,
) -> TrainingOutcome[Coder]:
    """One coder. DataError where batches are none, run out early or are not "batch d"."""
    return train_several(
        batches,
        d,
        n_features,
        k,
        seeds=[seed],
        architecture=architecture,
        lr=lr,
        n_steps=n_steps,
        aux_coefficient=aux_coefficient,
        k_aux=k_aux,
        dead_after_tokens=dead_after_tokens,
        checkpoint_steps=checkpoint_steps,
        progress=progress,
    )[0]


def train_several(
    batches: Iterable[Float[Tensor, "_batch d"]],
    d: int,
    n_features: int,
    k: int,
    *,
    seeds: Sequence[int],
    architecture: ArchitectureName = "topk",
    lr: float = 1e-3,
    n_steps: int,
    aux_coefficient: float = AUX_COEFFICIENT,
    k_aux: int | None = None,
    dead_after_tokens: int = DEAD_AFTER_TOKENS,
    checkpoint_steps: Collection[int] = (),
    progress: Callable[..., None] | None = None,
) -> list[TrainingOutcome[Coder]]:
    """A coder for each seed on the same stream, read once; each is what `train` makes of it alone.

    Each is also kept as it stands after the `checkpoint_steps`, counted from 1. `k_aux` is d / 2 where not
    given. Raises DataError for batches that are none, run out or have another width, and for k > n_features;
    ResultError where the loss is no longer a number.
    """
    check_width(n_features, k)
    # One source: decoder rows of norm 1, and b_dec taken from the input.
    objective = Objective(architecture, k, (d,), k_aux or default_k_aux((d,)), aux_coefficient)
    # Some hundred rows of history whatever the number of steps.
    every = max(1, n_steps // 100)
    noted = frozenset(range(every, n_steps + 1, every))
    recipe = Recipe(objective, lr, n_steps, dead_after_tokens, noted_steps=noted)

    def checked(batch: Tensor) -> Tensor:
        return checked_batch(batch, d)

    # Step 1: in double precision, for the sum of squares of massive activations.
    first, stream = first_rows(iter(batches), n_steps, checked)
    # scale^2 E|x|^2 = d; activations that are all 0 do not divide by it.
    scale = (d / first.double().square().sum(dim=1).mean().clamp_min(1e-12)).sqrt().item()
    # Step 2.
    mean = first.double().mean(dim=0).to(first.dtype) * scale
    trainings = [Training.start(recipe, mean, n_features, seed) for seed in seeds]
    kept: dict[int, list[Checkpoint[Coder]]] = {seed: [] for seed in seeds}

    def keep(training: Training) -> None:
        n = training.n_steps
        if n in checkpoint_steps:
            now = coder_now(training, scale)
            kept[training.seed].append(Checkpoint(now, n, training.n_tokens, recipe.rate(n - 1)))

    take_steps(trainings, stream, lambda batch: checked(batch) * scale, progress, keep)
    return [replace(finished(t, scale), checkpoints=tuple(kept[t.seed])) for t in trainings]


def starting_directions(n_features: int, d: int, seed: int) -> Float[Tensor, "latent d"]:
    """The decoder rows that a training of one source starts from; they depend on nothing but the seed."""
    return starting_weights(n_features, (d,), torch.zeros(d), seed).W_dec


def finished(training: Training, scale: float) -> TrainingOutcome[Coder]:
    """The coder of a training that has ended, and what its training looked like."""
    outcome = training.outcome(coder_now(training, scale))
    return replace(outcome, history=outcome.history[COLUMNS])


def coder_now(training: Training, scale: float) -> Coder:
    """The coder of a training, for activations as they were before they were multiplied with `scale`."""
    weights = training.weights
    objective = training.recipe.objective
    return Coder(
        # Trained latent by latent, used "d latent". All of them copies: the training may go on.
        W_enc=weights.W_enc.detach().T.contiguous(),
        b_enc=weights.b_enc.detach().clone(),
        W_dec=unit_rows(weights.W_dec.detach()),
        b_dec=weights.b_dec.detach().clone(),
        architecture=objective.architecture,
        k=objective.k,
        threshold=training.threshold,
        scale=scale,
    )


def checked_batch(batch: Float[Tensor, ...], d: int) -> Float[Tensor, "batch d"]:
    """The batch; DataError where it is not "batch d"."""
    if batch.ndim == 2 and batch.shape[1] == d and len(batch):
        return batch
    raise DataError(
        "activations of another shape", expected=f'"batch d" with d = {d}', seen=str(tuple(batch.shape))
    )
