"""Measurements with 95 % bootstrap intervals over the true unit of sampling.

1. Draw the units with replacement, 4000 times, by draws that all measurements over the same units share.
2. Compute the statistic on each resample, and without each unit in turn.
3. Deal out values of a known distribution in the order of the replicates: each side of an interval, at
   2.5 % and at lower levels, then misses the truth no more often than it says.
4. Withhold the interval, and say why, where the units cannot bear one.

What is done for each statistic, and on whose authority, stands in intervals.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Required, TypedDict, Unpack

import numpy as np

from engine.errors import ResultError
from engine.evidence.estimates import Estimate, RowFunction, Sample, estimate
from engine.evidence.intervals import TAIL
from engine.evidence.resampling import REPLICATES, units_of
from engine.evidence.result import Measurement

__all__ = ["REPLICATES", "MeasurementDetails", "count", "difference", "measure", "rate"]


class MeasurementDetails(TypedDict, total=False):
    """What `measure`, `rate` and `difference` may be told besides the numbers."""

    unit: Required[str]
    """What one row is a sample of: "prompt", "seed"; with `clusters`, what is resampled."""
    ids: Sequence | np.ndarray | None
    """The unit of each row, numbered where not given; measurements over the same ids are paired."""
    clusters: Any
    """The unit of each row where several share one; or "row 2", both units of a row that is a pair."""
    bounds: tuple[float, float] | None
    """The ends of the scale, at which replicates are clipped."""
    quantity: str
    about: str
    control: str
    chosen_on: str


def measure(
    name: str, samples: Any, statistic: str | RowFunction = "mean", **details: Unpack[MeasurementDetails]
) -> Measurement:
    """A named number with its 95 % interval, from per-unit samples, "row" or "row column".

    `statistic` is mean, median, fraction (of rows that are true), ratio (of the means of two columns),
    pearson, spearman, or a function of the rows, which sees each as often as it was drawn. A mean of
    booleans is a fraction. `n` counts units. Raises ResultError for NaN, no rows, and ids that do not fit.
    """
    if isinstance(statistic, str) and statistic == "mean" and np.asarray(samples).dtype == bool:
        statistic = "fraction"
    sample = _sample(name, samples, details)
    label = statistic if isinstance(statistic, str) else getattr(statistic, "__name__", "function")
    return _measurement(sample, label, estimate(sample, statistic), details)


def rate(name: str, numerator: Any, denominator: Any, **details: Unpack[MeasurementDetails]) -> Measurement:
    """The mean of one per-unit column over the mean of another: explained variance, recovered fractions.

    Not the mean of the ratios, which a unit with a small denominator would rule. Withheld where the
    denominator may be zero (Fieller 1954). For explained variance the numerator is total minus residual.
    """
    return measure(name, np.column_stack([numerator, denominator]), "ratio", **details)


def difference(
    name: str, first: Any, second: Any, statistic: str = "mean", **details: Unpack[MeasurementDetails]
) -> Measurement:
    """The first minus the second mean, median or fraction of the same units, paired unit by unit.

    A difference of medians is not the median of the differences; for that, measure the differences.
    """
    one = np.asarray(first)
    other = np.asarray(second)
    # The mean of differences is the difference of means: one column, with one skewness to correct for.
    if statistic == "mean" and one.dtype != bool:
        return measure(name, one - other, "mean", **details)
    # Fractions and medians have no such identity. Both sides share their draws, so that replicate r of each
    # is the same resample and the differences are paired. Bounds are those of the difference, not of its
    # sides.
    sides: MeasurementDetails = {**details, "bounds": None}
    minuend = measure(f"{name}, first", one, statistic, **sides)
    subtrahend = measure(f"{name}, second", other, statistic, **sides)
    replicates = None
    if minuend.replicates is not None and subtrahend.replicates is not None:
        replicates = minuend.replicates - subtrahend.replicates
    found = Estimate(minuend.value - subtrahend.value, replicates, minuend.note or subtrahend.note)
    sample = _sample(name, np.column_stack([one, other]), details)
    return _measurement(sample, f"difference of {minuend.statistic}s", found, details)


def count(
    name: str, value: float, *, unit: str, about: str = "", quantity: str = "", n: int | None = None
) -> Measurement:
    """A number that is exact by design (prompts kept, layers, parameters) and so has no interval."""
    if not np.isfinite(value):
        raise ResultError(f"{name} is not a number", seen=repr(value))
    return Measurement(
        name=name,
        value=float(value),
        low=None,
        high=None,
        n=int(abs(value)) if n is None else n,
        unit=unit,
        statistic="count",
        quantity=quantity,
        about=about,
        exact=True,
    )


def _sample(name: str, samples: Any, details: MeasurementDetails) -> Sample:
    try:
        rows = np.asarray(samples, dtype=float)
    except (TypeError, ValueError) as error:
        raise ResultError(f"{name} has samples that are not numbers", seen=str(error)) from error
    if rows.size == 0 or rows.ndim not in (1, 2):
        raise ResultError(f"{name} has no samples", expected="an array of rows", seen=f"shape {rows.shape}")
    ids = details.get("ids")
    clusters = details.get("clusters")
    units = units_of(name, len(rows), details["unit"], ids, clusters)
    broken = np.flatnonzero(~np.isfinite(rows.reshape(len(rows), -1)).all(axis=1))
    if len(broken):
        given = ids if ids is not None else clusters if clusters is not None else range(len(rows))
        named = ", ".join(str(np.asarray(given)[i]) for i in broken[:5])
        raise ResultError(
            f"{name} is NaN or infinite for {len(broken)} of {len(rows)} rows",
            seen=f"{details['unit']} {named}{', ...' if len(broken) > 5 else ''}",
        )
    return Sample(name, details["unit"], rows, units)


def _measurement(sample: Sample, statistic: str, found: Estimate, details: MeasurementDetails) -> Measurement:
    replicates = found.replicates
    low = high = None
    if replicates is not None:
        # Clipped before the percentiles are taken: a claim that is judged by replicates sees what they show.
        replicates = np.clip(replicates, *(details.get("bounds") or (-np.inf, np.inf)))
        low, high = (float(end) for end in np.quantile(replicates, [TAIL, 1 - TAIL]))
    return Measurement(
        name=sample.name,
        value=found.value,
        low=low,
        high=high,
        n=sample.units.n,
        unit=sample.unit,
        statistic=statistic,
        quantity=details.get("quantity", ""),
        about=details.get("about", ""),
        note=found.note,
        control=details.get("control", ""),
        chosen_on=details.get("chosen_on", ""),
        samples=sample.rows,
        replicates=replicates,
    )
