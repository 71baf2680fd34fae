"""A page that needs nothing beside itself and no network: style, script, charts and data are inside.

Where the site opens a popover and links to files, this printer says the evidence in words and carries the
data in its links.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
from markupsafe import Markup

from engine.errors import PictureError
from engine.evidence.result import Figure
from engine.evidence.verdicts import Verdict
from engine.report.bibliography import Reference
from engine.report.charts.chart import Chart
from engine.report.charts.pictures import picture_of
from engine.report.charts.vega import vega_bundle
from engine.report.citations import CitationForm, cited_in_words
from engine.report.claim_sentences import ClaimSentence, sentence_in_words, verdict_and_share
from engine.report.escape import for_site, preformatted
from engine.report.highlight import site_cell
from engine.report.key_numbers import KeyPair, key_pair_in_words
from engine.report.mathml import mathml
from engine.report.numbers import Number, number_in_words
from engine.report.popovers import LabelledFacts
from engine.report.printers.html_parts import alt_text, description_list, reference_part
from engine.report.printers.standalone_assets import SCRIPT, STYLE
from engine.report.tables import Grid


class StandalonePrinter:
    """Prints HTML; `tables` are what its links carry as CSV, by the ids that charts and tables are given."""

    data = staticmethod(for_site)
    brackets = ("(", ")")

    def __init__(self, tables: Mapping[str, pd.DataFrame]) -> None:
        self.tables = tables
        self.charts: list[dict] = []  # in the order of their places on the page, as the script takes them

    def number(self, number: Number) -> Markup:
        return number_in_words(number, for_site)

    def headline(self, sentence: str) -> Markup:
        return Markup(f"<p>{sentence}</p>")

    def key_numbers(self, pairs: Sequence[KeyPair]) -> Markup:
        return _list(key_pair_in_words(pair, for_site) for pair in pairs)

    def claim(self, cited: ClaimSentence, sentence: str) -> Markup:
        return sentence_in_words(cited, sentence, for_site)

    def verdict(self, verdict: Verdict) -> Markup:
        return for_site(verdict_and_share(verdict))

    def citation(self, reference: Reference, form: CitationForm) -> Markup:
        return for_site("".join(cited_in_words(reference.names, reference.year, form)))

    def formula(self, tex: str, display: bool) -> Markup:
        return mathml(tex, display)

    def paragraph(self, text: str) -> Markup:
        return Markup(f"<p>{for_site(text)}</p>")

    def items(self, texts: Iterable[str]) -> Markup:
        return _list(for_site(text) for text in texts)

    def facts(self, facts: LabelledFacts) -> Markup:
        return description_list(facts)

    def grid(self, grid: Grid) -> Markup:
        """A table in a box that scrolls, also by keyboard."""
        right = [*grid.right, *[False] * (len(grid.headers) - len(grid.right))]
        sides = [' class="right"' if r else "" for r in right]
        head = "".join(
            f'<th scope="col"{side}>{for_site(header)}</th>'
            for header, side in zip(grid.headers, sides, strict=True)
        )
        body = "\n".join(f"<tr>{_cells(row, sides)}</tr>" for row in grid.rows)
        label = for_site(", ".join(grid.headers))
        return Markup(
            f'<div class="scroll" tabindex="0" role="region" aria-label="Table of {label}">'
            f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
        )

    def code(self, text: str, language: str) -> Markup:
        return Markup(f'<pre tabindex="0"><code>{preformatted(text)}</code></pre>')

    def chart(self, id: str, figure: Figure, chart: Chart, table_id: str) -> Markup:
        """A place for the script to draw in; without one the picture, the words and the data stay."""
        self.charts.append(chart.spec)
        caption = " ".join(for_site(text) for text in (figure.caption, chart.sampled) if text)
        picture = _picture(chart)
        words = "" if picture else f"<noscript><p>{for_site(chart.alt)}</p></noscript>"
        return Markup(
            f'<figure><div class="chart">{"" if picture else alt_text(chart.alt)}</div>{picture}'
            f"<figcaption><strong>{for_site(figure.title.rstrip('.'))}.</strong> {caption} "
            f"{self._csv(table_id)}</figcaption>"
            f"{words}</figure>"
        )

    def table(self, id: str, title: str, grid: Grid, note: str) -> Markup:
        about = for_site(f"{title}. {note}".strip())
        return self.grid(grid) + Markup(f"<p>{about} {self._csv(id)}</p>")

    def notice(self, text: str) -> Markup:
        return self.paragraph(text)

    def folded(self, title: str, body: str) -> Markup:
        return Markup(f"<details><summary>{for_site(title)}</summary>\n{body}\n</details>")

    def section(self, heading: str, blocks: Iterable[str]) -> Markup:
        body = "\n".join(blocks)
        return Markup(f"<section>\n<h2>{for_site(heading)}</h2>\n{body}\n</section>")

    def references(self, references: Sequence[Reference]) -> Markup:
        return _list(Markup("").join(map(reference_part, r.parts)) for r in references)

    def in_container(self, block: str) -> str:
        return block

    def end(self) -> str:
        """The charts and what draws them, where there are any."""
        if not self.charts:
            return ""
        # In a script HTML entities are not read: JSON's own escapes keep a prompt's `</script>` apart.
        specs = json.dumps(self.charts).replace("<", "\\u003c")
        data = f'<script type="application/json" id="charts">{specs}</script>'
        return "\n".join([data, *(f"<script>{script}</script>" for script in _scripts())])

    def page(self, title: str, body: str) -> str:
        """The whole document around a printed body."""
        policy = _policy(_scripts() if self.charts else [])
        return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
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
{self.end()}
</body>
</html>
"""

    def _csv(self, table_id: str) -> str:
        """A link that carries a whole table."""
        csv = self.tables[table_id].to_csv(index=False)
        # In base64 there is nothing to escape in an attribute, whatever a prompt holds.
        data = base64.b64encode(csv.encode()).decode()
        return f'<a download="{for_site(table_id)}.csv" href="data:text/csv;base64,{data}">CSV</a>'


def _picture(chart: Chart) -> str:
    """The chart as an image inside the page; empty where it cannot be drawn as one."""
    try:
        svg = picture_of(chart.spec).svg
    except PictureError:
        return ""
    data = base64.b64encode(svg.encode()).decode()
    return f'<img class="picture" alt="{for_site(chart.alt)}" src="data:image/svg+xml;base64,{data}">'


def _list(items: Iterable[Markup]) -> Markup:
    lines = "".join(f"<li>{item}</li>" for item in items)
    return Markup(f"<ul>{lines}</ul>" if lines else "")


def _cells(row: Sequence[object], sides: Sequence[str]) -> str:
    return "".join(f"<td{side}>{site_cell(cell)}</td>" for cell, side in zip(row, sides, strict=True))


def _scripts() -> list[str]:
    """The library and what draws the charts with it; no `</` that could end a script early."""
    return [vega_bundle().replace("</script", "<\\/script"), SCRIPT]


def _policy(scripts: Sequence[str]) -> str:
    """The content security policy of a page: it runs these scripts, and loads nothing from anywhere."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{text}'" for text in hashes) or "'none'"
    rules = ["default-src 'none'", f"script-src {allowed}", "style-src 'unsafe-inline'", "img-src data:"]
    return "; ".join([*rules, "base-uri 'none'", "form-action 'none'"])
