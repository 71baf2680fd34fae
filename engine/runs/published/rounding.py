"""Numbers as the published files write them: few digits, and nothing that is a default."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from engine.evidence.result import Measurement

DIGITS = 6
FLOATS = tuple(f.name for f in dataclasses.fields(Measurement) if str(f.type).startswith("float"))
EMPTY = {f.name: f.default for f in dataclasses.fields(Measurement) if f.default in (None, 0, "", False)}
"""What a measurement that lacks a field reads back; `value`, `low` and `high` are always written."""


def rounded(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with floats at six significant digits, whole ones without a point."""
    return {name: _short(v) if isinstance(v, float) else v for name, v in fields.items()}


def without_defaults(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a measurement without empty texts, unset flags, and numbers that it does not have."""
    return {n: value for n, value in fields.items() if n not in EMPTY or value != EMPTY[n]}


def _short(value: float) -> float | int | str:
    if not math.isfinite(value):
        return repr(value)
    value = float(f"{value:.{DIGITS}g}")
    # `12` and not `12.0`: a diff shows the numbers that changed and no change of notation.
    return int(value) if value.is_integer() and abs(value) < 10**DIGITS else value


def with_floats(measurement: Mapping[str, Any]) -> dict[str, Any]:
    """A measurement's value, ends and frequency as floats again, where they were written without a point."""
    numbers = {name: measurement[name] for name in FLOATS if name in measurement}
    # Ends may be missing, where a number has no interval.
    again = {name: None if number is None else float(number) for name, number in numbers.items()}
    return {**measurement, **again}
