"""What a chart shows, in words: the text a screen reader speaks and the line a text target prints.

The columns are read as plain lists: a series has tens of rows, for which pandas is slower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import nan
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from engine.evidence.result import Figure
from engine.report.charts.figure_columns import has_names, part, title_of, value_and_category
from engine.report.tables import is_numeric, readable

MOST_SERIES = 6
"""More series than this are not described one by one."""


@dataclass(frozen=True)
class _Rows:
    """Rows of a figure's table, by the part that each column plays."""

    figure: Figure
    parts: dict[str, list[Any]]
    numeric: frozenset[str]  # the parts that hold numbers
    value: str = "y"
    category: str = "x"

    def __len__(self) -> int:
        return len(self.parts["x"])  # a part that every kind of chart needs

    def chosen(self, rows: Sequence[int]) -> _Rows:
        return replace(self, parts={name: [values[r] for r in rows] for name, values in self.parts.items()})

    def known(self, *names: str) -> _Rows:
        """The rows with a value in each of these parts."""
        whole = zip(*(self.parts[name] for name in names), strict=True)
        return self.chosen([row for row, values in enumerate(whole) if not any(map(_is_missing, values))])

    def place(self, row: int, *names: str) -> str:
        """Where a row stands, in words: `layer 4`, `layer 4, head 3`, or just `capital`."""
        titles = [f"{title_of(self.figure, name)} " if name in self.numeric else "" for name in names]
        values = [short(self.parts[name][row]) for name in names]
        return ", ".join(title + value for title, value in zip(titles, values, strict=True))

    def extremes(self, name: str, *places: str) -> str:
        values = self.parts[name]
        high = max(range(len(self)), key=values.__getitem__)
        low = min(range(len(self)), key=values.__getitem__)
        return (
            f"highest {short(values[high])} at {self.place(high, *places)}, "
            f"lowest {short(values[low])} at {self.place(low, *places)}"
        )


def describe(figure: Figure, table: pd.DataFrame) -> str:
    """Title, axes, trend and extremes of every series, and how many rows are drawn."""
    rows = _rows(figure, table)
    head = f"{figure.title.rstrip('.')}. {_AXES[figure.kind](rows)}{_panels(rows)}."
    series = list(_series(rows))
    said = [_sentence(name, _SAYS[figure.kind](one)) for name, one in series[:MOST_SERIES]]
    more = len(series) - MOST_SERIES
    said += [f"{more} more series are in the table."] if more > 0 else []
    return " ".join([head, *said, f"Drawn from {_count(len(table))}."])


def short(value: object) -> str:
    """A value with four significant digits where it is a number, else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value).strip()
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _rows(figure: Figure, table: pd.DataFrame) -> _Rows:
    columns = {name: part(figure, table, name) for name in figure.columns}
    numeric = frozenset(name for name, values in columns.items() if is_numeric(values))
    parts = {
        name: values.map(readable).tolist() if name not in numeric and has_names(values) else values.tolist()
        for name, values in columns.items()
    }
    if "y" not in columns:
        return _Rows(figure, parts, numeric)
    return _Rows(figure, parts, numeric, *value_and_category(figure, table))


def _is_missing(value: object) -> bool:
    # Only what is not a number differs from itself; pandas' own NA cannot be compared.
    return value is None or value is pd.NA or value != value


def _distinct(values: Sequence[Any]) -> int:
    return len({value for value in values if not _is_missing(value)})


def _sentence(series: str, says: str) -> str:
    return f"{series}: {says}." if series else f"{says[0].upper()}{says[1:]}."


def _count(rows: int) -> str:
    return f"{rows:,} row" if rows == 1 else f"{rows:,} rows"


def _panels(rows: _Rows) -> str:
    if "facet" not in rows.parts:
        return ""
    return f", in {_distinct(rows.parts['facet'])} panels by {title_of(rows.figure, 'facet')}"


def _series(rows: _Rows) -> Iterator[tuple[str, _Rows]]:
    """Name and rows of each series, in the order of the table."""
    columns = rows.figure.columns
    # A colour that repeats an axis marks no series of its own; that of a heatmap is its value.
    axes = {columns.get("x"), columns.get("y")}
    candidates = ["facet"] if rows.figure.kind == "heatmap" else ["facet", "color"]
    by = {columns[name]: name for name in candidates if name in columns and columns[name] not in axes}
    if not by:
        yield "", rows
        return
    found: dict[tuple[str, ...], list[int]] = {}
    for row, key in enumerate(zip(*(map(str, rows.parts[name]) for name in by.values()), strict=True)):
        found.setdefault(key, []).append(row)
    for key, chosen in found.items():
        yield ", ".join(key), rows.chosen(chosen)


def _against(name: str) -> Callable[[_Rows], str]:
    return lambda rows: f"{name} of {title_of(rows.figure, 'y')} against {title_of(rows.figure, 'x')}"


def _by_category(name: str) -> Callable[[_Rows], str]:
    return lambda r: f"{name} of {title_of(r.figure, r.value)} by {title_of(r.figure, r.category)}"


def _line(rows: _Rows) -> str:
    rows = rows.known("x", "y")
    if not len(rows):
        return "no values"
    if "x" in rows.numeric:
        rows = rows.chosen(sorted(range(len(rows)), key=rows.parts["x"].__getitem__))
    values = rows.parts["y"]
    first = values[0]
    last = values[-1]
    verb = "rises" if last > first else "falls" if last < first else "goes"
    ends = f"from {short(first)} at {rows.place(0, 'x')} to {short(last)} at {rows.place(-1, 'x')}"
    return f"{verb} {ends}; {rows.extremes('y', 'x')}"


def _bar(rows: _Rows) -> str:
    rows = rows.known(rows.value)
    if not len(rows):
        return "no values"
    count = f"{len(rows)} bar" if len(rows) == 1 else f"{len(rows)} bars"
    return f"{count}; {rows.extremes(rows.value, rows.category)}"


def _heatmap(rows: _Rows) -> str:
    cells = f"{_distinct(rows.parts['x'])} by {_distinct(rows.parts['y'])} cells"
    rows = rows.known("color")
    return f"{cells}; {rows.extremes('color', 'x', 'y')}" if len(rows) else "no values"


def _strip(rows: _Rows) -> str:
    rows = rows.known(rows.value, rows.category)
    groups: dict[Any, list[float]] = {}
    for category, value in zip(rows.parts[rows.category], rows.parts[rows.value], strict=True):
        groups.setdefault(category, []).append(value)
    medians = {category: float(median(values)) for category, values in groups.items()}
    if not medians:
        return "no values"
    if len(medians) <= MOST_SERIES:
        return "median " + ", ".join(f"{short(k)} {short(v)}" for k, v in medians.items())
    high = max(medians, key=medians.__getitem__)
    low = min(medians, key=medians.__getitem__)
    ends = f"highest {short(medians[high])} at {short(high)}, lowest {short(medians[low])} at {short(low)}"
    return f"medians of {len(medians)} groups; {ends}"


def _ecdf(rows: _Rows) -> str:
    values = rows.known("x").parts["x"]
    if not values:
        return "no values"
    quarter, half, three_quarters = (short(float(q)) for q in np.quantile(values, (0.25, 0.5, 0.75)))
    return (
        f"half of the values are at or below {half}, a quarter at or below {quarter}, "
        f"three quarters at or below {three_quarters}"
    )


def _scatter(rows: _Rows) -> str:
    x, y = (pd.Series([nan if _is_missing(v) else v for v in rows.parts[axis]]) for axis in "xy")
    # Spearman: Pearson's correlation of the ranks, which a constant axis does not have.
    ranks = x.rank().corr(y.rank()) if x.nunique() > 1 and y.nunique() > 1 else nan
    tied = "no rank correlation, one axis is constant" if ranks != ranks else f"rank correlation {ranks:.2f}"
    axes = (("x", x), ("y", y))
    spans = [f"{title_of(rows.figure, p)} {short(s.min())} to {short(s.max())}" for p, s in axes]
    return f"{len(rows):,} points, {tied}; {', '.join(spans)}"


_AXES: dict[str, Callable[[_Rows], str]] = {
    "line": _against("Line chart"),
    "scatter": _against("Scatter chart"),
    "bar": _by_category("Bar chart"),
    "strip": _by_category("Strip chart"),
    "heatmap": lambda r: (
        f"Heatmap of {title_of(r.figure, 'color')} by {title_of(r.figure, 'x')} and {title_of(r.figure, 'y')}"
    ),
    "ecdf": lambda r: f"Cumulative share of {title_of(r.figure, 'x')}",
}
_SAYS: dict[str, Callable[[_Rows], str]] = {
    "line": _line,
    "bar": _bar,
    "strip": _strip,
    "scatter": _scatter,
    "heatmap": _heatmap,
    "ecdf": _ecdf,
}
