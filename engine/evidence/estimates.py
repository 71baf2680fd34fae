"""One estimator for each statistic: the value, its replicates, and a sentence where these need caution."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.errors import ResultError, nearest
from engine.evidence import intervals as iv
from engine.evidence import resampling as rs
from engine.evidence.resampling import SamplingUnits

RowFunction = Callable[[np.ndarray], float]
"""Any function of the rows, "row" or "row column", to a number."""


@dataclass(frozen=True)
class Sample:
    """The rows of one measurement and the units behind them."""

    name: str
    unit: str
    rows: np.ndarray
    units: SamplingUnits

    @property
    def who(self) -> str:
        return f"{self.units.n} {self.unit}{'' if self.units.n == 1 else 's'}"

    def columns(self, needed: int) -> np.ndarray:
        if self.rows.shape[1:] == (() if needed == 1 else (needed,)):
            return self.rows
        raise ResultError(
            f"{self.name}: the statistic does not fit the samples",
            expected="one value in each row" if needed == 1 else f"{needed} columns",
            seen=f"shape {self.rows.shape}",
        )

    def tie_breaker(self) -> np.random.Generator:
        """Depends on name and numbers, so that two fractions which happen to agree are not one."""
        # Rows in any order are the same numbers, so they are sorted before they are hashed.
        order = np.lexsort((self.rows, *self.units.members.T))
        key = f"{self.units.seed}\x1f{self.name}".encode() + self.rows[order].tobytes()
        return np.random.default_rng(int.from_bytes(hashlib.sha256(key).digest()[:16], "big"))


@dataclass(frozen=True)
class Estimate:
    """A value with its replicates, or with the reason for having none."""

    value: float
    replicates: np.ndarray | None
    note: str = ""


def estimate(sample: Sample, statistic: str | RowFunction) -> Estimate:
    """A statistic by name, or any function of the rows. Raises ResultError for an unknown name."""
    if callable(statistic):
        return _of_function(sample, statistic)
    if statistic in ESTIMATORS:
        return ESTIMATORS[statistic](sample)
    raise ResultError(
        f"{sample.name}: no statistic {statistic!r}",
        expected="a function of the rows, or one of " + ", ".join(ESTIMATORS),
        near=nearest(statistic, ESTIMATORS),
    )


def _mean(sample: Sample) -> Estimate:
    rows = sample.columns(1)
    return _spread(sample, float(rows.mean()), rs.resampled(rs.weighted_means, rows, sample.units))


def _ratio(sample: Sample) -> Estimate:
    rows = sample.columns(2)
    # The ratio of the means, resampled as a pair, so that numerator and denominator keep their correlation.
    over, under = rows.mean(axis=0)
    if under == 0:
        raise ResultError(f"{sample.name} divides by zero", seen="a denominator with mean 0")
    means = rs.resampled(rs.weighted_means, rows, sample.units)
    # Fieller (1954): where the denominator may be zero, the set of ratios that fit is unbounded. A resample
    # whose denominator has the other sign, or none, shows that these units cannot exclude it.
    if (means[:, 1] * under <= 0).any():
        note = f"Over {sample.who} the denominator may be zero, so that the ratio has no interval."
        return Estimate(float(over / under), None, note)
    return _spread(sample, float(over / under), means[:, 0] / means[:, 1])


def _correlation(sample: Sample, statistic: rs.Statistic) -> Estimate:
    """Spread on Fisher's z scale, where no end passes 1."""
    rows = sample.columns(2)
    inside = 1 - 1e-6
    # The statistic on the sample is that on the one resample in which each row stands once.
    value = _existing(sample, statistic(np.ones((1, len(rows)), np.float32), rows)[0])
    if abs(value) > inside:
        note = f"Perfect over these {sample.who}: resampling cannot say how far from perfect it may be."
        return Estimate(value, None, note)
    # Fisher's z = artanh r is nearly normal with a variance that does not depend on r; spread there and taken
    # back by tanh, the interval is longer towards 0, as it should be, and ends before 1.
    raw = np.arctanh(np.clip(rs.resampled(statistic, rows, sample.units), -inside, inside))
    if refusal := _refusal(sample, raw):
        return Estimate(value, None, refusal)
    return Estimate(value, np.tanh(iv.expanded(np.arctanh(value), raw, sample.units.n)), _few(sample))


def _of_function(sample: Sample, function: RowFunction) -> Estimate:
    value = _existing(sample, function(sample.rows))
    return _spread(sample, value, rs.resampled(rs.on_rows(function), sample.rows, sample.units))


def _existing(sample: Sample, value: float) -> float:
    if np.isfinite(value):
        return float(value)
    raise ResultError(f"{sample.name} does not exist for these samples", seen=repr(float(value)))


def _fraction(sample: Sample) -> Estimate:
    rows = sample.columns(1)
    if not np.isin(rows, (0, 1)).all():
        raise ResultError(f"{sample.name} is a fraction of rows that are true", expected="0 or 1 in each row")
    value = float(rows.mean())
    # The resampled shares say in which order the replicates come, and for clusters what the rows are worth.
    # The values are of the exact distribution: resamples of all hits would all be 1.
    shares = rs.resampled(rs.weighted_means, rows, sample.units)
    worth = _worth(sample, value, shares)
    if sample.units.clustered and sample.units.n < iv.TOO_FEW:
        return Estimate(value, None, _too_few(sample))
    return _dealt(sample, value, shares, iv.fraction_values(value, worth, len(shares)))


def _median(sample: Sample) -> Estimate:
    rows = sample.columns(1)
    value = float(np.median(rows))
    # The share of rows above the median, ties as a half: it rises and falls with a resample's median, but
    # takes many values where the median itself takes a few.
    shares = rs.resampled(rs.weighted_means, (1 + np.sign(rows - value)) / 2, sample.units)
    worth = _worth(sample, 0.5, shares)
    # All n rows lie above the true median with probability 2^-n, and below it likewise: where that is more
    # than 2.5 % (n of 5 or less), even the interval from the smallest to the largest row covers too little.
    if 0.5 ** min(worth, sample.units.n) > iv.TAIL:
        return Estimate(value, None, _too_few(sample))
    return _dealt(sample, value, shares, iv.median_values(rows, worth, len(shares)))


def _worth(sample: Sample, share: float, shares: np.ndarray) -> float:
    rows = len(sample.rows)
    n = sample.units.n
    return iv.effective_rows(share, shares, rows, n) if sample.units.clustered and n > 1 else n


def _dealt(sample: Sample, value: float, shares: np.ndarray, ascending: np.ndarray) -> Estimate:
    """Values of known distribution, dealt out in the order of a share that the resamples give."""
    return Estimate(value, iv.in_order_of(shares, ascending, sample.tie_breaker()))


def _spread(sample: Sample, value: float, raw: np.ndarray) -> Estimate:
    """Replicates spread about the value, or the reason why these units bear no interval."""
    if refusal := _refusal(sample, raw):
        return Estimate(value, None, refusal)
    skew = float(iv.skewness(raw))
    # The replicates of a mean are skewed as the data are, over root n. Beyond this much the stretch of one
    # side does not mend the interval (intervals.py).
    if abs(skew) >= iv.TOO_SKEWED:
        note = f"One or two of {sample.who} carry this number, so that it has no interval to trust."
        return Estimate(value, None, note)
    notes = [_few(sample), _skewed(sample, skew)]
    if np.ptp(raw) == 0:
        notes.append(f"All {sample.who} give the same number.")
    return Estimate(value, iv.expanded(value, raw, sample.units.n), " ".join(filter(None, notes)))


def _refusal(sample: Sample, raw: np.ndarray) -> str:
    if sample.units.n < iv.TOO_FEW:
        return _too_few(sample)
    missing = int((~np.isfinite(raw)).sum())
    return f"The number does not exist on {missing} of {len(raw)} resamples: no interval." if missing else ""


def _too_few(sample: Sample) -> str:
    return f"Only {sample.who}: no 95 % interval over so few can be trusted."


def _few(sample: Sample) -> str:
    if sample.units.n >= iv.FEW:
        return ""
    return f"Only {sample.who}, too few to show how they spread: the interval is a quarter wider."


def _skewed(sample: Sample, skew: float) -> str:
    if abs(skew) < iv.SKEWED:
        return ""
    side = "upper" if skew > 0 else "lower"
    more = 100 * (abs(skew) - iv.SKEW_NOISE)
    return f"A few {sample.unit}s lie far out: the {side} side is {more:.0f} % wider."


ESTIMATORS: dict[str, Callable[[Sample], Estimate]] = {
    "mean": _mean,
    "median": _median,
    "fraction": _fraction,
    "ratio": _ratio,
    "pearson": lambda sample: _correlation(sample, rs.weighted_pearson),
    "spearman": lambda sample: _correlation(sample, rs.weighted_spearman),
}
