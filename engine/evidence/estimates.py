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

    @property
    def is_small(self) -> bool:
        """Whether the units are so few that an odd one may well be missing."""
        return self.units.n < iv.FEW

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
    raw = rs.resampled(rs.weighted_means, rows, sample.units)
    left_out = rs.leave_one_out_means(rows, sample.units)
    n = iv.equal_units(rs.totals(np.ones(len(rows)), sample.units))
    return _spread(sample, Resampled(float(rows.mean()), raw, left_out, float(np.abs(rows).max()), n))


def _ratio(sample: Sample) -> Estimate:
    rows = sample.columns(2)
    # The ratio of the means, resampled as a pair, so that numerator and denominator keep their correlation.
    over, under = rows.mean(axis=0)
    if under == 0:
        raise ResultError(f"{sample.name} divides by zero", seen="a denominator with mean 0")
    value = float(over / under)
    means = rs.resampled(rs.weighted_means, rows, sample.units)
    left_out = rs.leave_one_out_means(rows, sample.units)
    # Fieller (1954): where the denominator may be zero, the set of ratios that fit is unbounded. A resample
    # whose denominator has the other sign, or none, shows that these units cannot exclude it.
    if (means[:, 1] * under <= 0).any() or (left_out[:, 1] * under <= 0).any():
        note = f"Over {sample.who} the denominator may be zero, so that the ratio has no interval."
        return Estimate(value, None, note)
    n = iv.equal_units(rs.totals(rows[:, 1], sample.units))
    found = Resampled(value, means[:, 0] / means[:, 1], left_out[:, 0] / left_out[:, 1], abs(value), n)
    return _spread(sample, found)


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
    n = sample.units.drawn
    # Fisher (1921): z lies r / 2 (n - 1) too far out, and of normal columns it has variance 1 / (n - 3).
    z = float(np.arctanh(value) - value / (2 * (n - 1)))
    least_error = 0.0 if sample.units.clustered else 1 / np.sqrt(n - 3)
    scores = (raw - z) * rs.student_scales(sample.units)
    dealt = iv.in_order_of(scores, iv.correlation_values(z, raw, n, least_error))
    note = f"Only {sample.who}: the interval is a quarter wider. {_rare(sample)}" if sample.is_small else ""
    return Estimate(value, np.tanh(dealt), note)


def _of_function(sample: Sample, function: RowFunction) -> Estimate:
    value = _existing(sample, function(sample.rows))
    statistic = rs.on_rows(function)
    if sample.units.n < iv.TOO_FEW_FOR_A_FUNCTION:
        note = f"Only {sample.who}: a function of the rows has no interval over so few; a mean may have one."
        return Estimate(value, None, note)
    raw = rs.resampled(statistic, sample.rows, sample.units)
    if refusal := _refusal(sample, raw):
        return Estimate(value, None, refusal)
    # A high quantile, or a largest value, is the same on many resamples, and the true one lies beyond all.
    at_the_end = max(np.mean(raw == raw.min()), np.mean(raw == raw.max()))
    if np.ptp(raw) > 0 and at_the_end > iv.TAIL:
        note = f"It rests on the most extreme of {sample.who}, beyond which they show nothing: no interval."
        return Estimate(value, None, note)
    left_out = rs.leave_one_out(statistic, sample.rows, sample.units)
    found = Resampled(value, raw, left_out, abs(value), sample.units.drawn)
    return _spread(sample, found, function=True)


def _existing(sample: Sample, value: float) -> float:
    if np.isfinite(value):
        return float(value)
    raise ResultError(f"{sample.name} does not exist for these samples", seen=repr(float(value)))


def _fraction(sample: Sample) -> Estimate:
    rows = sample.columns(1)
    if not np.isin(rows, (0, 1)).all():
        raise ResultError(f"{sample.name} is a fraction of rows that are true", expected="0 or 1 in each row")
    value = float(rows.mean())
    if sample.units.clustered and sample.units.n < iv.TOO_FEW:
        return Estimate(value, None, _too_few(sample))
    # The resampled shares say in which order the replicates come. The values are of the exact distribution:
    # resamples of all hits would all be 1.
    influences = _influences_on_share(sample, rows)
    values = iv.fraction_values(value, _worth(sample, value, influences), rs.REPLICATES)
    if sample.units.clustered:
        n = sample.units.drawn
        values = iv.widened_fraction(values, value, _error(influences), float(iv.skewness(influences)), n)
    return _dealt(sample, value, rows, values)


def _median(sample: Sample) -> Estimate:
    rows = sample.columns(1)
    value = float(np.median(rows))
    # The share of rows above the median, ties as a half: it rises and falls with a resample's median, but
    # takes many values where the median itself takes a few.
    above = (1 + np.sign(rows - value)) / 2
    if sample.units.clustered and sample.units.n < iv.TOO_FEW:
        return Estimate(value, None, _too_few(sample))
    # The rows lie about their own median and so closer than about the true one, as about two parameters.
    worth = _worth(sample, 0.5, _influences_on_share(sample, above), parameters=2)
    # All n rows lie above the true median with probability 2^-n, and below it likewise: where that is more
    # than 2.5 % (n of 5 or less), even the interval from the smallest to the largest row covers too little.
    if 0.5 ** min(float(worth.at(iv.TAIL)), sample.units.n) > iv.TAIL:
        return Estimate(value, None, _too_few(sample))
    return _dealt(sample, value, above, iv.median_values(rows, worth, rs.REPLICATES))


def _influences_on_share(sample: Sample, rows: np.ndarray) -> np.ndarray:
    """How each cluster moves a share of the rows; nothing where rows are units, whose worth is known."""
    if not sample.units.clustered:
        return np.zeros(1)
    left_out = rs.leave_one_out_means(rows, sample.units)
    return Resampled(float(rows.mean()), np.empty(0), left_out, 1.0, sample.units.drawn).influences()


def _error(influences: np.ndarray) -> float:
    """The standard error by the jackknife (Tukey 1958); of a mean, s / root n."""
    n = len(influences)
    return float(np.sqrt((influences**2).sum() / (n * (n - 1))))


def _worth(sample: Sample, share: float, influences: np.ndarray, parameters: int = 1) -> iv.Worth:
    n = sample.units.n
    if not sample.units.clustered:
        return iv.Worth(n)
    variance = _error(influences) ** 2 * (n - 1) / (n - parameters)
    return iv.worth_of_clusters(share, variance, len(sample.rows), n - parameters + 1)


def _dealt(sample: Sample, value: float, rows: np.ndarray, ascending: np.ndarray) -> Estimate:
    """Values of known distribution, dealt out in the order of the share that resamples give."""
    shares = rs.resampled(rs.weighted_means, rows, sample.units)
    return Estimate(value, iv.in_order_of(shares, ascending, sample.tie_breaker()))


@dataclass(frozen=True)
class Resampled:
    """A number on the sample, on every resample ("replicate") and without each unit in turn ("unit")."""

    value: float
    replicates: np.ndarray
    left_out: np.ndarray
    scale: float
    """The size of what is averaged, against which the last digits of a sum are told from a spread."""
    equal_units: float
    """How many units there were, if all had the same weight: the same cluster size, or denominator."""

    def influences(self) -> np.ndarray:
        """What each unit adds to the number, times n, about their mean: for a mean its rows less the mean."""
        pseudo = (len(self.left_out) - 1) * (self.value - self.left_out)
        return pseudo - pseudo.mean()


def _spread(sample: Sample, found: Resampled, function: bool = False) -> Estimate:
    """Replicates spread about the value, or the reason why these units bear no interval."""
    value = found.value
    if refusal := _refusal(sample, found.replicates):
        return Estimate(value, None, refusal)
    if not np.isfinite(found.left_out).all():
        return Estimate(value, None, f"It does not exist without one of the {sample.who}: no interval.")
    influences = found.influences()
    n = sample.units.drawn
    if refusal := _says_too_little(sample, found, influences, function):
        return Estimate(value, None, refusal)
    error = _error(influences)
    skews = [float(iv.skewness(influences))]
    if function:
        # A function that jumps from row to row, as a quantile does, has influences that say little: then the
        # bootstrap knows better. Its replicates are skewed as the influences are, over root n.
        error = max(error, float(found.replicates.std() * np.sqrt(n / (n - 1))))
        skews.append(float(iv.skewness(found.replicates)) * np.sqrt(n))
    # Each side has room for the skewness that is worse for it; for a mean both are one.
    above, below = (
        iv.student_values(value, error, skew, found.equal_units, len(found.replicates), function)
        for skew in (max(skews), min(skews))
    )
    values = np.where(above > value, above, below)
    # The normal deviations of the resamples, made those of Student's t: so a difference of two means is
    # spread by t too, whatever its sides are.
    scores = (found.replicates - value) * rs.student_scales(sample.units)
    return Estimate(
        value, iv.in_order_of(scores, values), _widened(sample, found.equal_units, skews[0], function)
    )


def _says_too_little(sample: Sample, found: Resampled, influences: np.ndarray, function: bool) -> str:
    """Why these units show no spread that the number could be judged by, or nothing."""
    units = f"{sample.unit}s"
    flat = np.ptp(found.replicates) if function else np.abs(influences).max()
    if flat <= iv.SAME * found.scale:
        share = f"{100 * iv.unseen_share(sample.units.n):.2g} %"
        return (
            f"All {sample.units.n:,} {units} gave this same value, so that no interval can be made; "
            f"up to {share} of {units} may give another."
        )
    # A quantile has few different influences, whatever its rows are: so a function is judged by its rows.
    if (off := iv.off_the_mode(sample.rows if function else influences)) is not None:
        return f"All but {off} of {sample.who} gave the same value: too few others to know how they spread."
    few = found.equal_units < iv.TOO_FEW - 1
    if few or iv.carried_by_one(float(iv.skewness(influences)), sample.units.drawn):
        return f"One or two of {sample.who} carry this number, so that it has no interval to trust."
    return ""


def _refusal(sample: Sample, raw: np.ndarray) -> str:
    if sample.units.n < iv.TOO_FEW:
        return _too_few(sample)
    missing = int((~np.isfinite(raw)).sum())
    return f"The number does not exist on {missing} of {len(raw)} resamples: no interval." if missing else ""


def _too_few(sample: Sample) -> str:
    return f"Only {sample.who}: no 95 % interval over so few can be trusted."


def _rare(sample: Sample) -> str:
    """What few units cannot show, however wide their interval is."""
    missed = 0.9**sample.units.n
    return f"One odd {sample.unit} in ten would be missed by {missed:.0%} of such samples.".replace("%", " %")


def _widened(sample: Sample, n: float, skew: float, function: bool) -> str:
    """Why the interval is wider than Student's t, where it is so by a quarter or more."""
    upper, lower = iv.widening(skew, n, function)
    wide = (upper + lower) / 2
    notes = []
    if sample.is_small:
        notes.append(
            f"Only {sample.who}: the interval is {wide:.1f} times Student's, in case they are skewed."
        )
        notes.append(_rare(sample))
    elif wide >= iv.WIDE:
        notes.append(f"{sample.who} cannot exclude skewed data: the interval is {wide:.1f} times Student's.")
    longer = max(upper, lower) / min(upper, lower)
    if longer >= iv.WIDE:
        side = "upper" if upper > lower else "lower"
        notes.append(f"A few {sample.unit}s lie far out: the {side} side is {longer:.1f} times as long.")
    return " ".join(notes)


ESTIMATORS: dict[str, Callable[[Sample], Estimate]] = {
    "mean": _mean,
    "median": _median,
    "fraction": _fraction,
    "ratio": _ratio,
    "pearson": lambda sample: _correlation(sample, rs.weighted_pearson),
    "spearman": lambda sample: _correlation(sample, rs.weighted_spearman),
}
