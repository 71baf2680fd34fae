"""Numbers as people read them: with the digits that their interval supports, and no more."""

from __future__ import annotations

import math

from engine.evidence.plural import counted
from engine.evidence.result import Measurement, Population

PLAIN_DIGITS = 3  # significant digits of an estimate without an interval
MOST_DIGITS = 6  # significant digits that even the narrowest interval earns
LARGEST_EXPONENT, SMALLEST_EXPONENT = 7, -4  # beyond these, scientific notation


def digits(value: float, low: float | None, high: float | None) -> str:
    """The value, rounded where the interval's half-width has its second significant digit at most.

    A whole number without an interval prints whole; anything else without one, with three digits.
    """
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("-" if value < 0 else "") + "infinity"
    if low is None or high is None or not math.isfinite(high - low) or high == low:
        plain = _place(value) - PLAIN_DIGITS + 1
        return _whole(value) if float(value).is_integer() else _rounded(value, plain)
    # The half-width's own leading digit decides: below 3 it earns one digit more, so that rounding moves the
    # value by at most a sixth of the half-width.
    half = (high - low) / 2
    leading = half / 10.0 ** _place(half)
    finest = _place(max(abs(low), abs(high))) - MOST_DIGITS + 1
    return _rounded(value, max(finest, _place(half) - (1 if leading < 3 else 0)))


def interval_text(measurement: Measurement) -> str:
    """`0.50 (95 % CI 0.48 to 0.52, n = 20 prompts)`; a count says only what it counts."""
    m = measurement
    value = " ".join(filter(None, [digits(m.value, m.low, m.high), m.quantity]))
    if m.exact:
        return value
    who = f"n = {sample_in_words(m)}"
    if m.is_choice:
        return f"{value} ({frequency_in_words(m)}, {who})"
    if m.low is None or m.high is None:
        return f"{value} (no interval, {who}: {m.note})"
    ends = f"{digits(m.low, m.low, m.high)} to {digits(m.high, m.low, m.high)}"
    return f"{value} (95 % CI {ends}, {who})"


def sample_in_words(measurement: Measurement) -> str:
    """`150 prompts`, or `150 prompts of 24 relations` where they come in clusters."""
    m = measurement
    units = counted(m.n, m.unit)
    return f"{units} of {counted(m.n_clusters, m.cluster_unit)}" if m.cluster_unit else units


def population_in_words(measurement: Measurement, population: Population) -> str:
    """`24 relations like these`, `these 24 relations`; `150 prompts like these` without clusters."""
    m = measurement
    if not m.cluster_unit:
        return f"{counted(m.n, m.unit)} like these"
    clusters = counted(m.n_clusters, m.cluster_unit)
    return f"{clusters} like these" if population == "like-these" else f"these {clusters}"


def frequency_in_words(measurement: Measurement) -> str:
    """`chosen in 34 % of resamples`: how often a choice would be made again."""
    return f"chosen in {100 * (measurement.frequency or 0):.0f} % of resamples"


def _place(value: float) -> int:
    """The power of ten of the first significant digit."""
    return math.floor(math.log10(abs(value))) if value else 0


def _whole(value: float) -> str:
    return f"{value:,.0f}" if _place(value) < 15 else f"{value:.3g}"


def _rounded(value: float, place: int) -> str:
    """The value to the digit of 10**place: `12.84` at -1 is `12.8`."""
    rounded = round(value, -place)
    if rounded == 0:
        return f"{0:.{max(0, -place)}f}" if place >= SMALLEST_EXPONENT - 2 else "0"
    size = _place(rounded)
    if not SMALLEST_EXPONENT <= size <= LARGEST_EXPONENT:
        return f"{value:.{max(0, size - place)}e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    return f"{rounded:,.{max(0, -place)}f}"
