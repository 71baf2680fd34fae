"""One run on one page: `mech report --run-id N`, self-contained HTML and Markdown.

The HTML needs nothing beside itself and no network: style, script, charts and data are inside.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.evidence.result import Figure, Measurement
from engine.report.charts.draw import Chart, draw, vega_bundle
from engine.report.escape import for_site, preformatted
from engine.report.facts import Facts, command_of, provenance_facts
from engine.report.highlight import site_cell
from engine.report.numbers import digits_of, failed_checks, interval_of, is_withheld
from engine.report.printers.site import alt_text, facts_html
from engine.report.printers.standalone_style import SCRIPT, STYLE
from engine.report.printers.text import TextPrinter
from engine.report.tables import Grid, count_shown, grid_of
from engine.runs.ledger import Entry


def run_page(entry: Entry, experiment: Mapping[str, Any], *, slug: str = "") -> tuple[str, str]:
    """(HTML, Markdown) of an entry and of its normalised experiment."""
    parts = _parts(entry, experiment, slug)
    title = f"{f'{slug}/' if slug else ''}{entry.label} on {entry.model}"
    return _html(title, parts), _markdown(title, parts)


@dataclass(frozen=True)
class _Drawn:
    """A figure with its chart and the table that it draws, as CSV."""

    figure: Figure
    chart: Chart
    csv: str


@dataclass(frozen=True)
class _Listed:
    """The first rows of a table, how many that is, and all of it as CSV."""

    name: str
    grid: Grid
    note: str
    csv: str


@dataclass(frozen=True)
class _Code:
    text: str
    language: str


@dataclass(frozen=True)
class _Part:
    """A heading with what stands under it."""

    heading: str
    blocks: Sequence[str | Grid | Facts | _Drawn | _Listed | _Code]


def _parts(entry: Entry, experiment: Mapping[str, Any], slug: str) -> list[_Part]:
    """The page from top to bottom, without the headings that have nothing under them."""
    withheld = is_withheld(entry)
    shown = {} if withheld else entry.measurements
    parts = [
        _Part("State", [_state(entry)]),
        _Part("Findings", _measured(m for m in shown.values() if m.role != "control")),
        _Part("Controls", _measured(m for m in shown.values() if m.role == "control")),
        _Part("Checks", _checks(entry)),
        _Part("Charts", [] if withheld else [_drawn(entry, f) for f in entry.figures.values()]),
        _Part("Tables", [] if withheld else [_listed(entry, name) for name in entry.tables]),
        _Part("Environment", [provenance_facts(entry.provenance)] if entry.provenance else []),
        _Part(
            "Experiment", [_Code(json.dumps(experiment, indent=2, ensure_ascii=False, default=str), "json")]
        ),
        _Part("Repeat", [_Code(command_of(entry, slug), "sh")]),
    ]
    return [part for part in parts if part.blocks]


def _state(entry: Entry) -> str:
    if is_withheld(entry):
        return f"withheld: {failed_checks(entry)}"
    return f"{entry.state}: {entry.reason}" if entry.reason else entry.state


def _measured(measurements) -> list[Grid]:
    rows = [_measurement(m) for m in measurements]
    headers = ["Name", "Value", "95 % interval", "n", "Statistic", "What it is"]
    return [Grid(headers, rows, [False, True, False, False, False, False])] if rows else []


def _measurement(m: Measurement) -> list[str]:
    value = f"{digits_of(m)} {m.quantity}".strip()
    interval = interval_of(m) or ("counted by design" if m.exact else f"withheld: {m.note}")
    return [m.name, value, interval, f"{m.n:,} ({m.unit})", m.statistic, m.about]


def _checks(entry: Entry) -> list[Grid]:
    rows = [
        [c.name, c.about, f"{c.value:.2g}", f"{c.limit:.2g}", "passed" if c.passed else "failed"]
        for c in entry.checks
    ]
    headers = ["Check", "What must hold", "Seen", "At most", "Outcome"]
    return [Grid(headers, rows, [False, False, True, True, False])] if rows else []


def _drawn(entry: Entry, figure: Figure) -> _Drawn:
    table = entry.tables[figure.table]
    return _Drawn(figure, draw(figure, table, entry.label), table.to_csv(index=False))


def _listed(entry: Entry, name: str) -> _Listed:
    table = entry.tables[name]
    grid = grid_of(table)
    return _Listed(name, grid, count_shown(len(grid.rows), len(table)), table.to_csv(index=False))


def _markdown(title: str, parts: list[_Part]) -> str:
    printer = TextPrinter()
    lines = [f"# {printer.data(title)}"]
    for part in parts:
        lines += [f"## {part.heading}", *(_block_text(block, printer) for block in part.blocks)]
    return "\n\n".join(str(line).strip("\n") for line in lines) + "\n"


def _block_text(block, printer: TextPrinter) -> str:
    match block:
        case Grid():
            return printer.grid(block)
        case _Drawn():
            return printer.chart("", block.figure, block.chart, "")
        case _Listed():
            return printer.table("", block.name, block.grid, block.note)
        case _Code():
            return printer.code(block.text, block.language)
        case str():
            return printer.data(block)
    return "\n".join(f"- {printer.data(label)}: {printer.data(text)}" for label, text in block)


def _html(title: str, parts: list[_Part]) -> str:
    charts = [b.chart.spec for part in parts for b in part.blocks if isinstance(b, _Drawn)]
    body = "\n".join(_part_html(part) for part in parts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{for_site(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{for_site(title)}</h1>
{body}
</main>
{_scripts(charts) if charts else ""}
</body>
</html>
"""


def _scripts(charts: list[dict]) -> str:
    """The charts as data, the library, and what draws them; no `</` that could end a script early."""
    specs = json.dumps(charts).replace("<", "\\u003c")
    library = vega_bundle().replace("</script", "<\\/script")
    data = f'<script type="application/json" id="charts">{specs}</script>'
    return f"{data}\n<script>{library}</script>\n<script>{SCRIPT}</script>"


def _part_html(part: _Part) -> str:
    blocks = "\n".join(_block_html(block) for block in part.blocks)
    return f"<section>\n<h2>{for_site(part.heading)}</h2>\n{blocks}\n</section>"


def _block_html(block) -> str:
    match block:
        case Grid():
            return _grid_html(block)
        case _Drawn():
            return _drawn_html(block)
        case _Listed():
            note = (
                f"<p>{for_site(f'{block.name}. {block.note}'.strip())} {_csv_link(block.name, block.csv)}</p>"
            )
            return _grid_html(block.grid) + note
        case _Code():
            return f'<pre tabindex="0"><code>{preformatted(block.text)}</code></pre>'
        case str():
            return f"<p>{for_site(block)}</p>"
    return str(facts_html(block))


def _drawn_html(drawn: _Drawn) -> str:
    figure, alt = drawn.figure, for_site(drawn.chart.alt)
    caption = " ".join(for_site(t) for t in (figure.caption, drawn.chart.sampled) if t)
    return (
        f'<figure><div class="chart">{alt_text(drawn.chart.alt)}</div>'
        f"<figcaption><strong>{for_site(figure.title.rstrip('.'))}.</strong> {caption} "
        f"{_csv_link(figure.table, drawn.csv)}</figcaption><noscript><p>{alt}</p></noscript></figure>"
    )


def _csv_link(name: str, csv: str) -> str:
    data = base64.b64encode(csv.encode()).decode()
    return f'<a download="{for_site(name)}.csv" href="data:text/csv;base64,{data}">CSV</a>'


def _grid_html(grid: Grid) -> str:
    """A table in a box that scrolls, also by keyboard."""
    right = [*grid.right, *[False] * (len(grid.headers) - len(grid.right))]
    side = [' class="right"' if r else "" for r in right]
    head = "".join(f'<th scope="col"{s}>{for_site(h)}</th>' for h, s in zip(grid.headers, side, strict=True))
    rows = [
        "".join(f"<td{s}>{site_cell(c)}</td>" for c, s in zip(row, side, strict=True)) for row in grid.rows
    ]
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    label = for_site(", ".join(grid.headers))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Table of {label}">'
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )
