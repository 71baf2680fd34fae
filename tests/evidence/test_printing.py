import numpy as np
import pytest

from engine.evidence.bootstrap import count, measure
from engine.evidence.printing import digits, interval_text
from engine.evidence.result import Measurement


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (0.87123, 0.848, 0.894, "0.871"),  # half-width 0.023: two digits of it
        (0.87123, 0.82, 0.92, "0.87"),  # 0.05: one
        (12.8437, 9.1, 16.2, "13"),
        (12.8437, 12.7, 13.0, "12.84"),
        (375.2, 200.0, 550.0, "380"),
        (375.2, 10.0, 710.0, "400"),
        (1234567.0, 1200000.0, 1269000.0, "1,230,000"),
        (0.0, -0.012, 0.013, "0.000"),
        (-0.0004, -0.05, 0.05, "0.00"),
        (-3.14159, -3.2, -3.08, "-3.14"),
        (0.000032164, 0.000031, 0.0000334, "3.22e-5"),
        (1.5e9, 1.4e9, 1.62e9, "1.50e9"),
        (0.95, 0.95, 0.95, "0.950"),
        (0.5, 0.5 - 1e-12, 0.5 + 1e-12, "0.500000"),
        (143.0, None, None, "143"),
        (200000.0, None, None, "200,000"),
        (12.8437, None, None, "12.8"),
        (float("nan"), None, None, "not a number"),
        (float("-inf"), None, None, "-infinity"),
    ],
)
def test_a_number_has_the_digits_that_its_interval_supports(
    value: float, low: float | None, high: float | None, expected: str
) -> None:
    assert digits(value, low, high) == expected


def test_an_interval_is_told_with_what_it_rests_on() -> None:
    m = Measurement("x", 0.87123, 0.848, 0.894, 20, "prompt", quantity="logits")
    assert interval_text(m) == "0.871 logits (95 % CI 0.848 to 0.894, n = 20 prompts)"
    assert interval_text(count("kept", 1430, unit="prompt")) == "1,430"
    few = measure("x", np.array([1.0, 2.0, 4.5]), unit="seed")
    assert interval_text(few).startswith("2.50 (no interval, n = 3 seeds: Only 3 seeds")


def test_equal_values_of_all_units_are_told_with_what_they_may_hide() -> None:
    text = interval_text(measure("shared", np.zeros(6), unit="seed"))
    assert text.startswith("0 (no interval, n = 6 seeds: All 6 seeds gave this same value")
    assert "up to 46 % of seeds may give another" in text
