"""From what resampling and the jackknife give to replicates whose every tail is an honest bound.

The shared resamples give the order of the replicates, so that comparisons stay paired; the values are those
of a known distribution, dealt out in that order. The least replicates are then bounds at the least levels,
down to one in `replicates` + 1, and not only at 2.5 %:

- `student_values`: means, ratios and functions, by Student's t with room for skewed data;
- `correlation_values`: correlations, by Student's t on Fisher's z scale;
- `fraction_values`: fractions, by the exact interval of Clopper and Pearson;
- `median_values`: medians, by interpolated order statistics.

How often each tail misses the truth is measured in tests/evidence/test_coverage.py, and for every statistic
by `python -m tests.evidence.simulate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import betainc, betaincinv, ndtr, ndtri, stdtrit

TAIL = 0.025
TOO_FEW = 4
"""Fewer units than this have no interval: three have ten distinct resamples."""
FEW = 10
"""Fewer units than this are called few: one unit in ten is odd, and 35 % of samples of ten show none."""
CORRELATION_WIDTH = 1.25
"""What a correlation over few units is widened by: without it, 4 to 9 of them cover 90 to 93 %."""
MOST_SKEWED = 8.0
"""The most skewness that an interval makes room for; lognormal data with sigma 1 have 6.2."""
SKEW_ERRORS = 2.0
"""By how many of its standard errors the skewness of a sample is taken to be too low."""
FUNCTION_SKEW = 2.0
"""Room for skewness that a function needs more than a mean: a standard deviation squares its rows."""
TOO_FEW_FOR_A_FUNCTION = 8
"""Fewer units than this have no interval for a function of the rows, of which nothing is known."""
WIDE = 1.25
"""From this many times Student's interval on, or one side the other, a reader is told why."""
CARRIED = 0.95
"""A sample skewed by this share of what one outlier among n gives rests on one unit."""
CARRIED_BY_FOUR = 0.98
"""The same for four units, where three that lie close together are no rarity."""
CARRIED_MEAN = 0.75
"""A mean whose replicates are as skewed as this rests on a few of many units."""
MODE = 2 / 3
"""Where more units than this agree, the others are few, and"""
OFF_THE_MODE = 15
"""so many of them are needed to average what they differ by."""
SAME = 1e-9
"""Relative to the largest of them, below this numbers differ as the order of a sum changes them."""
FAR = 1e6
"""In spreads of the rows: where a median's replicate lies that no row bounds."""


def skewness(samples: np.ndarray) -> np.ndarray:
    """Of "row ..." along the first axis."""
    away = samples - samples.mean(axis=0)
    spread = np.sqrt((away**2).mean(axis=0))
    # The third standardised moment; 0 where all rows agree, which have no shape.
    return np.where(spread > 0, (away**3).mean(axis=0) / np.maximum(spread**3, 1e-300), 0.0)


@lru_cache(maxsize=8)
def levels(replicates: int) -> np.ndarray:
    """The level of each replicate in ascending order, so that a plain percentile is the quantile there.

    The first and the last stand for 1 in `replicates` + 1, the least level that they can decide.
    """
    least = 1 / (replicates + 1)
    found = np.linspace(0, 1, replicates).clip(least, 1 - least)
    found.flags.writeable = False
    return found


def _student(replicates: int, n: float) -> np.ndarray:
    """Student's t at the level of each replicate, for n units that estimate their own variance."""
    # Between a hundred normal quantiles, in which t is smooth: an inverse for each level is slow.
    z = _z_grid(replicates)
    lower = np.interp(-np.abs(_normal(replicates)), z, stdtrit(n - 1, ndtr(z)))
    return np.copysign(lower, _normal(replicates))


@lru_cache(maxsize=8)
def _normal(replicates: int) -> np.ndarray:
    """The normal quantile at the level of each replicate."""
    found = ndtri(levels(replicates))
    found.flags.writeable = False
    return found


@lru_cache(maxsize=8)
def _z_grid(replicates: int) -> np.ndarray:
    """Normal quantiles from below the least level to 0, between which others are interpolated."""
    return np.linspace(ndtri(0.5 / (replicates + 1)), 0, 100)


def room_for_skewness(skew: np.ndarray | float, n: float, function: bool = False) -> np.ndarray:
    """The skewness that units may have though a sample of n shows `skew`, never below 0.

    An upper bound within the lognormal family, fitted to simulations of n = 4 to 2000: a sample's skewness is
    about log(1 + a g) / a of the true one, g, with a = 5 n^-0.36, and scatters as that of normal data does.
    """
    error = np.sqrt(6 * (n - 2) / ((n + 1) * (n + 3)))
    a = 5 * n**-0.36
    shown = skew + SKEW_ERRORS * error
    more = FUNCTION_SKEW if function else 1.0
    # exp is capped where the bound has long reached its most, so that it cannot overflow.
    return np.asarray(np.clip(more * np.expm1(np.minimum(a * shown, 50.0)) / a, 0, more * MOST_SKEWED))


def student_values(
    value: np.ndarray | float,
    error: np.ndarray | float,
    skew: np.ndarray | float,
    n: float,
    replicates: int,
    function: bool = False,
) -> np.ndarray:
    """Ascending values "replicate ..." of a mean-like number, by its standard error and its units' skewness.

    The quantiles of a studentised mean lie at t - g t^2 / (3 root n), and a constant, where g is the skewness
    of the data (Johnson 1978, Hall 1992); t^2 is the term that grows in the tails. g is not known, so that
    each side takes the most that is not excluded, and a side that skewness would shorten stays as it is.
    """
    t = _student(replicates, n).reshape(-1, *[1] * np.ndim(value))
    upper = room_for_skewness(skew, n, function)
    lower = room_for_skewness(-np.asarray(skew), n, function)
    return value + error * (t + np.where(t > 0, upper, -lower) * t**2 / (3 * np.sqrt(n)))


def widening(skew: float, n: float, function: bool = False) -> tuple[float, float]:
    """How many times Student's t the upper and the lower half of a 95 % interval are."""
    t = stdtrit(n - 1, 1 - TAIL)
    rooms = room_for_skewness(np.array([skew, -skew]), n, function)
    upper, lower = 1 + rooms * t / (3 * np.sqrt(n))
    return float(upper), float(lower)


def equal_units(weights: np.ndarray) -> float:
    """How many units of equal weight those of unequal weight are worth (Kish 1965)."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def carried_by_one(skew: float, n: int) -> bool:
    """Whether one unit, or a few of many, make the sample what it is.

    One outlier among n that agree has skewness (n - 2) / root(n - 1), the most that n units can show.
    """
    most = (n - 2) / np.sqrt(n - 1)
    share = CARRIED_BY_FOUR if n == TOO_FEW else CARRIED
    return bool(abs(skew) >= min(share * most, CARRIED_MEAN * np.sqrt(n)))


def off_the_mode(rows: np.ndarray) -> int | None:
    """How many of "row ..." differ from the most common, if these are too few to be averaged; else None."""
    n = len(rows)
    # Equal rows of a sum differ in their last digits.
    rounded = np.round(rows / max(np.abs(rows).max(), 1e-300) / SAME)
    _, times = np.unique(rounded, axis=0, return_counts=True)
    off = n - int(times.max())
    return off if off < (1 - MODE) * n and off < OFF_THE_MODE else None


def correlation_values(z: float, raw: np.ndarray, n: int, least_error: float) -> np.ndarray:
    """Ascending values of a correlation on Fisher's z scale, from its replicates there.

    `least_error` is the standard error that they have at least: where a sample is more correlated than its
    source, its resamples spread less as well.

    The side on which the replicates are skewed is stretched by 1 + skewness, twice the shift of Johnson
    (1978) on the long side only: a sample shows less skewness than its source.
    """
    t = _student(len(raw), n)
    # Resamples spread as the sample does, whose variance divides by n and not by n - 1: hence the root.
    error = max(raw.std() * np.sqrt(n / (n - 1)), least_error) * (CORRELATION_WIDTH if n < FEW else 1.0)
    skew = float(skewness(raw))
    # 0.04 is the standard error of a skewness over 4000 replicates: below it, data are symmetric.
    stretch = 1 + np.clip(abs(skew) - 0.04, 0, CARRIED_MEAN)
    return z + error * t * np.where(t * skew > 0, stretch, 1.0)


@dataclass(frozen=True)
class Worth:
    """How many independent rows a share is worth: `rows` of `all_rows` in so many clusters, if there are any.

    For clusters it is less the lower the level, since few clusters tell their own variance badly: Korn and
    Graubard (1998) scale by the squared ratio of t quantiles, at rows - 1 over clusters - 1 degrees of
    freedom.
    """

    rows: float
    all_rows: int = 0
    clusters: int = 0

    def at(self, level: np.ndarray | float) -> np.ndarray:
        """At levels below a half, or as far above it."""
        tail = np.minimum(level, 1 - np.asarray(level))
        if not self.clusters:
            return np.full_like(tail, self.rows)
        # At a half both quantiles are 0; their ratio hardly changes from 0.4 on.
        tail = np.minimum(tail, 0.4)
        narrowing = (stdtrit(self.all_rows - 1, tail) / stdtrit(self.clusters - 1, tail)) ** 2
        return np.asarray(self.rows * narrowing)


def worth_of_clusters(share: float, variance: float, rows: int, n: int) -> Worth:
    """What a share over n clusters is worth, by the variance that these clusters give it."""
    # Korn and Graubard's effective sample size: the n of a simple random sample of this variance, p(1 - p)/n.
    # Where the data show no variance each cluster counts as one row.
    worth = share * (1 - share) / variance if variance > 0 else n
    # Clusters may vary less than independent rows would by luck; more rows than there are is no evidence.
    return Worth(float(min(worth, rows)), rows, n)


def fraction_values(fraction: float, worth: Worth, replicates: int) -> np.ndarray:
    """Ascending values of a fraction whose tails are those of Clopper and Pearson (1934), at every level.

    Below the median they are Beta(hits, misses + 1), above it Beta(hits + 1, misses). No true fraction falls
    outside an end at level a in more than a of samples; so small samples cover more. Where there is no hit,
    the lower half is 0: nothing was seen against a fraction of 0, and `> 0` holds in half of the replicates.
    """
    # A Beta quantile is nearly linear in the normal one, so that few points in z carry it far into the tails.
    z = _z_grid(replicates)
    n = worth.at(ndtr(z))
    hits = fraction * n
    misses = (1 - fraction) * n
    # The Beta quantile form of Clopper and Pearson's ends; n need not be whole, as an effective n is not. A
    # Beta whose first parameter is 0 is all at 0, by its second all at 1.
    lower = betaincinv(hits, misses + 1, ndtr(z)) if fraction > SAME else np.zeros_like(z)
    upper = betaincinv(hits + 1, misses, ndtr(-z)) if fraction < 1 - SAME else np.ones_like(z)
    at = _normal(replicates)
    return np.where(at < 0, np.interp(at, z, lower), np.interp(-at, z, upper))


def widened_fraction(exact: np.ndarray, fraction: float, error: float, skew: float, n: int) -> np.ndarray:
    """Values of a fraction over n clusters, as far out as a mean of clusters would reach.

    A rare fraction over clusters is as skewed as one over rows, (1 - 2 p) / root p(1 - p), and few clusters
    do not show it; there is no room for more, since no cluster lies beyond 0 or 1.
    """
    if error == 0:
        return exact
    t = _student(len(exact), n)
    most = (1 - 2 * fraction) / np.sqrt(fraction * (1 - fraction))
    upper = np.minimum(room_for_skewness(skew, n), max(most, 0.0))
    lower = np.minimum(room_for_skewness(-skew, n), max(-most, 0.0))
    reached = fraction + error * (t + np.where(t > 0, upper, -lower) * t**2 / (3 * np.sqrt(n)))
    reached = reached.clip(0, 1)
    return np.where(t < 0, np.minimum(exact, reached), np.maximum(exact, reached))


def median_values(samples: np.ndarray, worth: Worth, replicates: int) -> np.ndarray:
    """Ascending values of a median: fractional order statistics (Hutson 1999) of so many independent rows.

    Where values are tied, as ranks and layers are, they are not interpolated but step outwards. At levels
    under 2^-n, at which even the smallest and the largest row may lie on one side, the values are far away.
    """
    z = _z_grid(replicates)
    n = worth.at(ndtr(z))
    # Hutson's fractional order statistics: the true median lies below the sample's quantile at u with the
    # probability that Beta((n + 1) u, (n + 1)(1 - u)) exceeds a half. Bisected for the u of each level.
    low = np.zeros_like(z)
    high = np.full_like(z, 0.5)
    for _ in range(30):
        u = (low + high) / 2
        reached = 1 - betainc((n + 1) * u, (n + 1) * (1 - u), 0.5)
        low = np.where(reached < ndtr(z), u, low)
        high = np.where(reached < ndtr(z), high, u)
    ordered = np.sort(samples)
    rows = len(samples)
    level = levels(replicates)
    at = _normal(replicates)
    # As a place among the ordered rows, counted from 1: below the middle, and its mirror image above. The
    # level is that of n independent rows, the values are those of all rows.
    place = np.interp(-np.abs(at), z, (low + high) / 2) * (rows + 1)
    place = np.where(at < 0, place, rows + 1 - place)
    # Between tied values a fraction of the way is a value that the data cannot take; outwards never narrows.
    if (np.diff(ordered) == 0).any():
        place = np.where(place < (rows + 1) / 2, np.floor(place + SAME), np.ceil(place - SAME))
    values = np.interp(place, np.arange(1, rows + 1), ordered)
    # Finite, since infinite replicates have no difference; far enough to decide no claim at these levels.
    far = FAR * max(np.ptp(ordered), abs(ordered).max(), 1.0)
    unbounded = 0.5 ** np.minimum(worth.at(level), worth.clusters or rows)
    return values - far * (level < unbounded) + far * (1 - level < unbounded)


def unseen_share(n: int) -> float:
    """The largest share of units that n units may fail to show: at a larger one, one in 40 samples would.

    The upper end of the exact interval of 0 in n (Clopper and Pearson 1934), about 3.7 / n; with one end in
    20 it is the rule of three (Hanley and Lippman-Hand 1983).
    """
    return 1 - TAIL ** (1 / n)


def in_order_of(
    scores: np.ndarray, ascending: np.ndarray, generator: np.random.Generator | None = None
) -> np.ndarray:
    """`ascending` values dealt out to the replicates by the rank of their score, ties at random if asked."""
    dealt = np.empty_like(ascending)
    if generator is None:
        dealt[np.argsort(scores, kind="stable")] = ascending
        return dealt
    # lexsort sorts by its last key, the score, and then by chance: without that, replicates with equal scores
    # would get their values in the order of the draws, and two tied fractions would move together.
    dealt[np.lexsort((generator.random(len(scores)), scores))] = ascending
    return dealt
