"""A figure is drawn with at most so many of its rows, and a bad one is an error."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from engine.errors import TemplateError
from engine.report.charts.draw import MOST_ROWS, draw
from tests.report.charts.made_up import TABLE, XY, figure


def test_holes_and_infinities_become_gaps() -> None:
    table = pd.DataFrame({"layer": [0, 1, 2, 3], "mean_rank": [1.0, np.nan, np.inf, 4.0]})
    spec = draw(figure("line", XY), table).spec
    assert [row["mean_rank"] for row in spec["data"]["values"]] == [1.0, None, None, 4.0]


def test_too_many_rows_are_sampled_and_it_is_said() -> None:
    table = pd.DataFrame({"layer": range(MOST_ROWS + 1), "mean_rank": 1.0})
    chart, again = draw(figure("scatter", XY), table), draw(figure("scatter", XY), table)
    assert chart.sampled == "Drawn from a random 5,000 of 5,001 rows; the CSV has all of them."
    assert chart.spec == again.spec and len(chart.spec["data"]["values"]) == MOST_ROWS
    assert draw(figure("scatter", XY), table.iloc[:MOST_ROWS]).sampled == ""


@pytest.mark.parametrize(
    ("kind", "columns", "options", "table", "problem", "near"),
    [
        ("lines", XY, {}, TABLE, "no chart kind 'lines'", "line"),
        ("line", {"x": "layer"}, {}, TABLE, "a line chart needs y", ""),
        ("line", {**XY, "colour": "which"}, {}, TABLE, "no part of a line chart 'colour'", "color"),
        ("line", {**XY, "color": "whihc"}, {}, TABLE, "no column of table t 'whihc'", "which"),
        ("line", XY, {"logy": True}, TABLE, "no option of a chart 'logy'", "log_y"),
        ("line", {"x": "layer", "y": "which"}, {}, TABLE, "y of a line chart holds numbers", ""),
        ("line", XY, {}, TABLE.iloc[:0], "needs rows", ""),
    ],
)  # fmt: skip
def test_bad_figures_are_errors(kind, columns, options, table, problem: str, near: str) -> None:
    with pytest.raises(TemplateError, match=problem) as caught:
        draw(figure(kind, columns, options), table, "report.md:3")
    assert caught.value.where == "report.md:3" and (not near or near in caught.value.near)
