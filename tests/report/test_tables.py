"""DataFrames as Markdown tables: data as text, digits that line up, what is missing said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from engine.errors import TemplateError
from engine.report.escape import for_site, for_text
from engine.report.tables import Grid, count_shown, formatted, grid_of, markdown


@pytest.mark.parametrize(
    ("values", "printed"),
    [
        ([1.0, 22.123456, -3.5], ["1.00", "22.12", "−3.50"]),
        ([0.1234567, np.nan, np.inf], ["0.1235", "–", "–"]),
        ([12345.678, 1.0], ["12346", "1"]),
        ([1e-9, 2e-9], ["1e-09", "2e-09"]),
        ([0.0, 0.0], ["0", "0"]),
        ([1, 2000], ["1", "2000"]),
        ([True, False], ["yes", "no"]),
        ([" Paris", "a ", "x y", "  "], ["␣Paris", "a␣", "x y", "␣␣"]),
        (["a", None], ["a", "–"]),
        ([[1, 2], "x"], ["[1, 2]", "x"]),
    ],
)
def test_values_as_a_person_writes_them(values: list, printed: list[str]) -> None:
    assert formatted(pd.Series(values)) == printed


def test_columns_rows_and_sides() -> None:
    table = pd.DataFrame({"prompt_id": [1, 2, 3], "answer": ["a", "b", "c"], "flag": [True, False, True]})
    grid = grid_of(table, ["answer", "prompt_id", "flag"], 2)
    assert grid == Grid(
        ["answer", "prompt id", "flag"], [("a", "1", "yes"), ("b", "2", "no")], [False, True, False]
    )
    assert count_shown(2, 3) == "2 of 3 rows shown." and count_shown(3, 3) == ""


@pytest.mark.parametrize("rows", [0, -1, 2.5, True, "3"])
def test_rows_is_a_count(rows) -> None:
    with pytest.raises(TemplateError, match="whole number from 1"):
        grid_of(pd.DataFrame({"a": [1]}), rows=rows)


@pytest.mark.parametrize("escape", [for_site, for_text])
def test_a_cell_cannot_leave_its_cell(escape) -> None:
    table = markdown(Grid(["a|b"], [["x | y\n| z |"], ["\\|"]]), escape)
    lines = table.splitlines()
    assert len(lines) == 4 and all(line.replace("\\|", "").count("|") == 2 for line in lines)


def test_a_table_without_rows_is_its_header() -> None:
    assert markdown(grid_of(pd.DataFrame({"a": pd.Series([], dtype=float)})), for_site) == "| a |\n| ---: |"
