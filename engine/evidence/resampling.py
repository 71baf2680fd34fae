"""Which units are drawn with replacement, and how often each row counts in every resample.

All measurements over the same units share their draws, whatever process makes them: the generator's
seed is a hash of the unit ids. So a claim that compares two of them is paired, replicate by replicate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from engine.errors import ResultError

REPLICATES = 4000
_CELLS_AT_ONCE = 4_000_000  # of a "replicate row" block; 16 MB in float32
_MOST_DRAWN = 2000
"""More units than this are drawn in as many random groups: the spread is still known to 2 %."""

Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""weights "replicate row", samples "row" or "row column" -> "replicate"."""


@dataclass(frozen=True)
class SamplingUnits:
    """The units of sampling behind the rows of one measurement.

    `members` is "row column": which of the `drawn` a row belongs to, or both that a pair belongs to.
    """

    n: int
    clustered: bool
    seed: int
    drawn: int
    members: np.ndarray

    @property
    def one_each(self) -> bool:
        """Whether each row is drawn on its own."""
        return self.members.shape[1] == 1 and self.drawn == len(self.members) == self.n

    def weights(self) -> Iterator[np.ndarray]:
        """How often each row counts, in blocks of "replicate row".

        A pair counts as often as both its units together: the vertex bootstrap of Snijders and
        Borgatti (1999). A resample that drew one unit only holds no pair, and becomes the sample itself.
        """
        counts = _counts(self.seed, self.drawn)
        # The whole of "replicate row" would be 1.6 GB for 100,000 rows; no statistic needs two blocks at
        # once.
        block = max(1, _CELLS_AT_ONCE // len(self.members))
        for start in range(0, REPLICATES, block):
            weights = counts[start : start + block, self.members[:, 0]]
            if self.members.shape[1] == 2:
                # Vertices are drawn, and an edge stands once for each pair of copies of its two ends. Where a
                # vertex is drawn twice, Snijders and Borgatti fill in an edge at random; here there is none.
                weights = weights * counts[start : start + block, self.members[:, 1]]
                weights[weights.sum(axis=1) == 0] = 1
            yield weights


def units_of(name: str, rows: int, unit: str, ids: Any, clusters: Any) -> SamplingUnits:
    """The units of `rows` rows: the rows themselves, the cluster of each, or the pair behind each."""
    given = clusters if clusters is not None else ids if ids is not None else range(rows)
    # Labels are compared as text: a seed is the same unit whether one table has it as 3 and another as "3".
    labels = np.asarray(given).astype(str).reshape(len(given), -1)
    if len(labels) != rows or labels.shape[1] > (1 if clusters is None else 2):
        raise ResultError(
            f"{name}: the {'ids' if clusters is None else 'clusters'} do not fit the samples",
            expected=f"one for each of {rows} rows",
            seen=f"{len(labels)} x {labels.shape[1]}",
        )
    names, members = np.unique(labels, return_inverse=True)
    members = members.reshape(labels.shape)
    _refuse_repeats(name, unit, names, members, clusters is not None)
    seed = _seed_of(names, unit)
    n = len(names)
    drawn = n
    if n > _MOST_DRAWN and members.shape[1] == 1:
        # Groups of units are drawn in place of units. The grouping is random, or units that lie side by side
        # and are alike would share one; it follows from the seed, so that measurements stay paired.
        drawn = _MOST_DRAWN
        members = (np.random.default_rng(seed).permutation(n) % drawn)[members]
    return SamplingUnits(n, clusters is not None, seed, drawn, members)


def _refuse_repeats(name: str, unit: str, names: np.ndarray, members: np.ndarray, clustered: bool) -> None:
    if not clustered and len(names) < len(members):
        twice = names[np.bincount(members[:, 0]) > 1]
        raise ResultError(
            f"{name} has several rows for one {unit}",
            seen=", ".join(twice[:5]),
            hint="pass clusters= where rows of one unit belong together",
        )
    if members.shape[1] == 2 and (members[:, 0] == members[:, 1]).any():
        raise ResultError(f"{name} pairs a {unit} with itself", expected="two different units in each row")


def _seed_of(names: np.ndarray, unit: str) -> int:
    """The same for the same units in any order; unnamed units of different kinds are not paired."""
    unnamed = set(names) == {str(i) for i in range(len(names))}
    # The names arrive sorted and each once; \x1f, a control character, stands in no id and keeps them apart.
    text = "\x1f".join([unit if unnamed else "", *names])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


@lru_cache(maxsize=4)
def _counts(seed: int, n: int) -> np.ndarray:
    """How often each unit is drawn: "replicate unit"."""
    picks = np.random.default_rng(seed).integers(n, size=(REPLICATES, n))
    # Counting all replicates in one pass: replicate r counts in bins r n to (r + 1) n.
    picks += np.arange(REPLICATES)[:, None] * n
    counts = np.bincount(picks.ravel(), minlength=REPLICATES * n).reshape(REPLICATES, n).astype(np.float32)
    counts.flags.writeable = False  # shared by whoever measures the same units
    return counts


@lru_cache(maxsize=8)
def _scales(seed: int, n: int) -> np.ndarray:
    found = np.sqrt((n - 1) / np.random.default_rng([seed, n]).chisquare(n - 1, size=REPLICATES))
    found.flags.writeable = False
    return found


def student_scales(units: SamplingUnits) -> np.ndarray:
    """A factor for each replicate that turns normal deviations into those of Student's t: "replicate".

    It is the root of (n - 1) / chi-squared, and shared by all measurements over the same units, so that their
    sums and differences are scaled alike and follow t as well.
    """
    return _scales(units.seed, units.drawn)


def leave_one_out(statistic: Statistic, samples: np.ndarray, units: SamplingUnits) -> np.ndarray:
    """A statistic without each unit in turn: "unit", or "unit column"; NaN where nothing would be left."""
    rows = len(units.members)
    block = max(1, _CELLS_AT_ONCE // rows)
    found = []
    for start in range(0, units.drawn, block):
        who = np.arange(start, min(start + block, units.drawn))
        kept = (units.members != who[:, None, None]).all(axis=2)
        lonely = ~kept.any(axis=1)
        kept[lonely] = True
        value = statistic(kept.astype(np.float32), samples).astype(float)
        value[lonely] = np.nan
        found.append(value)
    return np.concatenate(found)


def leave_one_out_means(samples: np.ndarray, units: SamplingUnits) -> np.ndarray:
    """`leave_one_out` of the means of "row" or "row column", by the sums of each unit."""
    # About their mean, so that a difference of two large sums keeps its digits.
    centre = samples.mean(axis=0)
    away = (samples - centre).reshape(len(samples), -1)
    ones = np.ones(len(samples))
    without = np.zeros((units.drawn, 1 + away.shape[1]))
    for end in units.members.T:
        columns = [np.bincount(end, c, minlength=units.drawn) for c in (ones, *away.T)]
        without += np.column_stack(columns)
    rows = len(samples) - without[:, :1]
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.where(rows > 0, (away.sum(axis=0) - without[:, 1:]) / rows, np.nan)
    return centre + means.reshape(units.drawn, *samples.shape[1:])


def totals(samples: np.ndarray, units: SamplingUnits) -> np.ndarray:
    """The sum of "row" over the rows of each unit: "unit"."""
    ends = units.members.T
    return np.sum([np.bincount(end, samples, minlength=units.drawn) for end in ends], axis=0)


def resampled(statistic: Statistic, samples: np.ndarray, units: SamplingUnits) -> np.ndarray:
    """A statistic on every resample: "replicate", or "replicate column"."""
    if units.one_each:
        # Row i of the sorted samples is unit i, so that the counts are the weights, without a copy.
        return statistic(_counts(units.seed, units.n), samples[np.argsort(units.members[:, 0])])
    return np.concatenate([statistic(weights, samples) for weights in units.weights()])


def weighted_means(weights: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Means of "row" or "row column"; centred and scaled first, so that single precision costs nothing."""
    # A float32 product is faster and keeps 7 digits. Of numbers about their mean, scaled to 1, those are
    # digits of the spread, however far from 0 the mean lies.
    centre = samples.mean(axis=0)
    away = samples - centre
    scale = np.maximum(np.abs(away).max(axis=0), 1e-300)
    total = weights @ np.ones(len(samples), np.float32)
    means = (weights @ (away / scale).astype(np.float32)).astype(float)
    return centre + scale * means / (total if samples.ndim == 1 else total[:, None])


def weighted_pearson(weights: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Correlation of two columns; NaN where a resample is constant in one."""
    x, y = ((column - column.mean()) / (column.std() or 1.0) for column in samples.T)
    # r = (E xy - E x E y) / root of (E xx - (E x)^2)(E yy - (E y)^2), the moments of all resamples in one
    # product; standardised beforehand, or the differences of large moments would cancel.
    return _correlation(*weighted_means(weights, np.column_stack([x, y, x * x, y * y, x * y])).T)


def weighted_spearman(weights: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Correlation of the ranks that two columns have within each resample."""
    # Ranks are taken anew in each resample, where a row that is drawn twice ties with itself.
    x, y = (_ranks(weights, column) for column in samples.T)
    total = weights.sum(axis=1)
    means = [(weights * c).sum(axis=1) / total for c in (x, y, x * x, y * y, x * y)]
    return _correlation(*means)


def _correlation(x, y, xx, yy, xy) -> np.ndarray:
    # Rounding can take a variance below 0; one of at most 1e-9 is a constant column, without a correlation.
    spread = np.sqrt(np.maximum(xx - x * x, 0) * np.maximum(yy - y * y, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 1e-9, (xy - x * y) / spread, np.nan)


def _ranks(weights: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Mid-ranks within each resample, from 0 to 1: "replicate row"."""
    values, place = np.unique(column, return_inverse=True)
    # How often each distinct value is drawn: the rows that hold it lie side by side once they are sorted.
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(values)))
    drawn = np.add.reduceat(weights[:, order].astype(float), starts, axis=1)
    # All that is below, and half of the ties: the mid-rank, up to a shift and scale that leave r as it is.
    middle = np.cumsum(drawn, axis=1) - drawn / 2
    return (middle / drawn.sum(axis=1, keepdims=True))[:, place]


def on_rows(function: Callable[[np.ndarray], float]) -> Statistic:
    """Any function of the rows, each row standing as often as it was drawn."""

    def statistic(weights: np.ndarray, samples: np.ndarray) -> np.ndarray:
        repeats = weights.astype(int)
        return np.array([float(function(np.repeat(samples, times, axis=0))) for times in repeats])

    return statistic
