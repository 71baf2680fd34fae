"""What the ledger writes into a report by itself: where claims hold, how it was measured, how to repeat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from markupsafe import Markup

from engine.evidence.printing import interval_text
from engine.report.claim_sentences import family_in_words, verdict_of
from engine.report.numbers import MARKERS, failed_checks, is_withheld
from engine.report.popovers import command_of, day
from engine.report.printers.markdown_blocks import block, joined
from engine.report.printers.printer import Printer
from engine.report.tables import Grid
from engine.runs.ledger import Entry, Ledger
from engine.runs.replication import measured_here
from engine.spec.load import dump

if TYPE_CHECKING:
    from engine.evidence.result import Measurement

T = TypeVar("T")


def where_it_holds(ledger: Ledger, printer: Printer) -> Markup:
    """Claims down, models across, with the verdict and its share; the reasons beneath."""
    models = ledger.spec.models
    rows = []
    for id, claim in ledger.spec.claims.items():
        verdicts = [printer.verdict(verdict_of(ledger, id, model)) for model in models]
        rows.append([claim.says or id, claim.holds, *verdicts])
    table = printer.grid(Grid(["Hypothesis", "Holds where", *models], rows))
    share = printer.paragraph(
        "Under each model stands the verdict, and in what share of bootstrap replicates the claim holds; of "
        "a claim of several comparisons that of the one that decides, corrected for their number. Where a "
        "requirement decided, there is no share, and the reason is given below the table."
    )
    families = [said for model in models if (said := family_in_words(ledger, model))]
    return _blocks([share if rows else "", table, printer.items(families), printer.items(_reasons(ledger))])


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
        blocks.append(printer.items(failed))
    folds = {"Checks": _checks(entries), "Controls": _controls(entries), "Environment": _environment(entries)}
    blocks += [printer.folded(title, printer.grid(grid)) for title, grid in folds.items() if grid.rows]
    return _blocks(blocks)


def _replicated(ledger: Ledger, printer: Printer) -> str:
    said = f"Numbers {measured_here(ledger).in_words}."
    drifts = [
        f"Drift: {c.name} on {c.model}, published {c.published:.4g}, measured here {c.fresh:.4g}"
        for c in ledger.drifted
    ]
    return joined([printer.paragraph(said), printer.items(drifts)])


def _by_sweep(
    entries: Iterable[Entry], parts: Callable[[Entry], Iterable[tuple[str, T]]]
) -> Iterator[tuple[str, str, str, list[T]]]:
    """What entries say under some name: once for an experiment and model, with all points of a sweep."""
    groups: dict[tuple[str, str, str], list[tuple[Entry, T]]] = {}
    for entry in entries:
        for name, part in parts(entry):
            groups.setdefault((entry.experiment, entry.model, name), []).append((entry, part))
    for (experiment, model, name), found in groups.items():
        label = found[0][0].label if len(found) == 1 else f"{experiment}[{len(found)} points]"
        yield label, model, name, [part for _, part in found]


def _span(texts: Sequence[str]) -> str:
    """The first and the last of some texts in order, once where they are the same."""
    return texts[0] if texts[0] == texts[-1] else f"{texts[0]} to {texts[-1]}"


def _runs(entries: Iterable[Entry]) -> Grid:
    """A row for each experiment and model; hook sites only where a family reads one."""
    rows = []
    for label, model, state, runs in _by_sweep(entries, lambda e: [(_state(e), e.provenance)]):
        known = [run for run in runs if run]
        sites = dict.fromkeys(run.hook_site for run in known if run.hook_site)
        ids = sorted(run.run_id for run in known if run.run_id)
        seconds = _seconds(sum(run.seconds for run in known)) if known else "–"
        dates = sorted(day(run.date) for run in known) or ["–"]
        run_span = _span([str(n) for n in ids] or ["–"])
        rows.append([label, model, ", ".join(sites) or "–", state, run_span, seconds, _span(dates)])
    grid = Grid(
        ["Experiment", "Model", "Hook site", "State", "Run", "Seconds", "Date"],
        rows,
        [False, False, False, False, True, True, False],
    )
    return grid if any(row[2] != "–" for row in rows) else _without_column(grid, 2)


def _without_column(grid: Grid, at: int) -> Grid:
    """The grid less one of its columns."""
    headers = [*grid.headers[:at], *grid.headers[at + 1 :]]
    right = [*grid.right[:at], *grid.right[at + 1 :]]
    return Grid(headers, [[*row[:at], *row[at + 1 :]] for row in grid.rows], right)


def _seconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _state(entry: Entry) -> str:
    if is_withheld(entry):
        return MARKERS["withheld"]
    return f"{entry.state}: {entry.reason}" if entry.reason else entry.state


def _checks(entries: Iterable[Entry]) -> Grid:
    """A row for each check of an experiment, the worst where it is a sweep."""
    rows = []
    for label, model, name, checks in _by_sweep(
        entries, lambda e: [(c.about or c.name, c) for c in e.checks]
    ):
        # A failed one before all that passed: points of a sweep may be held to different limits.
        worst = max(checks, key=lambda c: (not c.passed, c.value))
        outcome = "passed" if worst.passed else "failed"
        rows.append([label, model, name, f"{worst.value:.2g}", f"{worst.limit:.2g}", outcome])
    headers = ["Experiment", "Model", "Check", "Seen", "At most", "Outcome"]
    return Grid(headers, rows, [False, False, False, True, True, False])


def _controls(entries: Iterable[Entry]) -> Grid:
    """A row for each control of an experiment, its smallest and largest value where it is a sweep."""
    rows = []
    for label, model, name, controls in _by_sweep(entries, _controls_of):
        ordered = sorted(controls, key=lambda m: m.value)
        value = _span([f"{m.value:.3g}" for m in ordered]) if len(ordered) > 1 else interval_text(ordered[0])
        rows.append([f"{label}.{name}", model, ordered[0].about, value])
    return Grid(["Control", "Model", "What it shows", "Value"], rows)


def _controls_of(entry: Entry) -> list[tuple[str, Measurement]]:
    if is_withheld(entry):
        return []
    return [(m.name, m) for m in entry.measurements.values() if m.role == "control"]


def _environment(entries: Iterable[Entry]) -> Grid:
    """One row for each distinct environment, model bytes included."""
    rows: dict[tuple[str, ...], list[object]] = {}
    for run in (e.provenance for e in entries if e.provenance):
        versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
        model_hash = f"{run.model_hash[:12]} {run.quantisation}".strip()
        row = (run.model, model_hash, run.dtype, run.device, versions)
        rows.setdefault(row, list(row))
    return Grid(["Model", "Bytes", "Number format", "Device", "Versions"], list(rows.values()))


def repeat(ledger: Ledger, printer: Printer, spec: Path | None = None) -> Markup:
    """The commands that measure the primary model's numbers again, and the spec to copy, as it is written."""
    entries = [e for e in ledger.entries if e.model == ledger.primary]
    commands = dict.fromkeys(command_of(e, ledger.slug) for e in entries)
    text = spec.read_text(encoding="utf-8") if spec and spec.is_file() else dump(ledger.spec)
    return _blocks(
        [printer.code("\n".join(commands), "sh"), printer.folded("spec.yaml", printer.code(text, "yaml"))]
    )


def _blocks(blocks: Iterable[Any]) -> Markup:
    """Blocks between blank lines."""
    return block(joined(blocks))
