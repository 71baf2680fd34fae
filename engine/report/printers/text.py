"""Plain text for PDF and threads: a number with its interval and n, a sentence marked where it is broken."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup

from engine.evidence.result import Figure, Measurement
from engine.evidence.verdicts import Verdict
from engine.report.charts.draw import Chart
from engine.report.citations import Reference
from engine.report.escape import for_text
from engine.report.facts import Cited, share_of
from engine.report.highlight import text_cell
from engine.report.numbers import MARKERS, Number, counted, digits_of, interval_of
from engine.report.tables import Grid, markdown


class TextPrinter:
    """Prints Markdown without HTML; `data` says how text from data is made safe."""

    def __init__(self, data: Callable[[object], Markup] = for_text) -> None:
        self.data = data

    def number(self, number: Number) -> Markup:
        """`0.50 (95 % CI 0.48 to 0.52, n = 20 prompts)`, with its source where that is not a run here."""
        if number.measurement is None or number.state in MARKERS:
            return Markup(number.text)
        mark = " [published]" if number.state == "published" else ""
        return self.data(_in_words(number.measurement, number.percent)) + Markup(mark)

    def claim(self, cited: Cited, sentence: str) -> Markup:
        if not cited.is_broken:
            return Markup(sentence)
        return Markup(
            f"{sentence} [broken: the text says {cited.asserted}, measured {cited.verdict.verdict}]"
        )

    def verdict(self, verdict: Verdict) -> Markup:
        share = share_of(verdict)
        return Markup(f"{verdict.verdict}, {share}" if share else verdict.verdict)

    def chart(self, id: str, figure: Figure, chart: Chart, table_id: str) -> Markup:
        """The chart in words."""
        said = " ".join(t for t in (chart.alt, figure.caption, chart.sampled) if t)
        return _block(f"[Chart] {self.data(said)}")

    def table(self, id: str, title: str, grid: Grid, note: str) -> Markup:
        return _block(self.grid(grid), "", f"{self.data(title)}. {self.data(note)}".strip())

    def notice(self, text: str) -> Markup:
        return _block(f"[{self.data(text)}]")

    def grid(self, grid: Grid) -> str:
        return markdown(grid, lambda cell: text_cell(cell, self.data))

    def folded(self, title: str, body: str) -> Markup:
        return _block(f"**{self.data(title)}**", "", body.strip("\n"))

    def code(self, text: str, language: str) -> Markup:
        fence = "```"
        while fence in text:
            fence += "`"
        return _block(f"{fence}{language}", text.rstrip("\n"), fence)

    def citation(self, references: list[Reference]) -> Markup:
        return Markup(f"({'; '.join(self.data(r.short) for r in references)})")

    def references(self, references: list[Reference]) -> Markup:
        return _block(*(f"- {self.data(f'{r.long} {r.url}'.strip())}" for r in references))

    def end(self) -> str:
        return ""


def _block(*lines: str) -> Markup:
    return Markup("\n\n" + "\n".join(lines) + "\n\n")


def _in_words(measurement: Measurement, percent: bool) -> str:
    """`0.50 (95 % CI 0.48 to 0.52, n = 20 prompts)`; a count by design is its digits alone.

    The quantity is left to the prose, which has words for it.
    """
    value, interval = digits_of(measurement, percent), interval_of(measurement, percent)
    if measurement.exact:
        return value
    n = f"n = {counted(measurement.n, measurement.unit)}"
    return f"{value} (95 % CI {interval}, {n})" if interval else f"{value} (no interval, {n})"
