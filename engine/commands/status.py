"""How the investigations stand: up to date or not, published, and in agreement with what was published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.commands.console import emit_json, human_bytes, human_seconds, say, table

if TYPE_CHECKING:
    from engine.runs.investigation import Investigation
    from engine.runs.planning.plan import Plan
    from engine.runs.published.write import PublishReport
    from engine.runs.store.store import RunStore


def status(slugs: Sequence[str] | None, *, models: Sequence[str] | None, json: bool) -> None:
    """`engine status`."""
    from engine.commands.build import selection
    from engine.lab.activation_cache import kept
    from engine.runs.investigation import find_investigations, find_root
    from engine.runs.planning.plan import make_plan
    from engine.runs.planning.status_rows import status as rows_of
    from engine.runs.sources import project_sources
    from engine.runs.store.store import FOLDER, open_store

    root, sources = find_root(), project_sources()
    with open_store(root) as store:
        investigations = find_investigations(root, sources.catalog)
        select = selection(investigations, slugs, models)
        plan = make_plan(investigations, store, sources)
    rows = [r for run, r in zip(plan.runs, rows_of(plan), strict=True) if select(run.name)]
    if json:
        emit_json([row.to_json() for row in rows])
        return
    cells = [
        (
            f"{r.investigation}/{r.label}",
            r.model,
            r.state,
            (human_seconds(r.seconds) if r.measured else f"~{human_seconds(r.seconds)}"),
            r.reason + (f"; published {r.published[:10]}" if r.published and r.state != "up to date" else ""),
        )
        for r in rows
    ]
    table(["experiment", "model", "state", "takes", "why"], cells)
    if harvests := kept(root / FOLDER):
        size = human_bytes(sum(found.n_bytes for found in harvests))
        say(f"\nactivations take {size} in {len(harvests)} sets; engine runs gc lists those no run needs")


def publish(slugs: Sequence[str] | None, *, json: bool) -> None:
    """`engine publish`."""
    from engine.runs.investigation import chosen_investigations, find_root
    from engine.runs.planning.plan import make_plan
    from engine.runs.sources import project_sources
    from engine.runs.store.store import open_store

    root, sources = find_root(), project_sources()
    chosen = chosen_investigations(root, slugs, sources.catalog)
    with open_store(root) as store:
        plan = make_plan(chosen, store, sources, budget=0)
        done = {i.slug: _publish(i, store, plan) for i in plan.investigations.values()}
    if json:
        emit_json(done)
        return
    for slug, told in done.items():
        shown_files = ", ".join(told.changed) or "nothing changed"
        say(f"{slug}: {shown_files}")
    say("commit investigations/*/published/ together with the text")


def _publish(investigation: Investigation, store: RunStore, plan: Plan) -> PublishReport:
    """All numbers of an investigation that were measured here, and the tables that its text shows."""
    from engine.commands.build import template_text
    from engine.report.render import asked_for
    from engine.runs.assemble import assemble
    from engine.runs.published.write import write_published

    ledger, path = assemble(investigation, store, plan), investigation.template_path
    return write_published(
        ledger, investigation.published_folder, asked_for(ledger, template_text(path), path)
    )


def diff(slugs: Sequence[str] | None, *, json: bool) -> bool:
    """`engine diff`: whether a number measured here drifted from the published one."""
    from engine.runs.assemble import assemble
    from engine.runs.investigation import chosen_investigations, find_root
    from engine.runs.planning.plan import make_plan
    from engine.runs.sources import project_sources
    from engine.runs.store.store import open_store

    root, sources = find_root(), project_sources()
    chosen = chosen_investigations(root, slugs, sources.catalog)
    with open_store(root) as store:
        plan = make_plan(chosen, store, sources, budget=0)
        rows = [c for i in plan.investigations.values() for c in assemble(i, store, plan).comparisons]
    if json:
        emit_json(rows)
    elif not rows:
        say("nothing to compare: no published number was measured here by another run")
    else:
        cells = [
            (
                c.name,
                c.model,
                f"{c.published:.4g}",
                f"{c.fresh:.4g} ({c.low:.4g} to {c.high:.4g})",
                "agrees" if c.agrees else "DRIFT",
            )
            for c in rows
        ]
        table(["number", "model", "published", "here", ""], cells)
        say(f"replicated {sum(c.agrees for c in rows)} of {len(rows)}")
    return any(not c.agrees for c in rows)
