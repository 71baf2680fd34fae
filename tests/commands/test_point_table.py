"""A sweep as a table: the same cells as CSV and for a screen of any width."""

from __future__ import annotations

import csv
import io

import pytest

from engine.commands.point_table import PointRow, csv_text, measurement_names, point_text
from engine.evidence.result import Measurement
from engine.runs.store.record import RunName

SCORE = Measurement("score", 0.5123, 0.48, 0.54, 20, "prompt")
COUNT = Measurement("n", 20.0, None, None, 20, "prompt", exact=True)


def name(k: int) -> RunName:
    return RunName("words", "count", (("k", k),), "tiny")


ROWS = [
    PointRow(name(1), {"k": 1}, 7, measurements={"score": SCORE}),
    PointRow(name(2), {"k": 2, "model": "small"}, 8, measurements={"n": COUNT, "score": SCORE}),
    PointRow(name(3), {"k": 3}, None, "it failed\n  badly"),
]


def test_csv_has_a_line_a_point_and_four_cells_a_measurement() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(ROWS))))
    assert [row["k"] for row in rows] == ["1", "2", "3"]
    assert [row["run"] for row in rows] == ["7", "8", ""]
    assert [row["model"] for row in rows] == ["", "small", ""]
    assert (rows[0]["score"], rows[0]["score_low"], rows[0]["score_high"], rows[0]["score_n"]) == (
        "0.5123",
        "0.48",
        "0.54",
        "20",
    )
    assert (rows[1]["n"], rows[1]["n_low"], rows[0]["n"]) == ("20.0", "", "")
    assert rows[2]["reason"] == "it failed badly"  # on one line


def test_measurements_are_those_of_any_point_in_the_order_in_which_they_come() -> None:
    assert measurement_names(ROWS) == ["score", "n"]
    assert measurement_names([]) == []


@pytest.mark.parametrize(("width", "tables"), [(200, 1), (30, 2), (5, 2)])
def test_columns_that_do_not_fit_beside_each_other_come_below_with_their_place(
    monkeypatch: pytest.MonkeyPatch, width: int, tables: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = [str(block) for block in point_text(ROWS)]
    heads = [block.splitlines()[0].split() for block in shown if block.startswith("k ")]
    assert len(heads) == tables
    assert all(head[:3] == ["k", "model", "run"] for head in heads)
    assert [column for head in heads for column in head[3:]] == ["score", "n"]


def test_numbers_have_their_interval_and_a_point_without_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = "\n".join(str(block) for block in point_text(ROWS))
    assert "0.51 (0.48 to 0.54)" in shown
    assert "not measured: it failed" in shown
    third = next(line for line in shown.splitlines() if line.startswith("3"))
    assert third.split() == ["3", "-", "-", "-"]
