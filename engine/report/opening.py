"""What a report opens with: the finding first, then the claims with their verdicts.

The headline is plain text with numbers in it, so that it reads the same on the report, on the home page, in
the index and in a feed. An interval stands behind its number, in the popover.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from markupsafe import Markup

from engine.report.claim_sentences import hypothesis_of, verdict_of
from engine.report.key_numbers import KeyPair
from engine.report.printers.markdown_blocks import block, joined
from engine.report.printers.printer import Printer
from engine.report.tables import Grid
from engine.runs.ledger import Ledger

CLAIMS = "Hypotheses and verdicts"
_TAG = re.compile(r"(\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\})", re.S)


def escaped_prose(template: str, escape: Callable[[object], Markup]) -> str:
    """A template whose words are escaped, line by line, and whose tags are as they were."""
    # Split at a group, every second piece is what the group matched.
    pieces = enumerate(_TAG.split(template))
    return "".join(piece if at % 2 else _escaped_lines(piece, escape) for at, piece in pieces)


def _escaped_lines(text: str, escape: Callable[[object], Markup]) -> str:
    return "\n".join(str(escape(line)) for line in text.split("\n"))


def on_one_line(text: str) -> str:
    """The text with each run of spaces and line breaks as one space; a space that does not break stays."""
    return re.sub(r"[ \t\n]+", " ", text).strip()


def opening(headline: str, pairs: Sequence[KeyPair], printer: Printer) -> Markup:
    """The headline, in the printer's own markup, and the key numbers below it."""
    said = printer.headline(headline) if headline else ""
    return block(joined([said, printer.key_numbers(pairs) if pairs else ""]))


def claims_at_a_glance(ledger: Ledger, printer: Printer) -> Markup:
    """Every hypothesis with the verdict of the primary model; empty where there is none."""
    primary = ledger.primary
    rows = [
        [hypothesis_of(claim), printer.verdict(verdict_of(ledger, id, primary))]
        for id, claim in ledger.spec.claims.items()
    ]
    if not rows:
        return Markup("")
    return block(printer.section(CLAIMS, [printer.grid(Grid(["Hypothesis", f"On {primary}"], rows))]))
