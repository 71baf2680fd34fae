"""What the ledger writes into a report by itself: where claims hold, how it was measured, how to repeat."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from markupsafe import Markup

from engine.evidence.printing import interval_text
from engine.evidence.verdicts import Verdict
from engine.report.facts import command_of, day, failed_checks, verdict_of
from engine.report.numbers import MARKERS, is_withheld
from engine.report.tables import Grid
from engine.runs.ledger import Entry, Ledger
from engine.spec.load import dump


class Printer(Protocol):
    """What the sections need of a target."""

    def data(self, value: object, /) -> Markup: ...
    def grid(self, grid: Grid, /) -> str: ...
    def folded(self, title: str, body: str, /) -> Markup: ...
    def code(self, text: str, language: str, /) -> Markup: ...
    def verdict(self, verdict: Verdict, /) -> Markup: ...


def where_it_holds(ledger: Ledger, printer: Printer) -> Markup:
    """Claims down, models across, with the verdict and its share; the reasons beneath."""
    models = ledger.spec.models
    rows = []
    for id, claim in ledger.spec.claims.items():
        verdicts = [printer.verdict(verdict_of(ledger, id, model)) for model in models]
        rows.append([claim.says or id, claim.holds, *verdicts])
    table = printer.grid(Grid(["Claim", "Holds where", *models], rows))
    share = printer.data("Percentages: the share of bootstrap replicates in which the claim holds.")
    return _blocks([table, share if rows else "", _list(printer, _reasons(ledger))])


def _reasons(ledger: Ledger) -> list[str]:
    """Why a verdict is not plain, once for each model and reason."""
    said: dict[tuple[str, str], list[str]] = {}
    for model in ledger.spec.models:
        for id in ledger.spec.claims:
            verdict = verdict_of(ledger, id, model)
            if verdict.reason:
                said.setdefault((model, f"{verdict.verdict}: {verdict.reason}"), []).append(id)
    return [f"{model}, {', '.join(ids)} {reason}" for (model, reason), ids in said.items()]


def how_measured(ledger: Ledger, printer: Printer) -> Markup:
    """Runs in full view; checks, controls and environment folded beneath them."""
    entries = [e for model in ledger.spec.models for e in ledger.entries if e.model == model]
    blocks = [_replicated(ledger, printer), printer.grid(_runs(entries))]
    if failed := [f"{e.label} on {e.model}: {failed_checks(e)}" for e in entries if is_withheld(e)]:
        blocks.append(_list(printer, failed))
    folds = {"Checks": _checks(entries), "Controls": _controls(entries), "Environment": _environment(entries)}
    blocks += [printer.folded(title, printer.grid(grid)) for title, grid in folds.items() if grid.rows]
    return _blocks(blocks)


def _replicated(ledger: Ledger, printer: Printer) -> str:
    agreed, compared = ledger.replicated
    if not compared:
        return ""
    said = f"{agreed} of {compared} published numbers replicated here."
    drifts = [
        f"Drift: {c.name} on {c.model}, published {c.published:.4g}, measured here {c.fresh:.4g}"
        for c in ledger.drifted
    ]
    return "\n\n".join(t for t in (str(printer.data(said)), _list(printer, drifts)) if t)


def _runs(entries: Iterable[Entry]) -> Grid:
    rows = []
    for entry in entries:
        reason, run = f"{entry.state}: {entry.reason}" if entry.reason else entry.state, entry.provenance
        reason = MARKERS["withheld"] if is_withheld(entry) else reason
        about = [run.run_id or "–", f"{run.seconds:.3g}", day(run.date)] if run else ["–", "–", "–"]
        rows.append([entry.label, entry.model, reason, *about])
    headers = ["Experiment", "Model", "State", "Run", "Seconds", "Date"]
    return Grid(headers, rows, [False, False, False, True, True, False])


def _checks(entries: Iterable[Entry]) -> Grid:
    rows = [
        [
            e.label,
            e.model,
            c.about or c.name,
            f"{c.value:.2g}",
            f"{c.limit:.2g}",
            "passed" if c.passed else "failed",
        ]
        for e in entries
        for c in e.checks
    ]
    headers = ["Experiment", "Model", "Check", "Seen", "At most", "Outcome"]
    return Grid(headers, rows, [False, False, False, True, True, False])


def _controls(entries: Iterable[Entry]) -> Grid:
    rows = [
        [f"{e.label}.{m.name}", e.model, m.about, interval_text(m)]
        for e in entries
        if not is_withheld(e)
        for m in e.measurements.values()
        if m.role == "control"
    ]
    return Grid(["Control", "Model", "What it shows", "Value"], rows)


def _environment(entries: Iterable[Entry]) -> Grid:
    """One row for each distinct environment, model bytes included."""
    rows: dict[tuple[str, ...], list[object]] = {}
    for run in (e.provenance for e in entries if e.provenance):
        versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
        model_hash = f"{run.model_hash[:12]} {run.quantisation}".strip()
        row = (run.model, model_hash, run.dtype, run.device, versions)
        rows.setdefault(row, list(row))
    return Grid(["Model", "Bytes", "Number format", "Device", "Versions"], list(rows.values()))


def repeat(ledger: Ledger, printer: Printer, template: Path) -> Markup:
    """The commands that measure the primary model's numbers again, and the spec to copy."""
    entries = [e for e in ledger.entries if e.model == ledger.primary]
    commands = dict.fromkeys(command_of(e, ledger.slug) for e in entries)
    spec = template.parent / "spec.yaml"
    text = spec.read_text(encoding="utf-8") if spec.is_file() else dump(ledger.spec)
    return _blocks(
        [printer.code("\n".join(commands), "sh"), printer.folded("spec.yaml", printer.code(text, "yaml"))]
    )


def _list(printer: Printer, items: Sequence[str]) -> str:
    return "\n".join(f"- {printer.data(item)}" for item in items)


def _blocks(blocks: Iterable[Any]) -> Markup:
    """Blocks between blank lines."""
    return Markup("\n\n" + "\n\n".join(str(b).strip("\n") for b in blocks if b) + "\n\n")
