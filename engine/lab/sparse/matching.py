"""How the features of one dictionary match those of another: best match, one to one, and what chance gives.

A dictionary is "latent d", one feature a row (decoder rows; encoder columns are passed transposed). All
cosines are signed: a feature and its opposite do not match.

- Best match: for each feature of A the most similar one of B. Not symmetric, and many of A may choose the
  same one of B; so it can only flatter.
- One to one: the assignment of A to B with the largest sum of cosines (Kuhn 1955, the Hungarian method, as
  `scipy.optimize.linear_sum_assignment`). Its mean over features, averaged over pairs of seeds, is `pw_mcc`:
  the pairwise dictionary mean correlation coefficient of Song et al. 2025.
- Shared (Paulo and Belrose 2025): encoder and decoder are assigned separately; a feature is shared where
  both choose the same counterpart and both cosines are at least 0.7.

Three nulls, which test different things: random directions of the same shape say what a maximum over that
many directions gives by itself; values permuted over the features coordinate by coordinate also keep the
common offset and the large coordinates that features of one model share; features paired at random keep both
dictionaries and destroy the matching only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.special import betaincinv

from engine.errors import DataError

BLOCK = 2048
"""Rows of A compared with all of B at once: 134 MB of cosines at 16,384 features."""
NEAR = 0.9
"""From this cosine on two features count as the same."""
SHARED = 0.7
"""From this cosine on, in encoder and decoder, a feature is shared (Paulo and Belrose 2025)."""

Dictionary = Float[np.ndarray, "latent d"]
OtherDictionary = Float[np.ndarray, "other d"]  # compared with the first: as wide, of any number of latents


@dataclass(frozen=True)
class Assignment:
    """One to one: `rows` of A, the rows `partners` of B they are matched with, and their `cosines`.

    As many as the smaller dictionary has features, `rows` ascending.
    """

    rows: Int[np.ndarray, " match"]
    partners: Int[np.ndarray, " match"]
    cosines: Float[np.ndarray, " match"]


@dataclass(frozen=True)
class Matching:
    """Two dictionaries compared: best cosines from A to B, from B to A, and one to one where made."""

    a_to_b: Float[np.ndarray, " a"]
    b_to_a: Float[np.ndarray, " b"]
    assignment: Assignment | None

    def best(self, statistic: str, at: float = NEAR) -> float:
        """A statistic of the best cosines, the mean of both directions."""
        # Averaged over both directions, since best matches from A to B alone depend on which dictionary is
        # named first.
        return (summary(self.a_to_b, statistic, at) + summary(self.b_to_a, statistic, at)) / 2

    def one_to_one(self, statistic: str, at: float = NEAR) -> float:
        """A statistic of the assigned cosines; NaN where no assignment was made."""
        return summary(self.assignment.cosines, statistic, at) if self.assignment else float("nan")


def summary(cosines: np.ndarray, statistic: str, at: float = NEAR) -> float:
    """`mean`, `median`, or `fraction` at least `at`, of matched cosines."""
    if statistic == "fraction":
        return float((cosines >= at).mean())
    return float({"mean": np.mean, "median": np.median}[statistic](cosines))


def unit_rows(features: Dictionary) -> Dictionary:
    """Rows of length one, in float32; a row of zeros stays as it is and matches nothing."""
    features = np.asarray(features, dtype=np.float32)
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(length > 0, length, 1)  # a dead latent's row may be zero: no NaN from it


def match(a: Dictionary, b: OtherDictionary, *, one_to_one: bool = True) -> Matching:
    """Both best matches and, if asked, the assignment; in blocks where only best matches are wanted.

    Raises DataError where a dictionary has no feature or the two have other dimensions.
    """
    a, b = _comparable(a, b)
    if one_to_one:
        # The assignment needs every cosine at once; best matches are then the maxima along either axis.
        cosines = a @ b.T
        return Matching(cosines.max(axis=1), cosines.max(axis=0), assign(cosines))
    # Block by block over A, B's maxima are kept running: memory does not grow with the square of the width.
    forward = np.empty(len(a), np.float32)
    backward = np.full(len(b), -np.inf, np.float32)
    for rows, cosines in _blocks(a, b):
        forward[rows] = cosines.max(axis=1)
        np.maximum(backward, cosines.max(axis=0), out=backward)
    return Matching(forward, backward, None)


def assign(cosines: Float[np.ndarray, "a b"]) -> Assignment:
    """The one-to-one matching with the largest sum of signed cosines."""
    # Modified Jonker-Volgenant: exact, cubic in the width. Signed, since -d is another feature than d.
    rows, partners = linear_sum_assignment(cosines, maximize=True)
    return Assignment(rows, partners, cosines[rows, partners])


def shared(decoder: Assignment, encoder: Assignment, at: float = SHARED) -> Bool[np.ndarray, " match"]:
    """Which features of A decoder and encoder assign to the same feature of B, both at least `at` similar.

    Both assignments are of the same two dictionaries, so that their rows are the same.
    """
    if not np.array_equal(decoder.rows, encoder.rows):
        # Rectangular: each may leave out other rows of A; a row that one of them leaves out is not shared.
        # `place` is where the encoder's assignment has each row that the decoder's has, -1 where it has none.
        partner = dict(zip(encoder.rows.tolist(), range(len(encoder.rows)), strict=True))
        place = np.array([partner.get(row, -1) for row in decoder.rows.tolist()])
        same = (place >= 0) & (decoder.partners == encoder.partners[place])
        return same & (decoder.cosines >= at) & (encoder.cosines[place] >= at)
    same = decoder.partners == encoder.partners
    return same & (decoder.cosines >= at) & (encoder.cosines >= at)


def random_directions(n: int, d: int, generator: np.random.Generator) -> Dictionary:
    """Directions drawn uniformly: what a maximum over n of them in d dimensions gives by itself."""
    return unit_rows(generator.standard_normal((n, d), dtype=np.float32))


def permuted(features: Dictionary, generator: np.random.Generator) -> Dictionary:
    """Every coordinate's values permuted over the features, each coordinate on its own.

    Keeps what features share by living in one residual stream (a common offset, a few large coordinates)
    and destroys each feature: agreement that is left is no agreement about features.
    """
    # `permuted` draws an order for each column; `permutation` would keep rows together.
    return generator.permuted(unit_rows(features), axis=0)


def random_pairing(a: Dictionary, b: OtherDictionary) -> float:
    """The expected cosine of features of A and B paired at random: the cosine of all pairs, averaged."""
    a, b = _comparable(a, b)
    # The mean over all pairs of a_i . b_j is (mean a) . (mean b): no pair has to be drawn.
    return float(a.mean(axis=0, dtype=float) @ b.mean(axis=0, dtype=float))


def chance_median(n: int, d: int) -> float:
    """The exact median best match among n random directions in d dimensions.

    A cosine of two random directions is 2 B - 1 with B from Beta((d - 1) / 2, (d - 1) / 2); the maximum of
    n independent ones is below t with the n-th power of its distribution.
    """
    # P(max <= t) = P(B <= (t + 1) / 2)^n = 1/2, solved for t.
    return float(2 * betaincinv((d - 1) / 2, (d - 1) / 2, 0.5 ** (1 / n)) - 1)


def _comparable(a: Dictionary, b: OtherDictionary) -> tuple[Dictionary, OtherDictionary]:
    if not len(a) or not len(b):
        raise DataError(
            "a dictionary without features cannot be matched",
            expected="at least one (live) latent on each side",
            seen=f"{len(a)} and {len(b)}",
        )
    if a.shape[1] != b.shape[1]:
        raise DataError(
            "features of different dimensions cannot be compared",
            expected=f"both {a.shape[1]} long",
            seen=f"{a.shape[1]} and {b.shape[1]}",
        )
    return unit_rows(a), unit_rows(b)


def _blocks(a: Dictionary, b: OtherDictionary) -> Iterator[tuple[slice, Float[np.ndarray, "row b"]]]:
    for start in range(0, len(a), BLOCK):
        # The last slice may reach past the end: numpy cuts it there.
        yield slice(start, start + BLOCK), a[start : start + BLOCK] @ b.T
