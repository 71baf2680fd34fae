"""The commands that build nothing: they list, describe, compare, publish, start and keep house."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.console import emit_json, human_bytes, human_seconds, progress, say, table, told_number
from engine.errors import EngineError


def families(name: str | None, *, json: bool) -> None:
    """Every family in a line, or one with its method and parameters."""
    from engine import families as registry

    chosen = [name] if name else registry.names()
    described = {n: _family(n) for n in chosen}
    if json:
        emit_json(described)
    elif name:
        say(registry.docstring(name))
        say()
        table(
            ["parameter", "default", "what it is"], [tuple(r.values()) for r in described[name]["parameters"]]
        )
    else:
        table(["family", "what it measures"], [(n, d["about"]) for n, d in described.items()])


def _family(name: str) -> dict:
    from engine import families as registry

    fields = registry.params_model(name).model_fields
    rows = [
        {
            "name": n,
            "default": "required" if f.is_required() else str(f.default),
            "about": f.description or "",
        }
        for n, f in fields.items()
    ]
    return {"about": registry.about(name), "parameters": rows}


def models(*, json: bool) -> None:
    """Every known model: size, licence, source, cached, fits."""
    from engine.models.cards import availability, fits, is_cached, known_models, memory_needed

    rows = [
        {
            "name": card.name,
            "download_bytes": card.size_bytes,
            "memory_bytes": memory_needed(card),
            "licence": card.licence,
            "cached": is_cached(card),
            "fits": fits(card),
            "note": availability(card.name)[1],
            "source": card.source,
        }
        for card in known_models()
    ]
    if json:
        emit_json(rows)
        return
    shown = [
        (
            r["name"],
            human_bytes(r["download_bytes"]),
            human_bytes(r["memory_bytes"]) + ("" if r["fits"] else " (too large here)"),
            r["licence"],
            "cached" if r["cached"] else r["note"],
            r["source"],
        )
        for r in rows
    ]
    table(["model", "download", "memory", "licence", "here", "source"], shown)
    say("\nBesides these, any hub id (org/model, safetensors) and any local folder or GGUF file is a model.")


def fetch_model(name: str) -> None:
    """Fetch with a bar; says where the model lies."""
    from engine.models.fetch import fetch

    with progress(f"fetching {name}") as bar:
        folder = fetch(name, lambda what, done, total: bar.update(done / total if total else 0.0, what))
    say(f"{name} is ready at {folder}")


def runs(*, json: bool) -> None:
    """Every run in the store."""
    from engine.runs.investigation import find_root
    from engine.runs.store import open_store

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
    from engine.evidence.printing import interval_text
    from engine.runs.investigation import find_root
    from engine.runs.store import open_store

    with open_store(find_root()) as store:
        run = store.run(run_id)
        result, log = store.load(run), store.log(run)
    if json:
        emit_json(
            {
                "run": run.record.to_json(),
                "measurements": [told_number(m) for m in result.measurements.values()],
                "checks": result.checks,
            }
        )
        return
    say(f"run {run.id}: {run.name}, {run.date}, {human_seconds(run.seconds)}\n")
    table(
        ["role", "number", "value"],
        [(m.role, m.name, interval_text(m)) for m in result.measurements.values()],
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
    from engine.lab.kept import free
    from engine.runs.investigation import find_investigations, find_root
    from engine.runs.plan import make_plan
    from engine.runs.sources import project_sources
    from engine.runs.status import unneeded_activations
    from engine.runs.store import open_store

    root, sources = find_root(), project_sources()
    with open_store(root) as store:
        plan = make_plan(find_investigations(root, sources.catalog), store, sources, budget=0)
        unneeded = unneeded_activations(plan, store.folder)
        old = store.superseded()
        size = sum(f["bytes"] for run in old for f in run.files.values())
        if not old and not unneeded:
            say("nothing to free: no run was superseded, and no activations are left over")
        elif yes:
            freed = store.remove(old) + sum(free(found) for found in unneeded)
            say(f"freed {human_bytes(freed)}: {len(old)} runs, {len(unneeded)} sets of activations")
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
    from engine.runs.store import rebuild

    found, lost = rebuild(find_root())
    say(f"{found} runs recorded")
    for line in lost:
        say(f"  lost: {line}")


def calibrate(names: list[str] | None, *, json: bool) -> bool:
    """Run calibrations and say each; whether all passed."""
    from engine import families as registry
    from engine.runs.calibrations import calibrations
    from engine.runs.investigation import find_root
    from engine.runs.sources import project_sources

    chosen = names or registry.names()
    for name in chosen:
        registry.source_path(name)
    found = calibrations(find_root(), project_sources(), families=chosen, fresh=True)
    if json:
        emit_json({family: [vars(c) | {"passed": c.passed} for c in rows] for family, rows in found.items()})
    else:
        rows = [
            (family, c.name, c.expected, f"{c.seen:.6g}", "passed" if c.passed else "FAILED")
            for family, cases in found.items()
            for c in cases
        ]
        table(["family", "case", "expected", "seen", ""], rows)
    return all(c.passed for cases in found.values() for c in cases)


def doctor(*, json: bool) -> bool:
    """Everything looked at; whether the engine can work here."""
    from engine.doctor import examine
    from engine.runs.investigation import find_root

    try:
        root = find_root()
    except EngineError:
        root = None
    findings = examine(root)
    if json:
        emit_json(findings)
    else:
        table(
            ["", "what", "seen"],
            [(f.state, f.name, f.seen + (f"  -> {f.mend}" if f.mend else "")) for f in findings],
        )
        if root is None:
            say("\nthis is not inside a project: build, status and the like work in a clone only")
    return all(f.state != "fail" for f in findings)


def status(slugs: Sequence[str] | None, *, models: Sequence[str] | None, json: bool) -> None:
    """`engine status`."""
    from engine.build import selection
    from engine.lab.kept import kept
    from engine.runs.investigation import find_investigations, find_root
    from engine.runs.plan import make_plan
    from engine.runs.sources import project_sources
    from engine.runs.status import status as rows_of
    from engine.runs.store import FOLDER, open_store

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
    from engine.runs.assemble import assemble
    from engine.runs.investigation import chosen_investigations, find_root
    from engine.runs.plan import make_plan
    from engine.runs.published import write_published
    from engine.runs.sources import project_sources
    from engine.runs.store import open_store

    root, sources = find_root(), project_sources()
    chosen = chosen_investigations(root, slugs, sources.catalog)
    with open_store(root) as store:
        plan = make_plan(chosen, store, sources, budget=0)
        done = {
            i.slug: write_published(assemble(i, store, plan), i.published_folder)
            for i in plan.investigations.values()
        }
    if json:
        emit_json(done)
        return
    for slug, told in done.items():
        shown_files = ", ".join(told.changed) or "nothing changed"
        say(f"{slug}: {shown_files}")
    say("commit investigations/*/published/ together with the text")


def diff(slugs: Sequence[str] | None, *, json: bool) -> bool:
    """`engine diff`: whether a number measured here drifted from the published one."""
    from engine.runs.assemble import assemble
    from engine.runs.investigation import chosen_investigations, find_root
    from engine.runs.plan import make_plan
    from engine.runs.sources import project_sources
    from engine.runs.store import open_store

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


def report(run_id: int, output: Path) -> None:
    """`mech report`: a page and a Markdown file of one run."""
    from engine.report.run_page import run_page
    from engine.runs.assemble import stored_entry
    from engine.runs.investigation import find_root_or_here
    from engine.runs.store import open_store

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


def new(name: str, *, family: bool, title: str) -> None:
    """`engine new`."""
    from engine.runs.investigation import find_root
    from engine.spec.scaffold import new_family, new_investigation

    root = find_root()
    if family:
        written = new_family(name, root / "engine", root / "tests")
        after = f"engine calibrate {name}"
    else:
        written = new_investigation(
            root / "investigations" / name, name, title or name.replace("-", " ").capitalize()
        )
        after = f"engine build {name}"
    for path in written:
        say(f"wrote {path.relative_to(root)}")
    say(f"it works as it stands: {after}")
