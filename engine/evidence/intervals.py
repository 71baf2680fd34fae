"""From what resampling gives to replicates whose plain 2.5 / 97.5 percentiles are an honest interval.

Three ways, each keeping the order that the shared resamples give, so that comparisons stay paired:

- `expanded`: means, ratios and correlations are spread about the value;
- `fraction_values`: fractions take the values of the exact Clopper-Pearson interval;
- `median_values`: medians take the values of interpolated order statistics.

How often each covers the truth is measured in tests/evidence/test_coverage.py.
"""

from __future__ import annotations

import numpy as np
from scipy.special import betainc, betaincinv, ndtri, stdtrit

TAIL = 0.025
TOO_FEW = 4
"""Fewer units than this have no interval: three have ten distinct resamples."""
FEW = 10
"""Fewer units than this cannot show whether their data are skewed, so that the interval is widened:
without it, 4 to 9 exponential values cover 90 to 93 %, with it 92 to 96 % (normal ones 97 to 98 %)."""
FEW_WIDTH = 1.25
SKEWED = 0.2
"""From this skewness of the replicates on, a reader is told that one side is stretched."""
TOO_SKEWED = 0.75
"""From here on one or two units carry the number; sparse data (three values in ten not zero) would
cover 80 to 87 % at n = 8 to 20, so the interval is withheld."""
SKEW_NOISE = 0.04
"""The standard error of a skewness over 4000 replicates."""


def skewness(replicates: np.ndarray) -> np.ndarray:
    """Of "replicate ..." along the first axis; for a mean, that of the data over the root of n."""
    away = replicates - replicates.mean(axis=0)
    spread = np.sqrt((away**2).mean(axis=0))
    # The third standardised moment; 0 where all replicates agree, which have no shape.
    return np.where(spread > 0, (away**3).mean(axis=0) / np.maximum(spread**3, 1e-300), 0.0)


def expanded(value: np.ndarray | float, replicates: np.ndarray, n: int) -> np.ndarray:
    """Replicates "replicate ..." of a mean-like number, spread about its value for n units.

    The factor is that of Hesterberg's expanded percentile (2015, "What Teachers Should Know About the
    Bootstrap", 3.3): t over z, times the root of n/(n-1). It is applied to every replicate, not to the
    percentiles, so that the difference of two expanded means is the expanded difference.
    The side on which the replicates are skewed is stretched by 1 + skewness: twice the shift of
    Johnson (1978), on the long side only. A percentile interval makes a third of the correction that
    skewed data need, and a sample shows less skewness than its source.
    """
    # Resamples spread as the sample does, whose variance divides by n and not by n - 1: hence the root. Their
    # percentiles are those of a normal, z, where n units estimate their own variance and so call for t.
    factor = stdtrit(n - 1, 1 - TAIL) / ndtri(1 - TAIL) * np.sqrt(n / (n - 1))
    factor *= FEW_WIDTH if n < FEW else 1.0
    away = replicates - value
    skew = skewness(replicates)
    # Skewness within its own sampling error stretches nothing, so that symmetric data get the plain factor.
    stretch = 1 + np.clip(np.abs(skew) - SKEW_NOISE, 0, TOO_SKEWED)
    # A replicate lies on the long side where it is away from the value in the direction of the skew.
    return value + factor * away * np.where(away * skew > 0, stretch, 1.0)


def effective_rows(share: float, shares: np.ndarray, rows: int, n: int) -> float:
    """How many independent rows a share over n clusters is worth (Korn and Graubard 1998).

    `shares` is "replicate". Where the data show no variance each cluster counts as one row.
    """
    # The cluster bootstrap's variance of the share, made unbiased as in `expanded`.
    variance = shares.var() * n / (n - 1)
    # Korn and Graubard's effective sample size: the n of a simple random sample of this variance, p(1 - p)/n.
    worth = share * (1 - share) / variance if variance > 0 else n
    # They scale it by the squared ratio of t quantiles at rows - 1 and at clusters - 1 degrees of freedom,
    # since the variance was estimated from the clusters alone.
    narrowing = (stdtrit(rows - 1, 1 - TAIL) / stdtrit(n - 1, 1 - TAIL)) ** 2
    # Clusters may vary less than independent rows would by luck; more rows than there are is no evidence.
    return float(min(worth, rows) * narrowing)


def fraction_values(fraction: float, n: float, replicates: int) -> np.ndarray:
    """Ascending values of a fraction whose tails are those of Clopper and Pearson (1934).

    Below the 2.5th percentile they are Beta(hits, misses + 1), above the 97.5th Beta(hits + 1, misses),
    and in between the one turns into the other. No true fraction falls outside either end in more
    than 2.5 % of samples, all hits or none included; so small samples cover more than 95 %.
    """
    # 801 levels put grid points on 2.5 and 97.5 %, and the tails reach one step further in, so that reading a
    # percentile off never interpolates with what is mixed in between.
    level, step = np.linspace(0, 1, 801, retstep=True)
    # From 0 in the lower tail, Beta(hits, misses + 1), to 1 in the upper one, Beta(hits + 1, misses).
    turned = np.clip((level - TAIL - step) / (1 - 2 * (TAIL + step)), 0, 1)
    hits = fraction * n + turned
    misses = (1 - fraction) * n + 1 - turned
    # The Beta quantile form of Clopper and Pearson's ends; n need not be whole, as an effective n is not.
    values = betaincinv(np.maximum(hits, 1e-12), np.maximum(misses, 1e-12), level)
    # A Beta whose first parameter is 0 is all at 0 (no hit: the lower end is 0), by its second all at 1.
    values = np.where(hits <= 1e-9, 0.0, np.where(misses <= 1e-9, 1.0, values))
    return np.interp(np.linspace(0, 1, replicates), level, values)


def median_values(samples: np.ndarray, n: float, replicates: int) -> np.ndarray:
    """Ascending values of a median: fractional order statistics (Hutson 1999) of n independent rows.

    Where values are tied, as ranks and layers are, they are not interpolated but step outwards.
    """
    # Quantile levels `at` within eight standard errors of a half, on which the median's level is looked for.
    at = np.clip(0.5 + np.linspace(-8, 8, 4001) * 0.5 / np.sqrt(n + 1), 1e-9, 1 - 1e-9)
    # Hutson's fractional order statistics: the true median lies below the sample's quantile at level u with
    # the probability that Beta((n + 1) u, (n + 1)(1 - u)) exceeds a half.
    reached = 1 - betainc((n + 1) * at, (n + 1) * (1 - at), 0.5)
    ordered = np.sort(samples)
    rows = len(samples)
    # Inverted: for each replicate's probability the level that reaches it, as a place among the ordered rows,
    # counted from 1. The level is that of n independent rows, the values are those of all rows.
    place = np.interp(np.linspace(0, 1, replicates), reached, at) * (rows + 1)
    # Between tied values a fraction of the way is a value that the data cannot take; outwards never narrows.
    if (np.diff(ordered) == 0).any():
        place = np.where(place < (rows + 1) / 2, np.floor(place), np.ceil(place))
    return np.interp(place, np.arange(1, rows + 1), ordered)


def in_order_of(scores: np.ndarray, ascending: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """`ascending` values dealt out to the replicates by the rank of their score, ties at random."""
    dealt = np.empty_like(ascending)
    # lexsort sorts by its last key, the score, and then by chance: without that, replicates with equal scores
    # would get their values in the order of the draws, and two tied fractions would move together.
    dealt[np.lexsort((generator.random(len(scores)), scores))] = ascending
    return dealt
