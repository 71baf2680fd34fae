"""A paper's way of showing evidence: Markdown as pandoc and Quarto read it, numbers with their intervals.

A number is `0.50 [0.48, 0.52]`: its digits and its 95 % interval; the number of units and the statistic are
for the text or the caption to say. A dash stands where few units bear no interval. A claim is a span that
carries its verdict, and is marked where text and evidence part. Charts and tables have captions, and labels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup

from engine.evidence.result import Figure
from engine.evidence.verdicts import Verdict
from engine.report.bibliography import Reference
from engine.report.charts.chart import Chart
from engine.report.citations import CitationForm
from engine.report.claim_sentences import ClaimSentence, verdict_and_share
from engine.report.escape import one_line
from engine.report.numbers import MARKERS, Number, interval_of
from engine.report.printers.markdown_blocks import block
from engine.report.printers.text import TextPrinter
from engine.report.tables import Grid

# Those that pandoc's Markdown gives a meaning; it takes any of them behind a backslash.
_PUNCTUATION = re.compile(r"""[!"#$&()*+.:<=>?@\[\\\]^_`{|}~-]""")


def for_pandoc(value: object) -> Markup:
    """Text from data, safe in pandoc's Markdown; the sign of a percentage does not begin a line."""
    return Markup(_PUNCTUATION.sub(r"\\\g<0>", one_line(value).replace(" %", "\u00a0%")))


class PaperPrinter(TextPrinter):
    """Prints Markdown for pandoc; keeps which numbers and claims it printed, in their order."""

    def __init__(self) -> None:
        super().__init__(for_pandoc)
        self.numbers: dict[tuple[str, str], Number] = {}
        self.claims: dict[tuple[str, str], ClaimSentence] = {}

    def number(self, number: Number) -> Markup:
        self.numbers.setdefault((number.name, number.entry.model), number)
        measurement = number.measurement
        if measurement is None or number.state in MARKERS or measurement.exact or measurement.is_choice:
            return self.data(number.text)
        # The sign once is enough: `43 % [38, 47]`.
        low, _, high = interval_of(measurement, number.percent).replace(" %", "").partition(" to ")
        ends = f"{low}, {high}" if high else "–"
        return self.data(f"{number.text}\u00a0[{ends}]")

    def claim(self, cited: ClaimSentence, sentence: str) -> Markup:
        self.claims.setdefault((cited.id, cited.model), cited)
        mark = f" **\\[{self.data(cited.mark)}\\]**" if cited.mark else ""
        verdict = cited.verdict.verdict.replace(" ", "-")
        return Markup(f'[{sentence}{mark}]{{.claim data-claim="{cited.id}" data-verdict="{verdict}"}}')

    def verdict(self, verdict: Verdict) -> Markup:
        return self.data(verdict_and_share(verdict))

    def chart(self, id: str, figure: Figure, chart: Chart, table_id: str) -> Markup:
        """An image with a caption and a label, `@fig-...`."""
        # An author's caption stands for both of the family's texts.
        is_authors = hasattr(figure.caption, "__html__")
        words = ["" if is_authors else f"{self.data(figure.title.rstrip('.'))}."]
        words += [self.prose(figure.caption), self.data(chart.sampled)]
        caption = " ".join(word for word in words if word)
        alt = chart.alt.replace("\\", "").replace('"', "'")
        return block(f'![{caption}](charts/{id}.svg){{#{labelled("fig", id)} fig-alt="{one_line(alt)}"}}')

    def table(self, id: str, title: str, grid: Grid, note: str) -> Markup:
        """A table with a caption and a label, `@tbl-...`."""
        caption = " ".join(filter(None, [f"{self.prose(title).rstrip('.')}.", self.data(note)]))
        return block(self.grid(grid), "", f": {caption} {{#{labelled('tbl', id)}}}")

    def notice(self, text: str) -> Markup:
        return block("::: {.callout-warning}", self.data(text), ":::")

    brackets = ("[", "]")

    def citation(self, reference: Reference, form: CitationForm) -> Markup:
        """As it was written, for citeproc; what opens a bracket is closed by the text."""
        sign = "-@" if "year" in form else "@"
        return Markup(f"{sign}{{{reference.key}}}{' [' if form.startswith('opened') else ''}")

    def references(self, references: Sequence[Reference]) -> Markup:
        return block("::: {#refs}", ":::")

    def prose(self, text: str) -> Markup:
        """What the author wrote in the template is Markdown already; what a family wrote is plain text."""
        return Markup(text) if hasattr(text, "__html__") else self.data(text)


def labelled(kind: str, id: str) -> str:
    """`fig-seeds_mid-best_match`: a label for a chart's or table's id, which may be a label itself."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", id).strip("-")
    return plain if plain.startswith(f"{kind}-") else f"{kind}-{plain}"
