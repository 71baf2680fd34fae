"""A chart in words names its trend, its extremes and how much was drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pandas.api.extensions import ExtensionArray

from engine.report.charts.alt_text import describe
from tests.report.charts.made_up import TABLE, XY, figure


def test_the_words_name_trend_extremes_and_rows() -> None:
    alt = describe(figure("line", {**XY, "color": "which"}), TABLE)
    assert alt == (
        "Rank by layer. Line chart of mean rank against layer. "
        "answer: falls from 300 at layer 0 to 5 at layer 2; highest 300 at layer 0, lowest 5 at layer 2. "
        "another: falls from 310 at layer 0 to 150 at layer 2; "
        "highest 310 at layer 0, lowest 150 at layer 2. "
        "Drawn from 6 rows."
    )


@pytest.mark.parametrize(
    ("kind", "columns", "said"),
    [
        ("bar", {"x": "mean_rank", "y": "which"}, "of mean rank by which. 6 bars; highest 310 at another"),
        ("heatmap", {**XY, "y": "which", "color": "mean_rank"}, "highest 310 at layer 0, another"),
        ("strip", {"x": "which", "y": "mean_rank"}, "Median answer 40, another 200."),
        ("ecdf", {"x": "mean_rank"}, "Half of the values are at or below 175"),
        ("scatter", XY, "6 points, rank correlation -0.84"),
        ("line", {**XY, "facet": "which"}, "in 2 panels by which"),
    ],
)  # fmt: skip
def test_every_kind_has_words_of_its_own(kind: str, columns: dict[str, str], said: str) -> None:
    assert said in describe(figure(kind, columns), TABLE)


@pytest.mark.parametrize("values", [[np.nan, np.nan], [1.0, np.nan], pd.array([1, None], "Int64")])
@pytest.mark.parametrize("kind", ["line", "bar", "strip", "ecdf", "scatter", "heatmap"])
def test_tables_with_holes_are_described(kind: str, values: list[float] | ExtensionArray) -> None:
    table = pd.DataFrame({"layer": [0, 1], "mean_rank": values, "which": ["a", "b"]})
    columns = {"heatmap": {"x": "layer", "y": "which", "color": "mean_rank"}, "ecdf": {"x": "mean_rank"}}
    assert "Drawn from 2 rows." in describe(figure(kind, columns.get(kind, XY)), table)
