"""How much measuring a build may do: none, some minutes, or all of it."""

from __future__ import annotations

import math
import re

from engine.errors import EngineError

UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600}
AMOUNT = re.compile(r"(?:\d+(?:\.\d+)?[smh])+")
PART = re.compile(r"(\d+(?:\.\d+)?)([smh])")


def parse_budget(text: str) -> float:
    """Seconds: `0` renders only, `90s`, `10m` or `1h30m` measures so long, `all` (infinity) everything."""
    plain = text.strip().lower()
    if plain == "all":
        return math.inf
    if plain == "0":
        return 0.0
    if AMOUNT.fullmatch(plain):
        return sum(float(number) * UNIT_SECONDS[unit] for number, unit in PART.findall(plain))
    raise EngineError(
        f"{text!r} is not a budget",
        where="--budget",
        expected="0 (render only), a time such as 90s, 10m, 1h or 1h30m, or all",
        near=[f"{plain}m"] if re.fullmatch(r"\d+(\.\d+)?", plain) else (),
    )
