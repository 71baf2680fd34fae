"""Figures drawn as Vega-Lite specs: a chart kind, a table and the columns that play its parts.

Specs carry data, marks and a colour-blind-safe palette. Backgrounds are transparent and text has no
colour of its own, so that one spec is readable on a light and on a dark page once the page's own
`config` is applied by vega-embed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import pandas as pd

from engine.errors import TemplateError, nearest
from engine.evidence.result import Figure
from engine.report.charts.alt_text import describe
from engine.report.charts.channels import Channels
from engine.report.charts.chart import Chart
from engine.report.charts.figure_columns import part
from engine.report.charts.kinds import JITTER, KINDS, LOOK, OPTIONS, ChartKind
from engine.report.charts.vega import SCHEMA
from engine.report.tables import is_numeric

MOST_ROWS = 5000
"""More rows than this are sampled before they are drawn, and the caption says so."""


def draw(figure: Figure, table: pd.DataFrame, where: str = "") -> Chart:
    """The figure as a Vega-Lite 6 spec with its data inside.

    The figure is checked here; that every kind is valid by the schema of Vega-Lite, the tests check.

    Raises TemplateError for an unknown kind, part, option or column, a missing part, and a table
    without rows.
    """
    kind = _checked_kind(figure, table, where)
    drawn, sampled = _capped(table.loc[:, list(dict.fromkeys(figure.columns.values()))])
    channels = Channels(figure, drawn)
    words = describe(figure, table)
    view = kind.draw(channels)
    if "facet" in channels:
        view = {"facet": channels.facet(), "columns": 2, "spec": view}
    data = {"name": "rows", "values": _values(figure, drawn)}
    spec = {"$schema": SCHEMA, "config": LOOK, "data": data, "description": words, **view}
    return Chart(spec, words, sampled)


def _checked_kind(figure: Figure, table: pd.DataFrame, where: str) -> ChartKind:
    _known("chart kind", [figure.kind], KINDS, where)
    kind = KINDS[figure.kind]
    parts = kind.needs + kind.may
    _known(f"part of a {figure.kind} chart", figure.columns, parts, where)
    _known("option of a chart", figure.options, [*OPTIONS, *(f"{p}_title" for p in parts)], where)
    _known(f"column of table {figure.table}", figure.columns.values(), table.columns, where)
    missing = [p for p in kind.needs if p not in figure.columns]
    if missing:
        expected = f"columns for {', '.join(kind.needs)}"
        raise TemplateError(
            f"a {figure.kind} chart needs {missing[0]}",
            where=where,
            expected=expected,
            seen=", ".join(figure.columns),
        )
    words = [p for p in kind.numbers if p in figure.columns and not is_numeric(part(figure, table, p))]
    if words:
        seen = f"words in column {figure.columns[words[0]]}"
        raise TemplateError(f"{words[0]} of a {figure.kind} chart holds numbers", where=where, seen=seen)
    if table.empty:
        raise TemplateError("a chart needs rows to draw", where=where, seen=f"table {figure.table} is empty")
    return kind


def _known(what: str, names: Iterable[str], valid: Iterable[str], where: str) -> None:
    valid = [str(v) for v in valid]
    for name in names:
        if name not in valid:
            raise TemplateError(
                f"no {what} {name!r}",
                where=where,
                expected="one of " + ", ".join(valid),
                seen=name,
                near=nearest(name, valid),
            )


def _capped(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """At most MOST_ROWS rows, the same ones in every build, and the sentence that says so."""
    if len(table) <= MOST_ROWS:
        return table, ""
    kept = table.sample(MOST_ROWS, random_state=0).sort_index()
    return kept, f"Drawn from a random {MOST_ROWS:,} of {len(table):,} rows; the CSV has all of them."


def _values(figure: Figure, table: pd.DataFrame) -> list[dict]:
    """Rows for the spec; what is not a finite number or text becomes null or text."""
    if figure.kind == "strip":
        table = table.assign(**{JITTER: [(row * 0.618034) % 1 for row in range(len(table))]})
    return json.loads(str(table.to_json(orient="records", date_format="iso", double_precision=10)))
