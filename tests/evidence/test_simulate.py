"""The table of coverage: what it counts on made-up intervals, and that the page says what its numbers say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.evidence.result import Measurement
from tests.evidence import simulate
from tests.evidence.simulate import Case, Outcome, cases, filled, merged, outcome, read, write


def replicates_about(centre: float) -> Measurement:
    replicates = np.linspace(centre - 1, centre + 1, 4001)
    return Measurement("x", centre, centre - 1, centre + 1, 9, "prompt", replicates=replicates)


def test_misses_are_counted_by_side_and_withheld_intervals_apart() -> None:
    centres = iter([0.0, 0.0, 5.0, 5.0, 5.0, -5.0, None, None, None, None])

    def made_up(_: np.random.Generator) -> Measurement:
        centre = next(centres)
        return Measurement("x", 0, None, None, 9, "prompt") if centre is None else replicates_about(centre)

    found = outcome(Case("mean", "made up", "prompts", 9, 0.0, made_up), 10)
    assert (found.withheld, found.lower_miss, found.upper_miss) == pytest.approx((0.4, 0.3, 0.1))
    assert found.coverage == pytest.approx(1 / 3)
    assert found.false_verdict == pytest.approx(0.3)


def test_every_case_stands_once_in_the_table() -> None:
    keys = [(c.statistic, c.data, c.n) for c in cases()]
    assert len(keys) == len(set(keys)) > 150


def test_new_rows_take_the_place_of_old_ones_in_the_order_of_the_table() -> None:
    case = next(cases())
    old = Outcome(case.statistic, case.data, case.units, case.n, 10, 0, 0.9, 0.1, 0, 0.1, 0, 1.0, True)
    new = replace(old, repetitions=20, coverage=0.95)
    assert merged([old], [new]) == [new]


def test_the_numbers_read_back_and_the_page_is_that_of_its_numbers(tmp_path) -> None:
    found = read()
    assert filled(simulate.PAGE.read_text(), found) == simulate.PAGE.read_text()
    page = tmp_path / "page.md"
    page.write_text(simulate.PAGE.read_text())
    write(found, tmp_path / "coverage.json", page)
    assert read(tmp_path / "coverage.json") == found
    assert page.read_text() == simulate.PAGE.read_text()


def test_the_committed_numbers_keep_the_promise() -> None:
    """Within four standard errors, for the worst of some hundred rows."""
    for o in read():
        if o.promised:
            assert max(o.lower_miss, o.upper_miss) <= 0.025 + 4 * np.sqrt(0.025 * 0.975 / o.repetitions), o
            if o.coverage is not None and o.withheld < simulate.OFTEN:
                assert o.coverage >= 0.94 - 4 * np.sqrt(0.06 * 0.94 / o.repetitions), o
