"""Which column plays which part of a figure, and what a person calls it."""

from __future__ import annotations

import pandas as pd
import pytest

from engine.report.charts.figure_columns import has_names, part, title_of, value_and_category
from tests.report.charts.made_up import TABLE, XY, figure


def test_a_part_is_the_column_that_the_figure_names() -> None:
    assert part(figure("line", XY), TABLE, "y").tolist() == TABLE["mean_rank"].tolist()


@pytest.mark.parametrize(
    ("columns", "parts"),
    [
        ({"x": "which", "y": "mean_rank"}, ("y", "x")),
        ({"x": "mean_rank", "y": "which"}, ("x", "y")),
        (XY, ("y", "x")),
    ],
)
def test_the_value_is_upright_unless_that_side_holds_words(columns: dict, parts: tuple[str, str]) -> None:
    assert value_and_category(figure("bar", columns), TABLE) == parts


def test_a_title_is_the_columns_name_in_words_or_the_one_that_is_asked_for() -> None:
    assert title_of(figure("line", XY), "y") == "mean rank"
    assert title_of(figure("line", XY, {"y_title": "Rank (log)"}), "y") == "Rank (log)"


@pytest.mark.parametrize(
    ("values", "are_names"),
    [
        (["single_layer", "baseline"], True),
        (["baseline", "ablation"], False),
        (["blocks.6.hook_resid_pre", "single_layer"], False),
        (["New_York", "a_b"], False),
    ],
)
def test_names_are_told_from_hook_sites_and_tokens(values: list[str], are_names: bool) -> None:
    assert has_names(pd.Series(values)) == are_names
