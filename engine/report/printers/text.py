"""Plain text for PDF and threads: a number with its interval and n, a sentence marked where it is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from markupsafe import Markup

from engine.evidence.result import Figure
from engine.evidence.verdicts import Verdict
from engine.report.bibliography import Reference
from engine.report.charts.chart import Chart
from engine.report.citations import CitationForm, cited_in_words
from engine.report.claim_sentences import ClaimSentence, sentence_in_words, verdict_and_share
from engine.report.escape import for_text
from engine.report.highlight import text_cell
from engine.report.key_numbers import KeyPair, key_pair_in_words
from engine.report.numbers import Number, number_in_words
from engine.report.popovers import LabelledFacts
from engine.report.printers.markdown_blocks import block, bulleted, headed
from engine.report.tables import Grid, markdown


class TextPrinter:
    """Prints Markdown without HTML; `data` says how text from data is made safe.

    A number has its interval beside it, and without `intervals` its digits alone.
    """

    brackets = ("(", ")")

    def __init__(self, data: Callable[[object], Markup] = for_text, *, intervals: bool = True) -> None:
        self.data = data
        self.intervals = intervals

    def number(self, number: Number) -> Markup:
        return number_in_words(number, self.data) if self.intervals else Markup(number.text)

    def headline(self, sentence: str) -> Markup:
        return block(sentence)

    def key_numbers(self, pairs: Sequence[KeyPair]) -> Markup:
        """A line for each number, with its control."""
        return bulleted(key_pair_in_words(pair, self.data) for pair in pairs)

    def claim(self, cited: ClaimSentence, sentence: str) -> Markup:
        return sentence_in_words(cited, sentence, self.data)

    def verdict(self, verdict: Verdict) -> Markup:
        return Markup(verdict_and_share(verdict))

    def formula(self, tex: str, display: bool) -> Markup:
        """The TeX itself, which pandoc reads."""
        sign = "$$" if display else "$"
        return Markup(f"{sign}{tex}{sign}")

    def chart(self, id: str, figure: Figure, chart: Chart, table_id: str) -> Markup:
        """The chart in words."""
        said = " ".join(t for t in (chart.alt, figure.caption, chart.sampled) if t)
        return block(f"[Chart] {self.data(said)}")

    def table(self, id: str, title: str, grid: Grid, note: str) -> Markup:
        return block(self.grid(grid), "", f"{self.data(title)}. {self.data(note)}".strip())

    def notice(self, text: str) -> Markup:
        return block(f"[{self.data(text)}]")

    def grid(self, grid: Grid) -> Markup:
        return Markup(markdown(grid, lambda cell: text_cell(cell, self.data)))

    def paragraph(self, text: str) -> Markup:
        return self.data(text)

    def items(self, texts: Iterable[str]) -> Markup:
        return bulleted(self.data(text) for text in texts)

    def facts(self, facts: LabelledFacts) -> Markup:
        return bulleted(f"{self.data(label)}: {self.data(text)}" for label, text in facts)

    def section(self, heading: str, blocks: Iterable[str]) -> Markup:
        return headed(self.data(heading), blocks)

    def folded(self, title: str, body: str) -> Markup:
        return block(f"**{self.data(title)}**", "", body.strip("\n"))

    def code(self, text: str, language: str) -> Markup:
        # Longer than any row of backticks in the text, which would end the block.
        fence = "```"
        while fence in text:
            fence += "`"
        return block(f"{fence}{language}", text.rstrip("\n"), fence)

    def citation(self, reference: Reference, form: CitationForm) -> Markup:
        return Markup("").join(map(self.data, cited_in_words(reference.names, reference.year, form)))

    def references(self, references: Sequence[Reference]) -> Markup:
        return block(*(f"- {self.data(_with_addresses(r))}" for r in references))

    def in_container(self, block: str) -> str:
        return block.strip("\n")

    def end(self) -> str:
        return ""


def _with_addresses(reference: Reference) -> str:
    """A reference in words, with the address where a link does not show it."""
    words = (f"{p.text} {p.address}" if p.address not in ("", p.text) else p.text for p in reference.parts)
    return "".join(words)
