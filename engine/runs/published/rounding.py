"""Numbers as the published files write them: few digits, and nothing that is a default."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

DIGITS = 6


def rounded(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with floats at six significant digits, whole ones without a point, a check's NaN as text."""
    return {name: _short(v) if isinstance(v, float) else v for name, v in fields.items()}


def without_defaults(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields without empty texts and flags that are not set, which are the defaults."""
    return {name: value for name, value in fields.items() if value is not False and value != ""}


def _short(value: float) -> float | int | str:
    if not math.isfinite(value):
        return repr(value)
    value = float(f"{value:.{DIGITS}g}")
    return int(value) if value.is_integer() and abs(value) < 10**DIGITS else value


def floats(measurement: Mapping[str, Any]) -> dict[str, Any]:
    """A measurement's value and ends as floats again."""
    numbers = {k: measurement[k] for k in ("value", "low", "high")}
    return {**measurement, **{k: None if v is None else float(v) for k, v in numbers.items()}}
