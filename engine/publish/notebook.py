"""The notebook of an investigation: it loads what is published and draws every figure of the page again.

It holds no output: whoever runs it makes these, from the numbers in their own clone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from engine.publish.markdown import plain
from engine.publish.overview import Report
from engine.report.json_cache import JsonCache
from engine.report.render import ChartCall

FORMAT = (4, 5)
"""The notebook format that is written: the first in which cells have ids."""

HOW_TO_RUN = (
    "Save this file in a clone of the project and run it with the project's environment as kernel "
    "(`make site` makes one in `.venv/`; `.venv/bin/pip install jupyterlab` adds a notebook program). It "
    "measures nothing: numbers are those measured on this machine where there are any, else published."
)

FINDINGS = """\
findings = results.measurements.query("role == 'finding'")
findings[["name", "model", "value", "low", "high", "n", "unit", "control", "state"]]"""

PROVENANCE = ["experiment", "model", "state", "date", "device", "versions", "command"]

Cell = tuple[str, str]
"""("markdown" or "code", text)."""


def notebook(report: Report, cache: JsonCache | None = None) -> str:
    """The notebook as text, kept in `cache` by what it says."""
    cells = list(_cells(report))
    cache = cache or JsonCache()
    key = hashlib.sha256(json.dumps([FORMAT, cells]).encode()).hexdigest()
    text = cache.get(key)
    if not isinstance(text, str):
        text = notebook_of(cells)
        cache.put(key, text)
    return text


def notebook_of(cells: Sequence[Cell]) -> str:
    """Cells as a notebook, the same text for the same cells."""
    # Half a second to import, and not needed where the notebooks are kept.
    from nbformat import from_dict, v4

    major, minor = FORMAT
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    node = from_dict(
        {
            "nbformat": major,
            "nbformat_minor": minor,
            "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
            "cells": [_cell(index, *cell) for index, cell in enumerate(cells)],
        }
    )
    return v4.writes(node, indent=1) + "\n"


def _cell(index: int, kind: str, text: str) -> dict[str, Any]:
    # An id by its place: a random one would make another file of each build.
    cell: dict[str, Any] = {"id": f"cell-{index}", "cell_type": kind, "metadata": {}, "source": text}
    return cell | ({"outputs": [], "execution_count": None} if kind == "code" else {})


def _cells(report: Report) -> Iterator[Cell]:
    spec = report.ledger.spec
    yield _prose(f"# {plain(spec.title)}\n\n{plain(spec.question)}\n\n{HOW_TO_RUN}")
    yield _code(f"import engine\n\nresults = engine.load({_literal(report.slug)})\nresults")
    if spec.claims:
        yield _prose("## Claims\n\nWhat was registered before measuring, with its verdicts.")
        yield _code('results.verdicts[["claim", "model", "verdict", "share", "says"]]')
    yield _prose("## Findings\n\nWith 95 % intervals; `results.measurements` has the controls as well.")
    yield _code(FINDINGS)
    yield from _figures(report)
    yield _prose("## Tables\n\n`results.table(NAME)` is one of these as a pandas frame.")
    yield _code("results.tables")
    yield _prose("## Where the numbers come from")
    yield _code(f"results.provenance[{json.dumps(PROVENANCE)}]")


def _figures(report: Report) -> Iterator[Cell]:
    calls = report.rendered.chart_calls
    if not calls:
        return
    yield _prose("## Figures\n\nEvery figure of the page, in its order.")
    for call in calls:
        below = f"\n\n{plain(call.caption)}" if call.caption else ""
        on = f" ({plain(call.model)})" if call.model else ""
        yield _prose(f"### {plain(call.title)}{on}{below}")
        yield _code(_drawn_by(call, report.slug))


def _prose(text: str) -> Cell:
    return "markdown", text


def _code(text: str) -> Cell:
    return "code", text


def _drawn_by(call: ChartCall, own: str) -> str:
    """`engine.chart(results, "lens.rank")`; of another investigation, with that one loaded."""
    of = "results" if call.slug == own else f"engine.load({_literal(call.slug)})"
    model = f", model={_literal(call.model)}" if call.model else ""
    return f"engine.chart({of}, {_literal(call.name)}{model})"


def _literal(text: str) -> str:
    """Python's own spelling of a text, in double quotes."""
    return json.dumps(text)
