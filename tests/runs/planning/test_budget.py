"""How a budget is written."""

from __future__ import annotations

import math

import pytest

from engine.errors import EngineError
from engine.runs.planning.budget import parse_budget


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90s", 90), ("10m", 600), ("1h", 3600), ("1h30m", 5400), (" 1.5M ", 90), ("all", math.inf)],
)
def test_a_budget_in_seconds(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "ten", "10", "-5m", "5 m", "10d", "nan", "inf", "m"])
def test_what_is_no_budget_is_refused_with_the_ways_to_write_one(text: str) -> None:
    with pytest.raises(EngineError, match=r"expected: 0 \(render only\).* 10m.* or all"):
        parse_budget(text)


def test_a_number_without_unit_suggests_minutes() -> None:
    with pytest.raises(EngineError) as caught:
        parse_budget("10")
    assert caught.value.near == ("10m",)
