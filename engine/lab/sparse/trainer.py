"""The training of every sparse dictionary, of one or several sources: schedule, Adam, dead latents.

1. Start decoder rows as random directions and the encoder as the decoder's transpose.
2. For each batch: loss and gradients (gradients.py), then Adam. The learning rate warms up, stays, and falls
   to zero over the last fifth of the steps. Decoder rows of one source go back to norm 1.
3. A latent that has not fired for `dead_after_tokens` tokens is dead until it fires, and learns from AuxK.
4. BatchTopK notes a running mean of the smallest activation that it kept: its threshold at inference.

What is trained on is scaled beforehand: by autoencoder.py for one source, by crosscoder.py for several.
Sources: Gao et al. 2024, arXiv 2406.04093 (initialisation, AuxK); Bussmann et al. 2024, arXiv 2412.06410
(the threshold).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from math import isfinite
from typing import Generic, TypeVar

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.optim.adam import adam as fused_adam

from engine.errors import DataError, ResultError
from engine.lab.sparse.architectures import batchtopk
from engine.lab.sparse.coder import unit_rows
from engine.lab.sparse.gradients import Objective, Step, Weights, step
from engine.lab.sparse.widths import Widths, mean_width, over_source

WARM_UP = 0.05
"""Share of the steps over which the learning rate rises."""
LONGEST_WARM_UP = 1000
"""Steps that it rises over at most, as in dictionary_learning: early checkpoints of a long training would
else be those of a schedule."""
DECAY = 0.2
"""Share of the steps over which it falls to zero."""
SCALED_ON_ROWS = 16_384
"""Activations that scale and mean are taken from, at least, where there are as many."""
PROGRESS_EVERY = 16
"""Steps between two words on how far training is."""

AnyCoder = TypeVar("AnyCoder")


@dataclass(frozen=True)
class Recipe:
    """How long and how fast one dictionary is trained, and on what terms its latents count as dead.

    `threshold_rate` is how far BatchTopK's threshold moves at each step; `noted_steps`, from 1, are those
    that the history has, besides the first and the last one.
    """

    objective: Objective
    lr: float
    n_steps: int
    dead_after_tokens: int
    threshold_rate: float = 0.01
    noted_steps: frozenset[int] = frozenset()

    def rate(self, n: int) -> float:
        """The learning rate of step n, from 0."""
        warm_up = max(1.0, min(WARM_UP * self.n_steps, LONGEST_WARM_UP))
        decay = max(1.0, DECAY * self.n_steps)
        # Three lines of which the lowest holds: up from 1 / warm-up, 1, and down to 1 / decay at the last
        # step.
        return self.lr * min(1.0, (n + 1) / warm_up, (self.n_steps - n) / decay)


@dataclass(frozen=True)
class Checkpoint(Generic[AnyCoder]):
    """A dictionary as it stood after some steps, which took `tokens` rows; `lr` is the rate of the last."""

    coder: AnyCoder
    step: int
    tokens: int
    lr: float


@dataclass(frozen=True)
class TrainingOutcome(Generic[AnyCoder]):
    """A dictionary, what its training looked like, and when its latents fired.

    `history` has the columns step, tokens, loss (mean squared error of a row, in scaled units), aux_loss, l0,
    dead (after the step), aux_latents (those that AuxK moved in it) and lr. `fired` counts the rows that each
    latent was active on, of `n_tokens`; `silent_tokens` is how many have passed since it last was.
    `checkpoints` are those that were asked for, by step.
    """

    coder: AnyCoder
    history: pd.DataFrame
    fired: Int[Tensor, " latent"]
    silent_tokens: Int[Tensor, " latent"]
    n_tokens: int
    seed: int
    checkpoints: tuple[Checkpoint[AnyCoder], ...] = ()


def starting_weights(n_features: int, widths: Widths, b_dec: Float[Tensor, " width"], seed: int) -> Weights:
    """Random unit decoder rows with the encoder as their transpose, and the decoder's bias as given.

    A row's length is expected to be the same in each source, so that none begins ahead. Dtype and device are
    those of `b_dec`.
    """
    generator = torch.Generator().manual_seed(seed)  # on the CPU, so that devices start alike
    # Normal values of variance mean width / own width sum to one expected squared norm in every source.
    spread = over_source((mean_width(widths) / torch.tensor(widths)).sqrt(), widths)
    # Drawn in fp32 and moved after, so that a seed means the same start for every dtype.
    drawn = torch.randn(n_features, sum(widths), generator=generator) * spread
    W_dec = unit_rows(drawn.to(b_dec))
    # An encoder that starts as the decoder's transpose leaves fewer latents dead (Gao et al. 2024, section
    # 2.4). A clone, since the two are trained apart from here on.
    return Weights(W_dec.clone(), W_dec, b_dec.new_zeros(n_features), b_dec.clone())


@dataclass(frozen=True)
class Adam:
    """The optimiser (Kingma & Ba 2015), torch's fused kernel: one pass over each weight and its moments,
    which are the most memory that a step touches.

    Not `torch.optim.Adam`: its constructor imports torch's compiler, which nothing here uses and which takes
    80 MB and a second in every process that trains; and it leaves a step's gradients at the weights, where
    they stay until the next ones are there beside them.
    """

    weights: list[Tensor]
    means: list[Tensor]  # moving means of the gradients
    squares: list[Tensor]  # and of their squares
    steps: list[Tensor]

    @classmethod
    def of(cls, weights: list[Tensor]) -> Adam:
        """Before the first step: both moments 0."""
        means = [torch.zeros_like(weight) for weight in weights]
        squares = [torch.zeros_like(weight) for weight in weights]
        # The kernel counts each weight's steps itself, on its device and in fp32.
        steps = [torch.zeros((), dtype=torch.float32, device=weight.device) for weight in weights]
        return cls(weights, means, squares, steps)

    def step(self, gradients: list[Tensor], lr: float) -> None:
        """Move the weights, in place."""
        fused_adam(
            self.weights,
            gradients,
            self.means,
            self.squares,
            [],  # the largest squares so far, which AMSGrad alone keeps
            self.steps,
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=lr,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )


@dataclass
class Training:
    """One dictionary while it is trained."""

    recipe: Recipe
    weights: Weights
    adam: Adam
    seed: int
    fired: Int[Tensor, " latent"]
    silent_tokens: Int[Tensor, " latent"]
    n_steps: int = 0
    n_tokens: int = 0
    threshold: float | None = None
    history: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def start(cls, recipe: Recipe, b_dec: Float[Tensor, " width"], n_features: int, seed: int) -> Training:
        """Before the first step; `b_dec` is where the decoder's bias starts, in scaled units."""
        weights = starting_weights(n_features, recipe.objective.widths, b_dec, seed)
        adam = Adam.of(weights.all())
        never = torch.zeros(n_features, dtype=torch.long, device=b_dec.device)
        # Every latent starts as if it had just fired: none is dead before `dead_after_tokens` tokens have
        # passed.
        return cls(recipe, weights, adam, seed, never, never.clone())

    @torch.no_grad()
    def advance(self, x: Float[Tensor, "batch width"]) -> None:
        """One step on scaled activations."""
        dead = self.dead  # before the step: those that AuxK is to revive in it
        # Step 2: loss and gradients.
        done = step(self.weights, x, self.recipe.objective, dead)
        rate = self.recipe.rate(self.n_steps)
        self.adam.step(done.gradients.all(), rate)
        if self.recipe.objective.one_source:
            # With free norms, shrinking codes and growing rows would be the same function, and dots with
            # decoder rows no cosines. A crosscoder's norms say which source has the latent: they stay free.
            W_dec = self.weights.W_dec
            W_dec.div_(W_dec.norm(dim=1, keepdim=True))
        self._count(done, len(x))
        # After the counting, so that the noted step is the number of steps done.
        if self.n_steps in (1, self.recipe.n_steps) or self.n_steps in self.recipe.noted_steps:
            self._note(done, len(x), rate, 0 if dead is None else int(dead.sum()))

    @property
    def dead(self) -> Tensor | None:
        """The dead latents, or None where there cannot be any yet, which saves looking."""
        limit = self.recipe.dead_after_tokens
        # Step 3. No latent can have been silent for longer than training has lasted.
        return self.silent_tokens >= limit if self.n_tokens >= limit else None

    def _count(self, done: Step, rows: int) -> None:
        """Steps, tokens, when latents fired, and BatchTopK's threshold."""
        fired = done.codes.fired()
        self.fired += fired
        # Counted in tokens, as Gao et al. do, so that the limit means the same for any batch size.
        self.silent_tokens = torch.where(fired > 0, 0, self.silent_tokens + rows)
        self.n_steps += 1
        self.n_tokens += rows
        # Step 4. Top-K has no threshold, and a batch without a positive activation has no smallest one.
        if done.smallest is not None:
            self.threshold = batchtopk.moved(self.threshold, done.smallest, self.recipe.threshold_rate)

    def _note(self, done: Step, rows: int, rate: float, aux_latents: int) -> None:
        """A row of the history; ResultError where the loss is no longer a number."""
        loss = float(done.squared_error)  # only here: on a device it waits for the step to end
        if not isfinite(loss):
            raise ResultError(
                f"training lost its numbers at step {self.n_steps}",
                expected="a finite loss",
                seen=repr(loss),
                hint=f"a learning rate below {self.recipe.lr:g}",
            )
        self.history.append(
            {
                "step": self.n_steps,
                "tokens": self.n_tokens,
                "loss": loss,
                "aux_loss": float(done.aux_error),
                "l0": len(done.codes.values) / rows,
                "dead": int((self.silent_tokens >= self.recipe.dead_after_tokens).sum()),
                "aux_latents": aux_latents,
                "lr": rate,
            }
        )

    def outcome(self, coder: AnyCoder) -> TrainingOutcome[AnyCoder]:
        """What is known once `coder` was made of the weights."""
        history = pd.DataFrame(self.history)
        return TrainingOutcome(coder, history, self.fired, self.silent_tokens, self.n_tokens, self.seed)


def take_steps(
    trainings: Sequence[Training],
    stream: Iterable[Float[Tensor, "_batch width"]],
    scaled: Callable[[Tensor], Tensor],
    progress: Callable[..., None] | None = None,
    after_step: Callable[[Training], None] = lambda training: None,
) -> None:
    """All steps of one or several trainings on one stream, read once; `scaled` checks a batch and scales it.

    `after_step` is shown each training after each of its steps. Raises DataError where the stream ends before
    the steps do.
    """
    n_steps = trainings[0].recipe.n_steps
    done = 0
    for done, batch in enumerate(islice(stream, n_steps), 1):
        x = scaled(batch)
        # All seeds see the same batches in the same order: they differ in their start only.
        for training in trainings:
            training.advance(x)
            after_step(training)
        if progress and (done % PROGRESS_EVERY == 0 or done == n_steps):
            progress(done / n_steps, f"training, step {done:,} of {n_steps:,}")
    # Fewer steps would leave the learning rate above zero: that is no shorter training but an unfinished one.
    if done < n_steps:
        raise DataError("the activations ran out", expected=f"{n_steps:,} batches", seen=f"{done:,}")


def first_rows(
    stream: Iterator[Tensor], n_steps: int, checked: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Iterator[Tensor]]:
    """Enough rows to see their scale, and the stream with those rows in it; DataError where it is empty.

    `checked` gives back a batch, or raises where it has another shape.
    """
    # What is read ahead is put back in front of the stream: it is trained on like the rest.
    held: list[Tensor] = []
    # No more batches than there are steps, so that a short training does not read past its own data.
    while len(held) < n_steps and sum(map(len, held)) < SCALED_ON_ROWS:
        batch = next(stream, None)
        if batch is None:
            break
        held.append(checked(batch))
    if not held:
        expected = "at least one batch of activations"
        raise DataError("there is nothing to train on", expected=expected, seen="none")
    return torch.cat(held), chain(held, stream)
