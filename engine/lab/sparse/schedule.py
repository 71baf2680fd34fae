"""What the training of every sparse dictionary has in common: learning rate, first rows, limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from math import isfinite

import torch
from torch import Tensor

from engine.errors import DataError, ResultError

AUX_COEFFICIENT = 1 / 32
"""The weight of AuxK's loss (Gao et al. 2024)."""
WARM_UP, DECAY = 0.05, 0.2  # shares of all steps
SCALED_ON_ROWS = 16_384  # activations that scale and mean are taken from, at least


def learning_rate(lr: float, step: int, n_steps: int) -> float:
    """The learning rate of a step, from 0: it warms up, stays, and falls to zero over the last fifth."""
    warm_up, decay = max(1.0, WARM_UP * n_steps), max(1.0, DECAY * n_steps)
    return lr * min(1.0, (step + 1) / warm_up, (n_steps - step) / decay)


def first_rows(
    stream: Iterator[Tensor], n_steps: int, checked: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Iterator[Tensor]]:
    """Enough rows to see their scale, and the stream with those rows in it; DataError where it is empty.

    `checked` gives back a batch, or raises where it has another shape.
    """
    held: list[Tensor] = []
    while len(held) < n_steps and sum(map(len, held)) < SCALED_ON_ROWS:
        batch = next(stream, None)
        if batch is None:
            break
        held.append(checked(batch))
    if not held:
        expected = "at least one batch of activations"
        raise DataError("there is nothing to train on", expected=expected, seen="none")
    return torch.cat(held), chain(held, stream)


def require_finite(loss: float, step: int, lr: float) -> None:
    """ResultError where the loss is no longer a number."""
    if not isfinite(loss):
        raise ResultError(
            f"training lost its numbers at step {step}",
            expected="a finite loss",
            seen=repr(loss),
            hint=f"a learning rate below {lr:g}",
        )


def require_whole(done: int, n_steps: int) -> None:
    """DataError where the activations ended before the steps did."""
    if done < n_steps:
        raise DataError("the activations ran out", expected=f"{n_steps:,} batches", seen=f"{done:,}")
