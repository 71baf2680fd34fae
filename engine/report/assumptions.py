"""What makes the step from a report's numbers to its sentences valid, as a section of the page."""

from __future__ import annotations

from markupsafe import Markup

from engine.report.claim_sentences import verdict_of
from engine.report.printers.markdown_blocks import block, joined
from engine.report.printers.printer import Printer
from engine.report.tables import Grid
from engine.runs.ledger import Ledger
from engine.spec.models import Assumption

EVIDENCE = {
    "causal": "The evidence is causal: activations are changed, and what the model then does is measured.",
    "mixed": "The evidence is mixed: some of it is causal, where activations are changed, and the rest is "
    "what is read without changing anything.",
    "correlational": "The evidence is correlational: nothing is changed, and what goes together is measured.",
    "descriptive": "The evidence is descriptive: what was found is described, and nothing is changed.",
}
KINDS = {
    "statistical": "from samples to the number",
    "internal": "from a difference to its cause",
    "construct": "from the number to the notion",
    "external": "from these models and data to others",
    None: "–",
}


def assumptions(ledger: Ledger, printer: Printer) -> Markup:
    """The kind of evidence, and each assumption with the step that needs it and what stresses it."""
    spec = ledger.spec
    rows = [[a.text, KINDS[a.kind], _stressed_by(a, ledger)] for a in spec.assumptions]
    grid = Grid(["Assumption", "Needed for the step", "Stressed by"], rows)
    kind = printer.paragraph(EVIDENCE[spec.evidence]) if spec.evidence else ""
    return block(joined([kind, printer.grid(grid) if rows else ""]))


def _stressed_by(assumption: Assumption, ledger: Ledger) -> str:
    """Claims with their verdict on the primary model, experiments by name; or that nothing does."""
    return ", ".join(_named(name, ledger) for name in assumption.stressed_by) or "nothing here"


def _named(name: str, ledger: Ledger) -> str:
    if name not in ledger.spec.claims:
        return f"the experiment {name}"
    return f"{name} ({verdict_of(ledger, name, ledger.primary).verdict})"
