"""The page on the demo: the app itself where readers find it running, else how to start it, and stills of it.

The stills (`demo_stills`) are drawn by the charts of the reports, so that the page is worth reading without a
server. The app is framed in a sandbox; the policy of the pages lets its host be framed, and no other
(site/overrides/main.html).
"""

from __future__ import annotations

import json
from pathlib import Path

from engine.publish.demo_links import demo_link, with_demo_links
from engine.publish.demo_stills import FILE, StillChart, StillPanel, Stills, StillTable, read_stills
from engine.publish.files import Content
from engine.publish.markdown import page
from engine.publish.site_settings import SiteSettings
from engine.report.charts.chart import Chart
from engine.report.charts.draw import draw
from engine.report.charts.pictures import PictureCache
from engine.report.escape import for_site, sentence_for_site
from engine.report.printers.markdown_blocks import joined
from engine.report.printers.site import SitePrinter
from engine.report.tables import count_shown, grid_of

FOLDER = "demo"
PATH = f"{FOLDER}/index.md"
TITLE = "Demo"
ABOUT = "Four instruments on a live model: type a prompt, read the chart, take the experiment with you."
ROWS = 12

# What an app needs to run and to answer its own server; not the site, whose host is another.
SANDBOX = "allow-scripts allow-same-origin allow-forms allow-popups allow-downloads"

START = """\
## Start it

```console
python -m pip install 'mech-interpretability[demo]'
mech demo
```

Then open <http://127.0.0.1:7860/>. Nothing leaves your machine, and no GPU is needed. [The
guide](../guide/demo.md) says what each panel shows, what it does not show, and what the limits are."""

EMBEDDED = """\
`mech demo` starts a copy of your own. [The guide](../guide/demo.md) says how, what each panel shows,
what it does not show, and what the limits are."""


def demo_files(
    site: Path, settings: SiteSettings, pictures: PictureCache | None = None
) -> dict[str, Content]:
    """The page, its charts and its tables, by path under site/. SiteError for stills that cannot be read."""
    stills = read_stills(site)
    printer = SitePrinter(pictures)
    drawn = _Drawn(printer, settings.demo_url)
    parts = [_app(settings.demo_url)]
    if stills:
        parts += [_introduction(stills), *map(drawn.panel, stills.panels), _made(stills, printer)]
    files: dict[str, Content] = {PATH: page(TITLE, joined([ABOUT, *parts]), about=ABOUT)}
    files |= {f"{FOLDER}/charts/{id}.json": _json(chart) for id, chart in drawn.charts.items()}
    files |= {f"{FOLDER}/charts/{id}.svg": picture for id, picture in printer.svg.items()}
    return files | {f"{FOLDER}/tables/{id}.csv": table for id, table in drawn.tables.items()}


def _app(demo_url: str) -> str:
    """The app in a frame, or how to start it."""
    if not demo_url:
        return START
    address = for_site(demo_url)
    frame = (
        f'<iframe class="mech-demo" src="{address}" title="The demo: four panels on a live model" '
        f'sandbox="{SANDBOX}" allow="clipboard-write" referrerpolicy="no-referrer" loading="lazy"></iframe>'
    )
    alone = f'<p class="mech-demo-alone"><a href="{address}">Open the demo on a page of its own</a></p>'
    return joined([frame, alone, EMBEDDED])


def _introduction(stills: Stills) -> str:
    return (
        "## What the panels show\n\n"
        f"Each panel's first example, as `{stills.model}` answered it on {for_site(stills.date[:10])}. "
        "Point at a mark to read its values. The last link below a chart opens the same in the demo."
    )


class _Drawn:
    """The panels' charts and tables while the page is written."""

    def __init__(self, printer: SitePrinter, demo_url: str) -> None:
        self.printer = printer
        self.demo_url = demo_url
        self.charts: dict[str, Chart] = {}
        self.tables: dict[str, str] = {}

    def panel(self, still: StillPanel) -> str:
        """A panel's question, what was found, its charts and tables each below what one sees on it."""
        typed = [(name.replace("_", " "), text) for name, text in still.state.items() if _is_typed(text)]
        parts = [f"### {for_site(still.title)}", sentence_for_site(still.about), self.printer.facts(typed)]
        parts.append(_sentences(still.says))
        parts += [self.chart(still, chart) for chart in still.charts]
        parts += [self.table(still, table) for table in still.tables]
        if still.experiment:
            said = "The experiment on screen, for mech run --spec FILE"
            parts.append(self.printer.folded(said, self.printer.code(still.experiment, "yaml")))
        return joined(parts)

    def chart(self, still: StillPanel, chart: StillChart) -> str:
        id = f"{still.name}.{chart.name}"
        self.charts[id] = draw(chart.figure, chart.table, f"{FILE}: {id}")
        self.tables[id] = chart.table.to_csv(index=False, lineterminator="\n")
        printed = self.printer.chart(id, chart.figure, self.charts[id], id)
        links = {id: demo_link(self.demo_url, still.query)}
        return joined([_sentences(chart.says), with_demo_links(str(printed), links)])

    def table(self, still: StillPanel, shown: StillTable) -> str:
        id = f"{still.name}.{shown.name}"
        table = shown.table
        self.tables[id] = table.to_csv(index=False, lineterminator="\n")
        grid = grid_of(table, rows=ROWS)
        printed = self.printer.table(id, shown.title, grid, count_shown(len(grid.rows), len(table)))
        return joined([_sentences(shown.says), printed])


def _is_typed(value: object) -> bool:
    """Whether a field of a state is a line that a reader types, and not a choice, a number or a list."""
    return isinstance(value, str) and " " in value.strip() and "\n" not in value


def _sentences(says: list[str]) -> str:
    return " ".join(map(sentence_for_site, says))


def _made(stills: Stills, printer: SitePrinter) -> str:
    """With what the answers were made, and how to make them anew."""
    versions = ", ".join(f"{name} {version}" for name, version in stills.versions.items())
    facts = [
        ("model", " ".join(filter(None, [stills.model, stills.quantisation and f"({stills.quantisation})"]))),
        ("model hash", stills.model_hash),
        ("dtype and device", f"{stills.dtype}, {stills.device}"),
        ("versions", versions),
        ("made on", stills.date),
    ]
    told = "`engine check` says when a panel has changed since. The command below makes them anew."
    return joined(
        [
            "## How these answers were made",
            told,
            printer.facts(facts),
            printer.code(stills.command, "console"),
        ]
    )


def _json(chart: Chart) -> str:
    return json.dumps(chart.spec, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
