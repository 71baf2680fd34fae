"""Columns of a table as charts, words and printed tables see them."""

from __future__ import annotations

import re

import pandas as pd

from engine.evidence.result import Figure


def column(table: pd.DataFrame, name: str) -> pd.Series:
    """One column by name."""
    return pd.Series(table[name])


def part(figure: Figure, table: pd.DataFrame, name: str) -> pd.Series:
    """The column that plays a part of a figure."""
    return column(table, figure.columns[name])


def is_numeric(values: pd.Series) -> bool:
    """Whether a column holds numbers; yes and no are words."""
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def value_and_category(figure: Figure, table: pd.DataFrame) -> tuple[str, str]:
    """The parts that play value and category: y is the value unless it holds words."""
    return ("y", "x") if is_numeric(part(figure, table, "y")) else ("x", "y")


def title_of(figure: Figure, name: str) -> str:
    """The human name of a part: its `PART_title` option, or its column's name without underscores."""
    return str(figure.options.get(f"{name}_title") or readable(figure.columns[name]))


def readable(name: str) -> str:
    """`mean_rank` as `mean rank`; names that are not snake case stay as they are."""
    return name.replace("_", " ").strip() if re.fullmatch(r"[a-z0-9_]+", name) else name
