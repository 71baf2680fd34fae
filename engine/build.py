"""The whole way down, once: plan, measure, assemble, render, site. What each building command does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from engine.console import emit_json, human_bytes, human_seconds, say, table
from engine.errors import EngineError, nearest
from engine.runs.investigation import (
    Investigation,
    find_experiment,
    find_investigation,
    find_investigations,
    find_root,
    load_investigation,
)
from engine.runs.plan import Plan, make_plan
from engine.runs.record import RunName
from engine.runs.sources import project_sources
from engine.runs.store import RunStore, open_store
from engine.shown import Shown

if TYPE_CHECKING:
    from engine.evidence.result import Calibration
    from engine.publish.overview import Report
    from engine.runs.execute import Outcome

Outcomes = dict[RunName, "Outcome"]


@dataclass(frozen=True)
class Concern:
    """Something that needs a person: what kind, where, and what it is."""

    kind: str
    where: str
    message: str


@dataclass(frozen=True)
class Built:
    """A build as it ended."""

    plan: Plan
    reports: Sequence[Report] = ()
    concerns: Sequence[Concern] = ()
    failed: dict[RunName, str] = field(default_factory=dict)

    @property
    def needs_a_person(self) -> bool:
        return bool(self.concerns or self.failed)


def build(
    slugs: Sequence[str] | None,
    budget: str,
    *,
    models: Sequence[str] | None = None,
    fresh: bool = False,
    dry_run: bool = False,
    out: Path | None = None,
    json: bool = False,
) -> Built:
    """`engine build`."""
    from engine.runs.budget import parse_budget

    root, sources, seconds = find_root(), project_sources(), parse_budget(budget)
    shown = Shown(quiet=json)
    with open_store(root) as store:
        investigations = find_investigations(root, sources.catalog)
        select = _selection(investigations, slugs, models)
        plan = make_plan(investigations, store, sources, budget=seconds, fresh=fresh, select=select)
        shown.plan(plan, budget)
        if dry_run:
            built = Built(plan)
        else:
            built = _build(root, store, plan, out, shown, measure=seconds > 0)
    if json:
        emit_json(_summary(built))
    return built


def _build(root: Path, store: RunStore, plan: Plan, out: Path | None, shown: Shown, measure: bool) -> Built:
    from engine.runs.calibrations import calibrations

    sources = project_sources()
    calibrated = calibrations(root, sources, measure=measure)
    outcomes = _measure(plan, store, shown)
    reports = _reports(plan, store, outcomes, calibrated)
    with shown.working("building the site"):
        _write_site(root, reports, calibrated, out)
    failed = {name: outcome.reason for name, outcome in outcomes.items() if outcome.run is None}
    built = Built(plan, reports, _concerns(reports, calibrated), failed)
    shown.built(reports, built.concerns, failed, out or root / "public")
    return built


def _measure(plan: Plan, store: RunStore, shown: Shown) -> Outcomes:
    from engine.runs.execute import execute

    if not plan.order:
        return {}
    with shown.runs() as on_event:
        return execute(plan, store, project_sources(), on_event)


def _reports(
    plan: Plan, store: RunStore, outcomes: Outcomes | None = None, calibrated: dict | None = None
) -> list[Report]:
    """Every investigation's ledger, and its template printed from it."""
    from engine.publish.overview import Report
    from engine.report.render import render
    from engine.runs.assemble import assemble

    reports = []
    for investigation in plan.investigations.values():
        ledger = assemble(investigation, store, plan, outcomes)
        template = _template(investigation)
        reports.append(
            Report(ledger, render(ledger, template, investigation.template_path), investigation.folder)
        )
    return reports


def _template(investigation: Investigation) -> str:
    try:
        return investigation.template_path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(
            "this investigation has no report to print",
            where=str(investigation.template_path),
            expected="a Markdown template beside spec.yaml",
            seen=str(error),
        ) from error


def _write_site(root: Path, reports: Sequence[Report], calibrated: dict, out: Path | None) -> list[str]:
    from engine.cli import app
    from engine.publish.build import build_site
    from engine.publish.pages import site_files
    from engine.spec.schema import json_schema

    schema = json_schema(project_sources().catalog)
    return build_site(root, site_files(root, reports, app=app, schema=schema, calibrations=calibrated), out)


def _concerns(reports: Sequence[Report], calibrated: dict[str, list[Calibration]]) -> list[Concern]:
    """Broken sentences and what lint finds, failed checks, drift, failed calibrations."""
    found = []
    for report in reports:
        found += [Concern(p.kind, p.where, p.message) for p in report.rendered.problems]
        for entry in report.ledger.entries:
            failed = [c for c in entry.checks if not c.passed]
            found += [
                Concern(
                    "failed-check",
                    f"{report.slug}/{entry.label} on {entry.model}",
                    f"{c.name}: {c.value:.3g} > {c.limit:.3g}",
                )
                for c in failed
            ]
        for c in report.ledger.drifted:
            said = f"published {c.published:.4g}, here {c.fresh:.4g} ({c.low:.4g} to {c.high:.4g})"
            found.append(Concern("drift", f"{report.slug}/{c.name} on {c.model}", said))
    for family, cases in calibrated.items():
        found += [
            Concern("failed-calibration", f"{family}: {c.name}", f"{c.seen:.4g}, expected {c.expected}")
            for c in cases
            if not c.passed
        ]
    return found


def _summary(built: Built) -> dict:
    return {
        "plan": built.plan.to_json(),
        "investigations": [_told(report) for report in built.reports],
        "concerns": list(built.concerns),
        "failed": {str(name): why for name, why in built.failed.items()},
    }


def _told(report: Report) -> dict:
    agreed, compared = report.ledger.replicated
    return {
        "slug": report.slug,
        "headline": report.rendered.headline,
        "verdicts": report.ledger.verdicts,
        "replicated": {"agreed": agreed, "compared": compared},
    }


def _selection(
    investigations: Sequence[Investigation], slugs: Sequence[str] | None, models: Sequence[str] | None
) -> Callable[[RunName], bool]:
    """What --model and the named investigations choose; a name that is not there is refused."""
    known_slugs = {i.slug for i in investigations}
    known_models = {m for i in investigations for m in i.spec.models}
    _require(slugs or (), known_slugs, "investigation")
    _require(models or (), known_models, "model in any spec")
    return lambda name: (not slugs or name.slug in slugs) and (not models or name.model in models)


def _require(names: Sequence[str], known: set[str], what: str) -> None:
    for name in names:
        if name not in known:
            raise EngineError(
                f"no {what} is called {name!r}",
                expected="one of " + ", ".join(sorted(known)),
                near=nearest(name, known),
            )


def status(slugs: Sequence[str] | None, *, models: Sequence[str] | None, json: bool) -> None:
    """`engine status`."""
    from engine.runs.status import status as rows_of

    root, sources = find_root(), project_sources()
    with open_store(root) as store:
        investigations = find_investigations(root, sources.catalog)
        select = _selection(investigations, slugs, models)
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


def run(
    name: str | None,
    spec: Path | None,
    *,
    models: Sequence[str] | None,
    force: bool,
    dry_run: bool,
    json: bool,
) -> bool:
    """`mech run`: whether everything asked for was measured and passed its checks."""
    sources = project_sources()
    if spec is not None:
        investigation, experiment = load_investigation(_existing(spec), sources.catalog), None
        root = _root_or(Path.cwd())
    else:
        root = find_root()
        investigation, experiment = find_experiment(find_investigations(root, sources.catalog), name or "")
    _require(models or (), set(investigation.spec.models), "model in the spec")
    shown = Shown(quiet=json)

    def select(run: RunName) -> bool:
        return experiment in (None, run.experiment) and (not models or run.model in models)

    with open_store(root) as store:
        plan = make_plan([investigation], store, sources, fresh=force, select=select)
        shown.plan(plan, "all", [r for r in plan.runs if select(r.name) or r.name in plan.order])
        if dry_run:
            if json:
                emit_json(plan.to_json())
            return True
        outcomes = _measure(plan, store, shown)
        return _print_numbers(plan, store, outcomes, select, json)


def _print_numbers(plan: Plan, store: RunStore, outcomes: Outcomes, select: Callable, json: bool) -> bool:
    from engine.evidence.printing import interval_text
    from engine.runs.assemble import stored_entry

    complete, told = True, []
    for planned in plan.runs:
        if not select(planned.name):
            continue
        outcome = outcomes.get(planned.name)
        stored = outcome.run if outcome else planned.examined.current
        if stored is None:
            complete = False
            why = outcome.reason if outcome else planned.reason
            told.append({"run": str(planned.name), "id": None, "reason": why})
            if not json:
                say(f"\n{planned.name}: not measured: {why}")
            continue
        entry = stored_entry(store, stored)
        complete = complete and not entry.withheld
        hidden = {"samples", "replicates"}
        numbers = {
            n: {k: v for k, v in vars(m).items() if k not in hidden} for n, m in entry.measurements.items()
        }
        told.append(
            {"run": str(planned.name), "id": stored.id, "reason": entry.reason, "measurements": numbers}
        )
        if not json:
            say(f"\n{planned.name}, run {stored.id}{': ' + entry.reason if entry.reason else ''}")
            rows = [(m.role, m.name, interval_text(m)) for m in entry.measurements.values()]
            table(["role", "number", "value"], rows)
            say(f"mech report --run-id {stored.id} writes it as a page")
    if json:
        emit_json(told)
    return complete


def _existing(path: Path) -> Path:
    if path.is_file():
        return path
    beside = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    raise EngineError("there is no such spec file", where=str(path), near=nearest(path.name, beside))


def _root_or(folder: Path) -> Path:
    """The project's folder, or outside of one `folder`, whose own .engine/ then keeps the runs."""
    try:
        return find_root()
    except EngineError:
        return folder


def check(slugs: Sequence[str] | None, *, json: bool) -> bool:
    """`engine check`: whether something needs a person."""
    from engine.runs.calibrations import calibrations

    root, sources = find_root(), project_sources()
    with open_store(root) as store:
        investigations = [
            i for i in find_investigations(root, sources.catalog) if not slugs or i.slug in slugs
        ]
        _require(slugs or (), {i.slug for i in investigations}, "investigation")
        plan = make_plan(investigations, store, sources, budget=0)
        concerns = _concerns(_reports(plan, store), calibrations(root, sources, measure=False))
    if json:
        emit_json(concerns)
    elif concerns:
        table(["what", "where", "why"], [(c.kind, c.where, c.message) for c in concerns])
    else:
        names = ", ".join(i.slug for i in investigations) or "no investigation"
        say(f"nothing needs a person: {names}")
    return bool(concerns)


def serve(port: int) -> None:
    """`engine serve`."""
    from engine.publish.serve import serve as serve_folder

    root = find_root()

    def rebuild(changed: set[Path]) -> None:
        quiet = Shown(quiet=True)
        sources = project_sources()
        with open_store(root) as store:
            plan = make_plan(find_investigations(root, sources.catalog), store, sources, budget=0)
            _build(root, store, plan, None, quiet, measure=False)

    rebuild(set())
    serve_folder(root, port, rebuild, say=say)


def publish(slugs: Sequence[str] | None, *, json: bool) -> None:
    """`engine publish`."""
    from engine.runs.assemble import assemble
    from engine.runs.published import write_published

    root, sources = find_root(), project_sources()
    chosen = (
        [find_investigation(root, s, sources.catalog) for s in slugs]
        if slugs
        else find_investigations(root, sources.catalog)
    )
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

    root, sources = find_root(), project_sources()
    chosen = (
        [find_investigation(root, s, sources.catalog) for s in slugs]
        if slugs
        else find_investigations(root, sources.catalog)
    )
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

    with open_store(_root_or(Path.cwd())) as store:
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
