"""`engine runs`: what lies in the run store, one run of it, what may go, and its database made anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from engine.commands.arguments import current_plan
from engine.commands.console import Output, TextTable, human_bytes, human_seconds, measurement_fields
from engine.commands.options import Json
from engine.evidence.printing import interval_text
from engine.evidence.result import Check
from engine.lab import activation_cache
from engine.runs.investigation import find_root
from engine.runs.planning.unneeded_activations import unneeded_activations
from engine.runs.store.database import storage_errors
from engine.runs.store.record import StoredRun
from engine.runs.store.store import RunStore, open_store, rebuild

app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True)
def runs(context: typer.Context, json: Json = False) -> Output | None:
    """List the runs in the store, newest last.

    \b
    Example:
      engine runs
    """
    if context.invoked_subcommand is not None:
        return None
    with open_store(find_root()) as store:
        rows = [_run_data(store, run) for run in store.runs()]
    if not rows:
        return Output(["nothing was measured here yet; engine build does"], rows, json)
    headers = ["run", "experiment", "model", "date", "took", "key"]
    return Output([TextTable(headers, [_run_cells(row) for row in rows])], rows, json)


def _run_data(store: RunStore, run: StoredRun) -> dict[str, Any]:
    return {
        "id": run.id,
        "experiment": f"{run.name.slug}/{run.name.label}",
        "model": run.name.model,
        "date": run.date,
        "seconds": run.seconds,
        "key": run.key,
        "bytes": sum(file["bytes"] for file in run.files.values()),
        "damage": store.damage(run),
    }


def _run_cells(row: dict[str, Any]) -> tuple[Any, ...]:
    took = human_seconds(row["seconds"])
    return (row["id"], row["experiment"], row["model"], row["date"], took, row["damage"] or row["key"][:12])


@app.command("show")
def runs_show(run_id: Annotated[int, typer.Argument(help="The run's id.")], json: Json = False) -> Output:
    """Print one run's numbers, checks and provenance, and what it logged.

    \b
    Example:
      engine runs show 3
    """
    with open_store(find_root()) as store:
        run = store.run(run_id)
        result = store.load(run)
        log = store.log(run)
    measurements = list(result.measurements.values())
    data = {
        "run": run.record.to_json(),
        "measurements": [measurement_fields(m) for m in measurements],
        "checks": result.checks,
    }
    text = [
        f"run {run.id}: {run.name}, {run.date}, {human_seconds(run.seconds)}\n",
        TextTable(["role", "number", "value"], [(m.role, m.name, interval_text(m)) for m in measurements]),
        "",
        TextTable(["check", "limit", "value"], [_check_cells(check) for check in result.checks]),
        f"\n{log}".rstrip(),
    ]
    return Output(text, data, json)


def _check_cells(check: Check) -> tuple[str, str, str]:
    outcome = "passed" if check.passed else "FAILED"
    return (check.name, f"{check.limit:g}", f"{check.value:.3g} {outcome}")


@app.command("gc")
def runs_gc(
    yes: Annotated[bool, typer.Option("--yes", help="Delete them; without it they are only listed.")] = False,
) -> Output:
    """Free the disk that superseded and damaged runs take, and activations that no run to be measured needs.

    \b
    Example:
      engine runs gc --yes
    """
    with current_plan(find_root()) as (store, plan):
        unneeded = unneeded_activations(plan, store.folder)
        # A newer run supersedes an older one, which serves again once an edit is taken back.
        serving = {run.examined.current.id for run in plan.runs if run.examined.current}
        old = [run for run in store.superseded() if run.id not in serving]
        if not old and not unneeded:
            return Output(["nothing to free: no run was superseded, and no activations are left over"])
        if yes:
            return Output([_delete(store, old, unneeded)])
    return Output(_garbage_text(old, unneeded))


def _delete(
    store: RunStore, old: Sequence[StoredRun], unneeded: Sequence[activation_cache.HarvestFolder]
) -> str:
    """Delete runs and activations; what that freed, in a line."""
    freed = store.remove(old)
    with storage_errors(store.folder):
        freed += sum(activation_cache.free(found) for found in unneeded)
    # What another process is reading stays where it is.
    in_use = sum(found.folder.exists() for found in unneeded)
    gone = f"{len(old)} runs, {len(unneeded) - in_use} sets of activations"
    return f"freed {human_bytes(freed)}: {gone}" + (f"; {in_use} more are in use" if in_use else "")


def _garbage_text(
    old: Sequence[StoredRun], unneeded: Sequence[activation_cache.HarvestFolder]
) -> list[str | TextTable]:
    rows = [("run", str(run.id), str(run.name)) for run in old]
    rows += [("activations", human_bytes(found.n_bytes), _activations_text(found)) for found in unneeded]
    size = sum(file["bytes"] for run in old for file in run.files.values())
    size += sum(found.n_bytes for found in unneeded)
    what = f"{len(old)} runs and {len(unneeded)} sets of activations"
    return [
        TextTable(["what", "", "name"], rows),
        f"\n{human_bytes(size)} in {what}; engine runs gc --yes deletes them",
    ]


def _activations_text(found: activation_cache.HarvestFolder) -> str:
    """What a harvest holds, in a line."""
    about = found.about
    if not about:
        return "of a harvest cut short"
    sites = ", ".join(about.get("sites", []))
    return f"{about.get('tokens', 0):,} tokens of {about.get('corpus')} at {sites} of {about.get('model')}"


@app.command("rebuild")
def runs_rebuild() -> Output:
    """Make the store's database again from the run folders, which hold everything.

    \b
    Example:
      engine runs rebuild
    """
    found, lost = rebuild(find_root())
    return Output([f"{found} runs recorded", *(f"  lost: {line}" for line in lost)])
