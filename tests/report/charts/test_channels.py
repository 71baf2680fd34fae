"""Columns become channels by their names, with the scale that their values need."""

from __future__ import annotations

import json

import pandas as pd

from engine.report.charts.draw import draw
from tests.report.charts.made_up import TABLE, XY, figure


def test_a_rank_of_zero_has_no_logarithm() -> None:
    zero = TABLE.assign(mean_rank=[0.0, 1, 2, 3, 4, 5])
    assert '"symlog"' in json.dumps(draw(figure("line", XY, {"log_y": True}), zero).spec)
    assert '"symlog"' not in json.dumps(draw(figure("line", XY, {"log_y": True}), TABLE).spec)


def test_column_names_are_names_and_not_shorthand() -> None:
    table = pd.DataFrame({"a:b.c[0]": [1, 2], "mean(x)": [1.0, 2.0]})
    text = json.dumps(draw(figure("scatter", {"x": "a:b.c[0]", "y": "mean(x)"}), table).spec)
    assert (
        '"field": "a:b\\\\.c\\\\[0\\\\]"' in text and '"field": "mean(x)"' in text and "aggregate" not in text
    )
