"""The columns of a table that play the parts of a figure: x, y, low, high, color, facet, label."""

from __future__ import annotations

import re

import pandas as pd

from engine.evidence.result import Figure
from engine.report.tables import column, is_numeric, readable

_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")


def part(figure: Figure, table: pd.DataFrame, name: str) -> pd.Series:
    """The column that plays a part of a figure."""
    return column(table, figure.columns[name])


def has_names(values: pd.Series) -> bool:
    """Whether a column holds names such as `single_layer` alone, which a page writes as words.

    One other value among them, as `blocks.6.hook_resid_pre` or a token, and they are left as they are.
    """
    words = [str(value) for value in values.unique()]
    return any("_" in word for word in words) and all(_NAME.fullmatch(word) for word in words)


def value_and_category(figure: Figure, table: pd.DataFrame) -> tuple[str, str]:
    """The parts that play value and category: y is the value unless it holds words."""
    return ("y", "x") if is_numeric(part(figure, table, "y")) else ("x", "y")


def title_of(figure: Figure, name: str) -> str:
    """The human name of a part: its `PART_title` option, or its column's name without underscores."""
    return str(figure.options.get(f"{name}_title") or readable(figure.columns[name]))
