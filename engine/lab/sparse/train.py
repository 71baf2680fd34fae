"""Training of Top-K and BatchTopK sparse autoencoders on any stream of activations, one or several seeds.

1. Scale the activations so that their mean squared norm is d; start the decoder's bias at their mean.
2. Start decoder rows as random unit vectors and the encoder as the decoder's transpose.
3. For each batch: loss and gradients (gradients.py), Adam, decoder rows back to norm 1. The learning rate
   warms up, stays, and falls to zero over the last fifth of the steps.
4. A latent that has not fired for `dead_after_tokens` tokens is dead until it fires, and learns from AuxK.
5. BatchTopK notes a running mean of the smallest activation that it kept: its threshold at inference.

Sources: Gao et al. 2024, arXiv 2406.04093 (Top-K, AuxK, initialisation); Bussmann et al. 2024, arXiv
2412.06410 (BatchTopK and its threshold).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.errors import DataError
from engine.lab.sparse.coder import Coder, Kind, check_width, unit_rows
from engine.lab.sparse.gradients import Objective, Step, Weights, step
from engine.lab.sparse.schedule import (
    AUX_COEFFICIENT,
    first_rows,
    learning_rate,
    require_finite,
    require_whole,
)

DEAD_AFTER_TOKENS = 10_000_000
THRESHOLD_RATE = 0.01


@dataclass(frozen=True)
class Recipe:
    """How long and how fast one coder is trained, and on what terms its latents count as dead."""

    objective: Objective
    lr: float
    n_steps: int
    dead_after_tokens: int

    def rate(self, n: int) -> float:
        """The learning rate of step n, from 0."""
        return learning_rate(self.lr, n, self.n_steps)


@dataclass(frozen=True)
class Trained:
    """A coder, what its training looked like, and when its latents fired.

    `history` has the columns step, tokens, loss (mean squared error of a row, in scaled units), aux_loss, l0,
    dead, lr. `fired` counts the rows that each latent was active on, of `n_tokens`; `silent_tokens` is how
    many have passed since it last was.
    """

    coder: Coder
    history: pd.DataFrame
    fired: Int[Tensor, " latent"]
    silent_tokens: Int[Tensor, " latent"]
    n_tokens: int
    seed: int


def train(
    batches: Iterable[Float[Tensor, "batch d"]],
    d: int,
    n_features: int,
    k: int,
    *,
    kind: Kind = "topk",
    lr: float = 1e-3,
    seed: int = 0,
    n_steps: int,
    aux_coefficient: float = AUX_COEFFICIENT,
    k_aux: int | None = None,
    dead_after_tokens: int = DEAD_AFTER_TOKENS,
    progress: Callable[..., None] | None = None,
) -> Trained:
    """One coder. DataError where batches are none, run out early or are not "batch d"."""
    return train_several(
        batches,
        d,
        n_features,
        k,
        seeds=[seed],
        kind=kind,
        lr=lr,
        n_steps=n_steps,
        aux_coefficient=aux_coefficient,
        k_aux=k_aux,
        dead_after_tokens=dead_after_tokens,
        progress=progress,
    )[0]


def train_several(
    batches: Iterable[Float[Tensor, "batch d"]],
    d: int,
    n_features: int,
    k: int,
    *,
    seeds: Sequence[int],
    kind: Kind = "topk",
    lr: float = 1e-3,
    n_steps: int,
    aux_coefficient: float = AUX_COEFFICIENT,
    k_aux: int | None = None,
    dead_after_tokens: int = DEAD_AFTER_TOKENS,
    progress: Callable[..., None] | None = None,
) -> list[Trained]:
    """A coder for each seed on the same stream, read once; each is what `train` makes of it alone.

    `k_aux` is d / 2 where not given. Raises DataError for batches that are none, run out or have another
    width, and for k > n_features; ResultError where the loss is no longer a number.
    """
    check_width(n_features, k)
    objective = Objective(kind, k, aux_coefficient, k_aux or max(1, d // 2))
    recipe = Recipe(objective, lr, n_steps, dead_after_tokens)
    first, stream = first_rows(iter(batches), n_steps, partial(_checked, d=d))
    scale = (d / first.double().square().sum(dim=1).mean().clamp_min(1e-12)).sqrt().item()
    mean = first.double().mean(dim=0).to(first.dtype) * scale
    runs = [Training.start(recipe, mean, n_features, seed, scale) for seed in seeds]
    done = 0
    for done, batch in enumerate(itertools.islice(stream, n_steps), 1):
        scaled = _checked(batch, d) * scale
        for run in runs:
            run.advance(scaled)
        if progress and (done % 16 == 0 or done == n_steps):
            progress(done / n_steps, f"training, step {done:,} of {n_steps:,}")
    require_whole(done, n_steps)
    return [run.finished() for run in runs]


def _checked(batch: Tensor, d: int) -> Tensor:
    if batch.ndim == 2 and batch.shape[1] == d and len(batch):
        return batch
    raise DataError(
        "activations of another shape", expected=f'"batch d" with d = {d}', seen=str(tuple(batch.shape))
    )


@dataclass
class Training:
    """One coder while it is trained."""

    recipe: Recipe
    weights: Weights
    adam: torch.optim.Adam
    scale: float
    seed: int
    fired: Tensor
    silent_tokens: Tensor
    n_steps: int = 0
    n_tokens: int = 0
    threshold: float | None = None
    history: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def start(cls, recipe: Recipe, mean: Tensor, n_features: int, seed: int, scale: float) -> Training:
        generator = torch.Generator().manual_seed(seed)  # on the CPU, so that devices start alike
        W_dec = unit_rows(torch.randn(n_features, len(mean), generator=generator).to(mean))
        weights = Weights(W_dec.clone(), W_dec, mean.new_zeros(n_features), mean.clone())
        adam = torch.optim.Adam(weights.all(), lr=recipe.lr, fused=True)
        counts = torch.zeros(n_features, dtype=torch.long, device=mean.device)
        return cls(recipe, weights, adam, scale, seed, counts, counts.clone())

    @torch.no_grad()
    def advance(self, x: Float[Tensor, "batch d"]) -> None:
        """One step on scaled activations."""
        seen = step(self.weights, x, self.recipe.objective, self.dead)
        rate = self.recipe.rate(self.n_steps)
        for group in self.adam.param_groups:
            group["lr"] = rate
        for weight, gradient in zip(self.weights.all(), seen.gradients.all(), strict=True):
            weight.grad = gradient
        self.adam.step()
        W_dec = self.weights.W_dec
        W_dec.div_(W_dec.norm(dim=1, keepdim=True))
        self._note(seen, len(x), rate)

    @property
    def dead(self) -> Tensor | None:
        """The dead latents, or None where there cannot be any yet."""
        limit = self.recipe.dead_after_tokens
        return self.silent_tokens >= limit if self.n_tokens >= limit else None

    def _note(self, seen: Step, rows: int, rate: float) -> None:
        fired = seen.codes.fired()
        self.fired += fired
        self.silent_tokens = torch.where(fired > 0, 0, self.silent_tokens + rows)
        self.n_steps += 1
        self.n_tokens += rows
        if self.recipe.objective.kind == "batchtopk" and len(seen.codes.values):
            smallest = float(seen.codes.values.min())
            before = smallest if self.threshold is None else self.threshold
            self.threshold = before + THRESHOLD_RATE * (smallest - before)
        every = max(1, self.recipe.n_steps // 100)
        if self.n_steps % every == 0 or self.n_steps in (1, self.recipe.n_steps):
            self._log(seen, rows, rate)

    def _log(self, seen: Step, rows: int, rate: float) -> None:
        loss = float(seen.squared_error)
        require_finite(loss, self.n_steps, self.recipe.lr)
        dead = int((self.silent_tokens >= self.recipe.dead_after_tokens).sum())
        tokens, l0 = self.n_tokens, len(seen.codes.values) / rows
        row = {"step": self.n_steps, "tokens": tokens, "loss": loss, "aux_loss": float(seen.aux_error)}
        self.history.append(row | {"l0": l0, "dead": dead, "lr": rate})

    def finished(self) -> Trained:
        objective, w = self.recipe.objective, self.weights
        W_dec = unit_rows(w.W_dec.detach())
        coder = Coder(
            w.W_enc.detach().T.contiguous(),
            w.b_enc.detach(),
            W_dec,
            w.b_dec.detach(),
            objective.kind,
            objective.k,
            self.threshold,
            self.scale,
        )
        history = pd.DataFrame(self.history)
        return Trained(coder, history, self.fired, self.silent_tokens, self.n_tokens, self.seed)
