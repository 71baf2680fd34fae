"""How well scores find the edges of a circuit that is known: the receiver operating characteristic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from engine.errors import DataError


@dataclass(frozen=True)
class Recovery:
    """By threshold from the highest score down: the share of true and of other edges that are found.

    `area` is the share of pairs of a true and another edge in which the true one scores higher, ties half.
    """

    true_positive_rate: Float[np.ndarray, " threshold"]
    false_positive_rate: Float[np.ndarray, " threshold"]
    area: float


def recovery(scores: Float[np.ndarray, " edge"], true: Bool[np.ndarray, " edge"]) -> Recovery:
    """The curve of |score| as a test for being of the circuit; DataError where there is nothing to tell."""
    if true.all() or not true.any():
        raise DataError(
            "a known circuit has some of the edges, and not all", expected="both kinds", seen=f"{true.sum()}"
        )
    size = np.abs(scores.astype(float))
    # Edges of one score are found together: a point of the curve for each score that occurs.
    thresholds = np.unique(size)[::-1]
    found = size[None, :] >= thresholds[:, None]
    hit = found[:, true].mean(axis=1)
    false = found[:, ~true].mean(axis=1)
    rising_hit, rising_false = (np.concatenate(([0.0], rate)) for rate in (hit, false))
    # By the trapezoid rule, which counts ties half.
    area = float(np.sum(np.diff(rising_false) * (rising_hit[1:] + rising_hit[:-1]) / 2))
    return Recovery(rising_hit, rising_false, area)
