"""DataFrames as Markdown tables: chosen columns, limited rows, digits that line up, data as text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from engine.errors import TemplateError
from engine.report.numbers import known_one

ROWS = 10
"""How many rows a table shows where the template does not say."""

MOST_DIGITS = 4


@dataclass(frozen=True)
class Grid:
    """A table as words: headers, cells, and which columns stand flush right."""

    headers: Sequence[str]
    rows: Sequence[Sequence[object]]
    right: Sequence[bool] = ()


def grid_of(table: pd.DataFrame, columns: Sequence[str] | None = None, rows: int = ROWS) -> Grid:
    """The first `rows` rows of the named columns. TemplateError for a column that is not there."""
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
        raise TemplateError("rows counts the rows to show", expected="a whole number from 1", seen=repr(rows))
    names = [str(c) for c in table.columns]
    chosen = [known_one("this table", name, names) for name in (columns or names)]
    named = table.set_axis(names, axis=1)
    shown = [column(named, name) for name in chosen]
    cells = zip(*(formatted(values)[:rows] for values in shown), strict=True)
    return Grid([readable(name) for name in chosen], list(cells), [is_numeric(values) for values in shown])


def formatted(values: pd.Series) -> list[str]:
    """Every value as text; the floats of a column share their number of decimals."""
    if not pd.api.types.is_float_dtype(values):
        return [_word(v) for v in values]
    finite = [abs(v) for v in values if math.isfinite(v)]
    largest = max(finite, default=0.0)
    # Outside of this range decimals in common would print zeros, or digits that nobody reads.
    if largest and not 1e-4 <= largest < 1e7:
        return [f"{v:.3g}" if math.isfinite(v) else "–" for v in values]
    decimals = max(0, MOST_DIGITS - 1 - math.floor(math.log10(largest))) if largest else 0
    return [_decimal(v, min(decimals, MOST_DIGITS)) for v in values]


def _decimal(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}".replace("-", "−") if math.isfinite(value) else "–"


def _word(value: object) -> str:
    """A value as a person writes it; the spaces at the ends of a token are made visible."""
    if isinstance(value, str):
        bare = value.strip(" ")
        if not bare:
            return "␣" * len(value)
        before = len(value) - len(value.lstrip(" "))
        after = len(value) - len(value.rstrip(" "))
        return "␣" * before + bare + "␣" * after
    # numpy's own bool is no subclass of Python's.
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return "yes" if value else "no"
    return "–" if value is None or value is pd.NA or value != value else str(value)


def markdown(grid: Grid, escape: Callable[[object], str]) -> str:
    """A pipe table; what is not markup already is escaped."""
    right = list(grid.right) + [False] * (len(grid.headers) - len(grid.right))
    head, *body = ([_cell(c, escape) for c in row] for row in [grid.headers, *grid.rows])
    sides = ["---:" if r else "---" for r in right]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, sides, *body])


def _cell(cell: object, escape: Callable[[object], str]) -> str:
    return str(cell) if hasattr(cell, "__html__") else str(escape(cell))


def count_shown(shown: int, total: int) -> str:
    """`10 of 180 rows shown.`, or nothing to say where all are."""
    return f"{shown:,} of {total:,} rows shown." if shown < total else ""


def column(table: pd.DataFrame, name: str) -> pd.Series:
    """One column by name."""
    return pd.Series(table[name])


def is_numeric(values: pd.Series) -> bool:
    """Whether a column holds numbers; yes and no are words."""
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def readable(name: str) -> str:
    """`mean_rank` as `mean rank`; names that are not snake case stay as they are."""
    return name.replace("_", " ").strip() if re.fullmatch(r"[a-z0-9_]+", name) else name
