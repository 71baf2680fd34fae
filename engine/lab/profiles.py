"""Profiles over layers or parts: where a condition comes to hold, how alike two of them are."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from engine.evidence.result import Calibration


def block_at_depth(depth: float, n_layers: int) -> int:
    """The block that begins at a fraction of the depth: 0.75 is block 9 of 12."""
    # Halves go up; `round` would send them to the even block.
    return min(int(depth * n_layers + 0.5), n_layers - 1)


def first_for_good(holds: Bool[np.ndarray, "prompt layer"], never: float) -> Float[np.ndarray, " prompt"]:
    """The first layer from which a condition holds to the end; `never` where it does not hold at the end."""
    # Read from the end, the condition holds for good until it first fails: the count of such layers is
    # n_layers minus the first one.
    backwards = np.logical_and.accumulate(holds[:, ::-1], axis=1)
    first = holds.shape[1] - backwards.sum(axis=1)
    return np.where(holds[:, -1], first, never).astype(float)


def spearman(
    one: Float[np.ndarray, "prompt place"], other: Float[np.ndarray, "prompt place"]
) -> Float[np.ndarray, " prompt"]:
    """Each prompt's rank correlation over places (layers, heads); 0 where one side is the same everywhere."""
    # Average ranks for ties, as Spearman's correlation wants them; argsort would order ties by place.
    ranks = [pd.DataFrame(side).rank(axis=1).to_numpy() for side in (one, other)]
    return pearson(*ranks)


def pearson(
    one: Float[np.ndarray, "prompt place"], other: Float[np.ndarray, "prompt place"]
) -> Float[np.ndarray, " prompt"]:
    """Each prompt's linear correlation over places; 0 where one side is the same everywhere."""
    a, b = (side - side.mean(axis=1, keepdims=True) for side in (one, other))
    # A constant row has no order: 0, and no division by 0.
    size = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.where(size > 0, (a * b).sum(axis=1) / np.where(size > 0, size, 1.0), 0.0)


def known_answer(name: str, about: str, seen: float, answer: float, within: float = 0.0) -> Calibration:
    """A calibration whose answer is a number."""
    expected = f"{answer:g} within {within:g}" if within else f"{answer:g} exactly"
    return Calibration(name, about, expected, float(seen), answer - within, answer + within)
