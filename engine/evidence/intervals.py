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
    factor = stdtrit(n - 1, 1 - TAIL) / ndtri(1 - TAIL) * np.sqrt(n / (n - 1))
    factor *= FEW_WIDTH if n < FEW else 1.0
    away, skew = replicates - value, skewness(replicates)
    stretch = 1 + np.clip(np.abs(skew) - SKEW_NOISE, 0, TOO_SKEWED)
    return value + factor * away * np.where(away * skew > 0, stretch, 1.0)


def effective_rows(share: float, shares: np.ndarray, rows: int, n: int) -> float:
    """How many independent rows a share over n clusters is worth (Korn and Graubard 1998).

    `shares` is "replicate". Where the data show no variance each cluster counts as one row.
    """
    variance = shares.var() * n / (n - 1)
    worth = share * (1 - share) / variance if variance > 0 else n
    narrowing = (stdtrit(rows - 1, 1 - TAIL) / stdtrit(n - 1, 1 - TAIL)) ** 2
    return float(min(worth, rows) * narrowing)


def fraction_values(fraction: float, n: float, replicates: int) -> np.ndarray:
    """Ascending values of a fraction whose tails are those of Clopper and Pearson (1934).

    Below the 2.5th percentile they are Beta(hits, misses + 1), above the 97.5th Beta(hits + 1, misses),
    and in between the one turns into the other. No true fraction falls outside either end in more
    than 2.5 % of samples, all hits or none included; so small samples cover more than 95 %.
    """
    level, step = np.linspace(0, 1, 801, retstep=True)
    turned = np.clip((level - TAIL - step) / (1 - 2 * (TAIL + step)), 0, 1)
    hits, misses = fraction * n + turned, (1 - fraction) * n + 1 - turned
    values = betaincinv(np.maximum(hits, 1e-12), np.maximum(misses, 1e-12), level)
    values = np.where(hits <= 1e-9, 0.0, np.where(misses <= 1e-9, 1.0, values))
    return np.interp(np.linspace(0, 1, replicates), level, values)


def median_values(samples: np.ndarray, n: float, replicates: int) -> np.ndarray:
    """Ascending values of a median: fractional order statistics (Hutson 1999) of n independent rows.

    Where values are tied, as ranks and layers are, they are not interpolated but step outwards.
    """
    at = np.clip(0.5 + np.linspace(-8, 8, 4001) * 0.5 / np.sqrt(n + 1), 1e-9, 1 - 1e-9)
    reached = 1 - betainc((n + 1) * at, (n + 1) * (1 - at), 0.5)
    ordered, rows = np.sort(samples), len(samples)
    place = np.interp(np.linspace(0, 1, replicates), reached, at) * (rows + 1)
    if (np.diff(ordered) == 0).any():
        place = np.where(place < (rows + 1) / 2, np.floor(place), np.ceil(place))
    return np.interp(place, np.arange(1, rows + 1), ordered)


def in_order_of(scores: np.ndarray, ascending: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """`ascending` values dealt out to the replicates by the rank of their score, ties at random."""
    dealt = np.empty_like(ascending)
    dealt[np.lexsort((generator.random(len(scores)), scores))] = ascending
    return dealt
