"""The columns of a table that play the parts of a figure: x, y, low, high, color, facet, label."""

from __future__ import annotations

import pandas as pd

from engine.evidence.result import Figure
from engine.report.tables import column, is_numeric, readable


def part(figure: Figure, table: pd.DataFrame, name: str) -> pd.Series:
    """The column that plays a part of a figure."""
    return column(table, figure.columns[name])


def value_and_category(figure: Figure, table: pd.DataFrame) -> tuple[str, str]:
    """The parts that play value and category: y is the value unless it holds words."""
    return ("y", "x") if is_numeric(part(figure, table, "y")) else ("x", "y")


def title_of(figure: Figure, name: str) -> str:
    """The human name of a part: its `PART_title` option, or its column's name without underscores."""
    return str(figure.options.get(f"{name}_title") or readable(figure.columns[name]))
