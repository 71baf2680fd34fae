"""A post's way of showing evidence: numbers as plain text, charts as pictures, and nothing that is neither.

Where a claim or a chart stands in the text is kept by a mark, a control character that no data can hold
(`escape` replaces them), so that whoever cuts the text into posts knows in which of them it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from markupsafe import Markup

from engine.errors import TemplateError
from engine.evidence.result import Figure
from engine.report.bibliography import Reference
from engine.report.charts.chart import Chart
from engine.report.citations import CitationForm, cited_in_words
from engine.report.claim_sentences import ClaimSentence
from engine.report.escape import as_it_is
from engine.report.numbers import MARKERS, Number
from engine.report.popovers import LabelledFacts
from engine.report.printers.text import TextPrinter
from engine.report.tables import Grid

MARK = re.compile("\x1f(claim|chart) (\\d+)\x1f")


@dataclass(frozen=True)
class PostChart:
    """A chart that a post shows, with the title that stands in it."""

    id: str
    chart: Chart
    title: str


class PostPrinter(TextPrinter):
    """Prints posts; `claims` and `charts` are those of the marks in the text, by number."""

    def __init__(self) -> None:
        super().__init__(as_it_is)
        self.claims: list[ClaimSentence] = []
        self.charts: list[PostChart] = []

    def number(self, number: Number) -> Markup:
        """The digits alone; TemplateError for a number that has no value, which a post cannot say."""
        if number.state in MARKERS:
            raise TemplateError(
                f"a post cannot print {number.name}",
                expected="a number that was measured here or is published",
                seen=f"{number.text}: {number.entry.reason}".rstrip(": "),
            )
        return self.data(number.text)

    def claim(self, cited: ClaimSentence, sentence: str) -> Markup:
        """The sentence; where the evidence does not decide it, it says so."""
        self.claims.append(cited)
        open_question = " [undetermined]" if cited.is_undecided else ""
        return Markup(f"{_mark('claim', len(self.claims))}{sentence}{open_question}")

    def chart(self, id: str, figure: Figure, chart: Chart, table_id: str) -> Markup:
        # The title of a curve is the claim, whatever was found of it.
        opening = "Hypothesis: " if figure.kind == "specification_curve" else ""
        self.charts.append(PostChart(id, chart, f"{opening}{figure.title}"))
        return _mark("chart", len(self.charts))

    def paragraph(self, text: str) -> Markup:
        """Nothing: the words beside a picture are the author's own."""
        return Markup("")

    def citation(self, reference: Reference, form: CitationForm) -> Markup:
        """The address of a work in brackets, else its authors and year; in a sentence these."""
        if reference.url and form in ("bracketed", "year"):
            return self.data(reference.url)
        if form.startswith("opened"):  # nothing closes it
            return self.data(f"{reference.names} {reference.year}, ".lstrip())
        return self.data("".join(cited_in_words(reference.names, reference.year, form)))

    def references(self, references: Sequence[Reference]) -> Markup:
        return Markup("")

    def notice(self, text: str) -> NoReturn:
        raise TemplateError("what a post shows is not there", expected="a chart with its data", seen=text)

    def table(self, id: str, title: str, grid: Grid, note: str) -> NoReturn:
        raise _no_text(f"table {title}")

    def grid(self, grid: Grid) -> NoReturn:
        raise _no_text("a table")

    def facts(self, facts: LabelledFacts) -> NoReturn:
        raise _no_text("a list of facts")

    def items(self, texts: Iterable[str]) -> NoReturn:
        raise _no_text("a list")

    def code(self, text: str, language: str) -> NoReturn:
        raise _no_text("code")

    def formula(self, tex: str, display: bool) -> NoReturn:
        raise _no_text("a formula")

    def section(self, heading: str, blocks: Iterable[str]) -> NoReturn:
        raise _no_text(f"section {heading}")

    def folded(self, title: str, body: str) -> NoReturn:
        raise _no_text(title)


def _mark(kind: str, count: int) -> Markup:
    return Markup(f"\x1f{kind} {count - 1}\x1f")


def _no_text(what: str) -> TemplateError:
    return TemplateError("a post is text and pictures", expected="numbers, claims and chart(...)", seen=what)
