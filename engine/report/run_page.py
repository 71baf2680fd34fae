"""One run on one page, `mech report --run-id N`: what it found, on what authority, and how to repeat it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from engine.evidence.printing import frequency_in_words, sample_in_words
from engine.evidence.result import Measurement
from engine.report.charts.chart import Chart
from engine.report.charts.draw import draw
from engine.report.numbers import digits_of, failed_checks, interval_of, is_withheld
from engine.report.popovers import command_of, provenance_facts
from engine.report.printers.markdown_blocks import joined
from engine.report.printers.printer import Printer
from engine.report.printers.standalone import StandalonePrinter
from engine.report.printers.text import TextPrinter
from engine.report.tables import Grid, count_shown, grid_of
from engine.runs.ledger import Entry

Opening = Callable[[Printer], Iterable[str]]
"""Blocks that stand before all others, as a printer writes them."""


def _nothing(printer: Printer) -> Iterable[str]:
    return ()


def run_page(
    entry: Entry,
    experiment: Mapping[str, Any],
    *,
    slug: str = "",
    title: str = "",
    opening: Opening = _nothing,
) -> tuple[str, str]:
    """(HTML, Markdown) of an entry and of its normalised experiment.

    `opening` is what a command says of the run before its numbers are listed; `title` is its heading, by
    default the run's name.
    """
    title = title or f"{slug + '/' if slug else ''}{entry.label} on {entry.model}"
    charts = _charts(entry)
    html = StandalonePrinter(entry.tables)
    text = TextPrinter()

    def blocks(printer: Printer) -> Iterator[str]:
        yield from opening(printer)
        yield from _sections(entry, experiment, slug, charts, printer)

    # The body before the page around it: printing it is what tells the printer of its charts.
    body = "\n".join(blocks(html))
    markdown = joined([f"# {text.data(title)}", *blocks(text)])
    return html.page(title, body), f"{markdown}\n"


def _charts(entry: Entry) -> dict[str, Chart]:
    """The figures that may be shown, each drawn once for both printers."""
    if is_withheld(entry) or not entry.figures:
        return {}
    return {
        name: draw(figure, entry.tables[figure.table], entry.label) for name, figure in entry.figures.items()
    }


def _sections(
    entry: Entry, experiment: Mapping[str, Any], slug: str, charts: Mapping[str, Chart], printer: Printer
) -> Iterator[str]:
    """The page from top to bottom, without the headings that have nothing under them."""
    withheld = is_withheld(entry)
    measurements = [] if withheld else list(entry.measurements.values())
    tables = [] if withheld else list(entry.tables)
    figures = {name: entry.figures[name] for name in charts}
    written = json.dumps(experiment, indent=2, ensure_ascii=False, default=str)
    sections: dict[str, list[str]] = {
        "State": [printer.paragraph(_state(entry))],
        "Findings": _grid(printer, _measurements(m for m in measurements if m.role != "control")),
        "Controls": _grid(printer, _measurements(m for m in measurements if m.role == "control")),
        "Checks": _grid(printer, _checks(entry)),
        "Charts": [printer.chart(name, f, charts[name], f.table) for name, f in figures.items()],
        "Tables": [_table(printer, entry, name) for name in tables],
        "Environment": [printer.facts(provenance_facts(entry.provenance))] if entry.provenance else [],
        "Experiment": [printer.code(written, "json")],
        "Repeat": [printer.code(command_of(entry, slug), "sh")],
    }
    for heading, blocks in sections.items():
        if blocks:
            yield printer.section(heading, blocks)


def _state(entry: Entry) -> str:
    if is_withheld(entry):
        return f"withheld: {failed_checks(entry)}"
    return f"{entry.state}: {entry.reason}" if entry.reason else entry.state


def _grid(printer: Printer, grid: Grid) -> list[str]:
    return [printer.grid(grid)] if grid.rows else []


def _measurements(measurements: Iterable[Measurement]) -> Grid:
    headers = ["Name", "Value", "95 % interval", "n", "Statistic", "What it is"]
    rows = [_measurement(m) for m in measurements]
    return Grid(headers, rows, [False, True, False, False, False, False])


def _measurement(m: Measurement) -> list[str]:
    value = f"{digits_of(m)} {m.quantity}".strip()
    return [m.name, value, _interval(m), sample_in_words(m), m.statistic, m.about]


def _interval(m: Measurement) -> str:
    if m.exact:
        return "counted by design"
    return frequency_in_words(m) if m.is_choice else interval_of(m) or f"withheld: {m.note}"


def _checks(entry: Entry) -> Grid:
    headers = ["Check", "What must hold", "Seen", "At most", "Outcome"]
    rows = [
        [c.name, c.about, f"{c.value:.2g}", f"{c.limit:.2g}", "passed" if c.passed else "failed"]
        for c in entry.checks
    ]
    return Grid(headers, rows, [False, False, True, True, False])


def _table(printer: Printer, entry: Entry, name: str) -> str:
    """The first rows of a table, and how many that is."""
    table = entry.tables[name]
    grid = grid_of(table)
    return printer.table(name, name, grid, count_shown(len(grid.rows), len(table)))
