"""The run store as a person keeps it: what lies in it, one run of it, what may go, its database made anew."""

from __future__ import annotations

from pathlib import Path

from engine.commands.console import emit_json, human_bytes, human_seconds, say, table, told_number
from engine.errors import EngineError


def runs(*, json: bool) -> None:
    """Every run in the store."""
    from engine.runs.investigation import find_root
    from engine.runs.store.store import open_store

    with open_store(find_root()) as store:
        rows = [_run_row(store, run) for run in store.runs()]
    if json:
        emit_json(rows)
    elif not rows:
        say("nothing was measured here yet; engine build does")
    else:
        cells = [
            (
                r["id"],
                r["experiment"],
                r["model"],
                r["date"],
                human_seconds(r["seconds"]),
                r["damage"] or r["key"][:12],
            )
            for r in rows
        ]
        table(["run", "experiment", "model", "date", "took", "key"], cells)


def _run_row(store, run) -> dict:
    return {
        "id": run.id,
        "experiment": f"{run.name.slug}/{run.name.label}",
        "model": run.name.model,
        "date": run.date,
        "seconds": run.seconds,
        "key": run.key,
        "bytes": sum(f["bytes"] for f in run.files.values()),
        "damage": store.damage(run),
    }


def show_run(run_id: int, *, json: bool) -> None:
    """One run: its numbers, checks, provenance and log."""
    from engine.evidence.printing import interval_text, printable
    from engine.runs.investigation import find_root
    from engine.runs.store.store import open_store

    with open_store(find_root()) as store:
        run = store.run(run_id)
        result, log = store.load(run), store.log(run)
    measurements = [printable(m) for m in result.measurements.values()]
    if json:
        emit_json(
            {
                "run": run.record.to_json(),
                "measurements": [told_number(m) for m in measurements],
                "checks": result.checks,
            }
        )
        return
    say(f"run {run.id}: {run.name}, {run.date}, {human_seconds(run.seconds)}\n")
    table(
        ["role", "number", "value"],
        [(m.role, m.name, interval_text(m)) for m in measurements],
    )
    say()
    table(
        ["check", "limit", "value"],
        [
            (c.name, f"{c.limit:g}", f"{c.value:.3g} {'passed' if c.passed else 'FAILED'}")
            for c in result.checks
        ],
    )
    say(f"\n{log}".rstrip())


def collect_garbage(yes: bool) -> None:
    """List, or delete, runs that newer ones replaced and activations that no run to be measured needs."""
    from engine.lab.activation_cache import free
    from engine.runs.investigation import find_investigations, find_root
    from engine.runs.planning.plan import make_plan
    from engine.runs.planning.unneeded_activations import unneeded_activations
    from engine.runs.sources import project_sources
    from engine.runs.store.database import storage_errors
    from engine.runs.store.store import open_store

    root, sources = find_root(), project_sources()
    with open_store(root) as store:
        plan = make_plan(find_investigations(root, sources.catalog), store, sources, budget=0)
        unneeded = unneeded_activations(plan, store.folder)
        serving = {run.examined.current.id for run in plan.runs if run.examined.current}
        old = [run for run in store.superseded() if run.id not in serving]
        size = sum(f["bytes"] for run in old for f in run.files.values())
        if not old and not unneeded:
            say("nothing to free: no run was superseded, and no activations are left over")
        elif yes:
            freed = store.remove(old)
            with storage_errors(store.folder):
                freed += sum(free(found) for found in unneeded)
            in_use = sum(found.folder.exists() for found in unneeded)
            gone = f"{len(old)} runs, {len(unneeded) - in_use} sets of activations"
            say(f"freed {human_bytes(freed)}: {gone}" + (f"; {in_use} more are in use" if in_use else ""))
        else:
            _list_garbage(old, unneeded)
            size += sum(found.n_bytes for found in unneeded)
            what = f"{len(old)} runs and {len(unneeded)} sets of activations"
            say(f"\n{human_bytes(size)} in {what}; engine runs gc --yes deletes them")


def _list_garbage(old: list, unneeded: list) -> None:
    rows = [("run", str(run.id), str(run.name)) for run in old]
    for found in unneeded:
        about = found.about
        sites = ", ".join(about.get("sites", []))
        what = (
            f"{about.get('tokens', 0):,} tokens of {about.get('corpus')} at {sites} of {about.get('model')}"
        )
        rows.append(("activations", human_bytes(found.n_bytes), what if about else "of a harvest cut short"))
    table(["what", "", "name"], rows)


def rebuild_store() -> None:
    """The database again, from the folders."""
    from engine.runs.investigation import find_root
    from engine.runs.store.store import rebuild

    found, lost = rebuild(find_root())
    say(f"{found} runs recorded")
    for line in lost:
        say(f"  lost: {line}")


def report(run_id: int, output: Path) -> None:
    """`mech report`: a page and a Markdown file of one run."""
    from engine.report.printers.standalone import run_page
    from engine.runs.assemble import stored_entry
    from engine.runs.investigation import find_root_or_here
    from engine.runs.store.store import open_store

    with open_store(find_root_or_here()) as store:
        stored = store.run(run_id)
        entry = stored_entry(store, stored)
    html, markdown = run_page(entry, stored.record.inputs.experiment)
    try:
        output.mkdir(parents=True, exist_ok=True)
        for suffix, text in (("html", html), ("md", markdown)):
            file = output / f"run-{run_id}.{suffix}"
            file.write_text(text, encoding="utf-8")
            say(f"{file} ({human_bytes(len(text.encode()))})")
    except OSError as error:
        raise EngineError("the report cannot be written", where=str(output), seen=str(error)) from error
