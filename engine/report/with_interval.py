"""A number with its interval on one line, as tables of numbers print it."""

from __future__ import annotations

from engine.evidence.printing import digits


def with_interval(value: float, low: float | None, high: float | None) -> str:
    """`0.50 (0.48 to 0.52)`, with the digits that the interval supports; the value alone without one."""
    text = digits(value, low, high)
    if low is None or high is None:
        return text
    return f"{text} ({digits(low, low, high)} to {digits(high, low, high)})"
