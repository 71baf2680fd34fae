"""`engine status`: whether each experiment is up to date, and if not, which input changed."""

from __future__ import annotations

import typer

from engine.commands.console import Output, Table, human_bytes, human_seconds
from engine.commands.options import Json, Models, Slugs
from engine.commands.selection import run_selector
from engine.lab.activation_cache import harvest_folders
from engine.runs.investigation import find_investigations, find_root
from engine.runs.planning.plan import make_plan
from engine.runs.planning.status_rows import StatusRow
from engine.runs.planning.status_rows import status as status_rows
from engine.runs.sources import project_sources
from engine.runs.store.store import FOLDER, open_store

app = typer.Typer(add_completion=False)


@app.command()
def status(slugs: Slugs = None, model: Models = None, json: Json = False) -> Output:
    """Say for each experiment whether it is up to date, and if not, which input changed.

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
    rows = [row for run, row in zip(plan.runs, status_rows(plan), strict=True) if select(run.name)]
    table = Table(["experiment", "model", "state", "takes", "why"], [_cells(row) for row in rows])
    text: list[str | Table] = [table]
    if harvests := harvest_folders(root / FOLDER):
        size = human_bytes(sum(found.n_bytes for found in harvests))
        text.append(
            f"\nactivations take {size} in {len(harvests)} sets; engine runs gc lists those no run needs"
        )
    return Output(text, [row.to_json() for row in rows], json)


def _cells(row: StatusRow) -> tuple[str, ...]:
    seconds = human_seconds(row.seconds)
    why = row.reason
    if row.published and row.state != "up to date":
        why += f"; published {row.published[:10]}"
    takes = seconds if row.measured else f"~{seconds}"
    return (f"{row.investigation}/{row.label}", row.model, row.state, takes, why)
