import numpy as np
import pytest

from engine.evidence.bootstrap import count, measure
from engine.evidence.printing import digits, interval_text, printable
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


def test_equal_values_of_all_units_make_no_interval_but_say_what_they_may_hide() -> None:
    flat = Measurement("shared", 0.0, 0.0, 0.0, 6, "seed", replicates=np.zeros(4000))  # as once published
    shown = printable(flat)
    assert (shown.value, shown.low, shown.high, shown.n) == (0, None, None, 6)
    assert "All 6 seeds gave this same value" in shown.note
    assert "up to 46 % of seeds may give another" in shown.note
    assert interval_text(shown).startswith("0 (no interval, n = 6 seeds: All 6 seeds")
    assert shown.replicates is flat.replicates  # so that claims are judged as before
    assert measure("shared", np.zeros(6), unit="seed").note == shown.note


@pytest.mark.parametrize(
    "m",
    [
        measure("varied", np.array([0.0, 0, 0, 0, 0.5, 0, 0.1, 0.3]), unit="seed"),
        measure("narrow", 1 + 1e-8 * np.random.default_rng(0).normal(size=20), unit="seed"),
        measure("none", np.zeros(20, dtype=bool), unit="prompt"),  # exact: 0 to 0.17, by Clopper and Pearson
        measure("layer", np.full(50, 24.0), "median", unit="prompt"),  # exact: by order statistics
        measure("few", np.zeros(3), unit="seed"),
        count("kept", 0, unit="prompt"),
    ],
    ids=lambda m: m.name,
)
def test_every_other_number_is_told_as_it_was_measured(m: Measurement) -> None:
    assert printable(m) is m
