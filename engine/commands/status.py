"""`engine status`: whether each experiment is up to date, and if not, which input changed."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from engine.commands.arguments import run_selector
from engine.commands.console import Output, TextTable, human_bytes, human_seconds
from engine.commands.options import Json, Models, Slugs, Verbose
from engine.commands.plan_text import guess_note, investigation_counts, sweep_name, sweep_reason, sweeps
from engine.lab.activation_cache import harvest_folders
from engine.runs.investigation import find_investigations, find_root
from engine.runs.planning.plan import PlannedRun, make_plan
from engine.runs.planning.status_rows import StatusRow
from engine.runs.planning.status_rows import status as status_rows
from engine.runs.sources import project_sources
from engine.runs.store.store import FOLDER, open_store

STATES = {"up to date": "up to date", "stale": "stale", "new": "new", "not measurable": "not measurable"}

app = typer.Typer(add_completion=False)


@app.command()
def status(slugs: Slugs = None, model: Models = None, verbose: Verbose = False, json: Json = False) -> Output:
    """Say for each experiment whether it is up to date, and if not, which input changed.

    Counts the runs of every investigation, and lists those that would be measured; all of them where an
    investigation or a model is named.

    \b
    Example:
      engine status fact-recall
    """
    root = find_root()
    sources = project_sources()
    with open_store(root) as store:
        investigations = find_investigations(root, sources.catalog)
        select = run_selector(investigations, slugs, model)
        plan = make_plan(investigations, store, sources)
    chosen = [(run, row) for run, row in zip(plan.runs, status_rows(plan), strict=True) if select(run.name)]
    text = _text(chosen, everything=bool(slugs or model), verbose=verbose)
    if harvests := harvest_folders(root / FOLDER):
        size = human_bytes(sum(found.n_bytes for found in harvests))
        text.append(
            f"\nactivations take {size} in {len(harvests)} sets; engine runs gc lists those no run needs"
        )
    return Output(text, [row.to_json() for _, row in chosen], json)


def _text(
    chosen: Sequence[tuple[PlannedRun, StatusRow]], *, everything: bool, verbose: bool
) -> list[str | TextTable]:
    """Counts by investigation, then a row for each experiment that would be measured, or for `everything`.

    The points of a sweep have one row together, with `verbose` one each.
    """
    row_of = {run.name: row for run, row in chosen}
    runs = [run for run, _ in chosen]
    due = [run for run in runs if everything or _is_due(run, row_of[run.name])]
    shown = [[run] for run in runs] if verbose else sweeps(due)
    text: list[str | TextTable] = [investigation_counts(runs, STATES, lambda run: run.state, "up to date")]
    if shown:
        rows = [_cells(points, [row_of[run.name] for run in points]) for points in shown]
        text += ["", TextTable(["experiment", "model", "state", "takes", "why"], rows)]
    if sum(map(len, shown)) < len(runs):
        text.append("\n--verbose lists every run.")
    return text


def _is_due(run: PlannedRun, row: StatusRow) -> bool:
    """Whether there is something to measure: an input changed, or there is no number, nor a published one."""
    return run.state == "stale" or (run.state == "new" and not row.published)


def _cells(points: Sequence[PlannedRun], rows: Sequence[StatusRow]) -> tuple[str, ...]:
    first = rows[0]
    takes = human_seconds(sum(row.seconds for row in rows))
    # A tilde where some of the time was not measured but estimated.
    expected = [run for run, row in zip(points, rows, strict=True) if not row.measured]
    if expected:
        takes = f"~{takes}{guess_note(expected)}"
    why = sweep_reason(points, [_why(row) for row in rows])
    return (sweep_name(points), first.model, first.state, takes, why)


def _why(row: StatusRow) -> str:
    if row.published and row.state != "up to date":
        return f"{row.reason}; published {row.published[:10]}"
    return row.reason
