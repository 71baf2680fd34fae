"""What a chart shows, in words: the text a screen reader speaks and the line a text target prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd

from engine.evidence.result import Figure
from engine.report.charts.figure_columns import part, title_of, value_and_category
from engine.report.tables import column, is_numeric

MOST_SERIES = 6
"""More series than this are not described one by one."""


def describe(figure: Figure, table: pd.DataFrame) -> str:
    """Title, axes, trend and extremes of every series, and how many rows are drawn."""
    head = f"{figure.title.rstrip('.')}. {_AXES[figure.kind](figure, table)}{_panels(figure, table)}."
    series = list(_series(figure, table))
    said = [_sentence(name, _SAYS[figure.kind](figure, rows)) for name, rows in series[:MOST_SERIES]]
    more = len(series) - MOST_SERIES
    said += [f"{more} more series are in the table."] if more > 0 else []
    return " ".join([head, *said, f"Drawn from {_rows(len(table))}."])


def short(value: object) -> str:
    """A value with four significant digits where it is a number, else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value).strip()
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _sentence(series: str, says: str) -> str:
    return f"{series}: {says}." if series else f"{says[0].upper()}{says[1:]}."


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def _panels(figure: Figure, table: pd.DataFrame) -> str:
    if "facet" not in figure.columns:
        return ""
    return f", in {part(figure, table, 'facet').nunique()} panels by {title_of(figure, 'facet')}"


def _series(figure: Figure, table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Name and rows of each series, in the order of the table."""
    # A colour that repeats an axis marks no series of its own; that of a heatmap is its value.
    axes = {figure.columns.get("x"), figure.columns.get("y")}
    parts = ["facet"] if figure.kind == "heatmap" else ["facet", "color"]
    by = [c for p in parts if (c := figure.columns.get(p)) and c not in axes]
    if not by:
        yield "", table
        return
    for key, rows in table.groupby(list(dict.fromkeys(by)), sort=False, dropna=False):
        yield ", ".join(map(str, key)) if isinstance(key, tuple) else str(key), rows


def _against(name: str) -> Callable[[Figure, pd.DataFrame], str]:
    return lambda figure, _: f"{name} of {title_of(figure, 'y')} against {title_of(figure, 'x')}"


def _by_category(name: str) -> Callable[[Figure, pd.DataFrame], str]:
    def axes(figure: Figure, table: pd.DataFrame) -> str:
        value, category = value_and_category(figure, table)
        return f"{name} of {title_of(figure, value)} by {title_of(figure, category)}"

    return axes


def _line(figure: Figure, rows: pd.DataFrame) -> str:
    x = figure.columns["x"]
    y = figure.columns["y"]
    rows = rows.dropna(subset=[x, y])
    rows = rows.sort_values(x, kind="stable") if is_numeric(column(rows, x)) else rows
    if len(rows) == 0:
        return "no values"
    values = column(rows, y)
    places = _places(figure, rows, "x")
    first = values.iloc[0]
    last = values.iloc[-1]
    verb = "rises" if last > first else "falls" if last < first else "goes"
    ends = f"{verb} from {short(first)} at {places[0]} to {short(last)} at {places[-1]}"
    return f"{ends}; {_extremes(values, places)}"


def _places(figure: Figure, rows: pd.DataFrame, *parts: str) -> list[str]:
    """Where each row stands, in words: `layer 4`, `layer 4, head 3`, or just `capital`."""
    named = []
    for name in parts:
        values = part(figure, rows, name)
        title = f"{title_of(figure, name)} " if is_numeric(values) else ""
        named.append([title + short(value) for value in values])
    return [", ".join(place) for place in zip(*named, strict=True)]


def _extremes(values: pd.Series, places: list[str]) -> str:
    high = int(values.argmax())
    low = int(values.argmin())
    return (
        f"highest {short(values.iloc[high])} at {places[high]}, "
        f"lowest {short(values.iloc[low])} at {places[low]}"
    )


def _bar(figure: Figure, rows: pd.DataFrame) -> str:
    value, category = value_and_category(figure, rows)
    rows = rows.dropna(subset=[figure.columns[value]])
    if len(rows) == 0:
        return "no values"
    count = f"{len(rows)} bar" if len(rows) == 1 else f"{len(rows)} bars"
    return f"{count}; {_extremes(part(figure, rows, value), _places(figure, rows, category))}"


def _heatmap(figure: Figure, rows: pd.DataFrame) -> str:
    cells = f"{part(figure, rows, 'x').nunique()} by {part(figure, rows, 'y').nunique()} cells"
    rows = rows.dropna(subset=[figure.columns["color"]])
    if len(rows) == 0:
        return "no values"
    return f"{cells}; {_extremes(part(figure, rows, 'color'), _places(figure, rows, 'x', 'y'))}"


def _strip(figure: Figure, rows: pd.DataFrame) -> str:
    value, category = value_and_category(figure, rows)
    groups = part(figure, rows, value).groupby(part(figure, rows, category), sort=False)
    medians = groups.median().dropna()
    if len(medians) == 0:
        return "no values"
    if len(medians) <= MOST_SERIES:
        return "median " + ", ".join(f"{short(k)} {short(v)}" for k, v in medians.items())
    return f"medians of {len(medians)} groups; {_extremes(medians, [short(k) for k in medians.index])}"


def _ecdf(figure: Figure, rows: pd.DataFrame) -> str:
    values = part(figure, rows, "x").dropna()
    if len(values) == 0:
        return "no values"
    quarter, half, three_quarters = (short(float(values.quantile(q))) for q in (0.25, 0.5, 0.75))
    return (
        f"half of the values are at or below {half}, a quarter at or below {quarter}, "
        f"three quarters at or below {three_quarters}"
    )


def _scatter(figure: Figure, rows: pd.DataFrame) -> str:
    x = part(figure, rows, "x")
    y = part(figure, rows, "y")
    # Spearman: Pearson's correlation of the ranks, which a constant axis does not have.
    ranks = x.rank().corr(y.rank()) if x.nunique() > 1 and y.nunique() > 1 else float("nan")
    tied = "no rank correlation, one axis is constant" if ranks != ranks else f"rank correlation {ranks:.2f}"
    spans = [f"{title_of(figure, p)} {short(s.min())} to {short(s.max())}" for p, s in (("x", x), ("y", y))]
    return f"{len(rows):,} points, {tied}; {', '.join(spans)}"


_AXES: dict[str, Callable[[Figure, pd.DataFrame], str]] = {
    "line": _against("Line chart"),
    "scatter": _against("Scatter chart"),
    "bar": _by_category("Bar chart"),
    "strip": _by_category("Strip chart"),
    "heatmap": lambda f, _: f"Heatmap of {title_of(f, 'color')} by {title_of(f, 'x')} and {title_of(f, 'y')}",
    "ecdf": lambda f, _: f"Cumulative share of {title_of(f, 'x')}",
}
_SAYS: dict[str, Callable[[Figure, pd.DataFrame], str]] = {
    "line": _line,
    "bar": _bar,
    "strip": _strip,
    "scatter": _scatter,
    "heatmap": _heatmap,
    "ecdf": _ecdf,
}
