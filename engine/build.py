"""The whole way down, once: plan, measure, assemble, render, site. What each building command does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from engine.console import emit_json, say, table, told_number
from engine.errors import EngineError, nearest
from engine.runs.investigation import (
    Investigation,
    chosen_investigations,
    find_experiment,
    find_investigations,
    find_root,
    find_root_or_here,
    load_investigation,
)
from engine.runs.plan import Plan, PlannedRun, make_plan
from engine.runs.record import RunName, StoredRun
from engine.runs.sources import project_sources
from engine.runs.store import RunStore, open_store
from engine.shown import Shown

if TYPE_CHECKING:
    from engine.evidence.result import Calibration
    from engine.publish.kept import KeptPages
    from engine.publish.overview import Report
    from engine.report.charts import Chart
    from engine.report.lint import Problem
    from engine.runs.execute import Event, Outcome

Outcomes = dict[RunName, "Outcome"]


@dataclass(frozen=True)
class Hands:
    """Who measures: so many processes here (None: as many as it is worth), or a Ray cluster."""

    jobs: int | None = None
    cluster: str | None = None


@dataclass(frozen=True)
class Built:
    """A build as it ended."""

    plan: Plan
    reports: Sequence[Report] = ()
    concerns: Sequence[Problem] = ()
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
    hands: Hands = Hands(),
    json: bool = False,
) -> Built:
    """`engine build`."""
    from engine.runs.budget import parse_budget

    root, sources, seconds = find_root(), project_sources(), parse_budget(budget)
    shown = Shown(quiet=json)
    with open_store(root) as store:
        investigations = find_investigations(root, sources.catalog)
        select = selection(investigations, slugs, models)
        plan = make_plan(investigations, store, sources, budget=seconds, fresh=fresh, select=select)
        shown.plan(plan, budget)
        if dry_run:
            built = Built(plan)
        else:
            built = _build(root, store, plan, out, shown, measuring=seconds > 0, hands=hands)
    if json:
        emit_json(_summary(built))
    return built


def _build(
    root: Path,
    store: RunStore,
    plan: Plan,
    out: Path | None,
    shown: Shown,
    measuring: bool,
    hands: Hands = Hands(),
) -> Built:
    from engine.runs.calibrations import calibrations

    sources = project_sources()
    calibrated = calibrations(root, sources, measure=measuring)
    failed: dict[RunName, str] = {}
    outcomes = measure(plan, store, shown, hands, failed)
    reports = print_reports(plan, store, outcomes)
    with shown.working("building the site"):
        write_site(root, reports, calibrated, out)
    built = Built(plan, reports, _concerns(reports, calibrated), failed)
    shown.built(reports, built.concerns, failed, out or root / "public")
    return built


def measure(
    plan: Plan,
    store: RunStore,
    shown: Shown,
    hands: Hands = Hands(),
    failed: dict[RunName, str] | None = None,
) -> Outcomes:
    """Measure what the plan decided. `failed` gathers runs that broke, not models that cannot be had here."""
    from engine.runs.execute import execute

    if not plan.order:
        return {}

    with shown.runs() as show:

        def on_event(event: Event) -> None:
            show(event)
            if event.kind == "failed" and failed is not None:
                failed[event.run.name] = event.message

        return execute(plan, store, project_sources(), on_event, jobs=hands.jobs, cluster=hands.cluster)


def print_reports(
    plan: Plan,
    store: RunStore,
    outcomes: Outcomes | None = None,
    drawn: Callable[[Path], dict[str, Chart]] = lambda path: {},
) -> list[Report]:
    """Every investigation's ledger, and its template printed from it; `drawn` keeps a template's charts."""
    from engine.publish.overview import Report
    from engine.report.render import render
    from engine.runs.assemble import assemble

    reports = []
    for investigation in plan.investigations.values():
        ledger, path = assemble(investigation, store, plan, outcomes), investigation.template_path
        rendered = render(ledger, template_text(path), path, drawn=drawn(path))
        reports.append(Report(ledger, rendered, investigation.folder))
    return reports


def template_text(path: Path) -> str:
    """What a person wrote in a report's template; EngineError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(
            "this investigation has no report to print",
            where=str(path),
            expected="a Markdown template beside spec.yaml",
            seen=str(error),
        ) from error


def write_site(
    root: Path,
    reports: Sequence[Report],
    calibrated: dict,
    out: Path | None = None,
    kept: KeptPages | None = None,
) -> list[str]:
    """The reports and everything around them, as `engine.publish.build.build_site` makes it."""
    from engine.cli import app
    from engine.publish.build import build_site
    from engine.publish.pages import site_files
    from engine.spec.schema import json_schema

    schema = json_schema(project_sources().catalog)
    files = site_files(root, reports, app=app, schema=schema, calibrations=calibrated)
    return build_site(root, files, out, kept)


def _concerns(reports: Sequence[Report], calibrated: dict[str, list[Calibration]]) -> list[Problem]:
    """Broken sentences and what lint finds, failed checks, drift, failed calibrations."""
    from engine.report.lint import Problem

    found = []
    for report in reports:
        found += report.rendered.problems
        for entry in report.ledger.entries:
            failed = [c for c in entry.checks if not c.passed]
            found += [
                Problem(
                    "failed-check",
                    f"{report.slug}/{entry.label} on {entry.model}",
                    f"{c.name}: {c.value:.3g} > {c.limit:.3g}",
                )
                for c in failed
            ]
        for c in report.ledger.drifted:
            said = f"published {c.published:.4g}, here {c.fresh:.4g} ({c.low:.4g} to {c.high:.4g})"
            found.append(Problem("drift", f"{report.slug}/{c.name} on {c.model}", said))
    for family, cases in calibrated.items():
        found += [
            Problem("failed-calibration", f"{family}: {c.name}", f"{c.seen:.4g}, expected {c.expected}")
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


def selection(
    investigations: Sequence[Investigation], slugs: Sequence[str] | None, models: Sequence[str] | None
) -> Callable[[RunName], bool]:
    """What --model and the named investigations choose; a name that is not there is refused."""
    known_slugs = {i.slug for i in investigations}
    known_models = {m for i in investigations for m in i.spec.models}
    require(slugs or (), known_slugs, "investigation")
    require(models or (), known_models, "model in any spec")
    return lambda name: (not slugs or name.slug in slugs) and (not models or name.model in models)


def require(names: Sequence[str], known: set[str], what: str) -> None:
    """EngineError for a name that is not known, with the nearest that are."""
    for name in names:
        if name not in known:
            raise EngineError(
                f"no {what} is called {name!r}",
                expected="one of " + ", ".join(sorted(known)),
                near=nearest(name, known),
            )


def run(
    name: str | None,
    spec: Path | None,
    *,
    models: Sequence[str] | None,
    force: bool,
    dry_run: bool,
    json: bool,
    hands: Hands = Hands(),
) -> bool:
    """`mech run`: whether everything asked for was measured and passed its checks."""
    sources = project_sources()
    if spec is not None:
        investigation, experiment = load_investigation(existing(spec), sources.catalog), None
        root = find_root_or_here()
    else:
        root = find_root()
        investigation, experiment = find_experiment(find_investigations(root, sources.catalog), name or "")
    experiments = [experiment] if experiment else list(investigation.spec.experiments)
    given = Asked(models, dry_run, hands, json, force)
    with carried_out(root, investigation, experiments, given) as done:
        return done is None or _print_numbers(done, json)


@dataclass(frozen=True)
class Asked:
    """What the options of a measuring command say."""

    models: Sequence[str] | None
    dry_run: bool
    hands: Hands
    json: bool
    force: bool = False


@dataclass(frozen=True)
class Done:
    """Some runs as they are after measuring, with the store that has them."""

    store: RunStore
    runs: list[PlannedRun]
    outcomes: Outcomes

    def stored(self, run: PlannedRun) -> tuple[StoredRun | None, str]:
        """The run that was measured or was there, or why there is none."""
        outcome = self.outcomes.get(run.name)
        if outcome is not None:
            return outcome.run, outcome.reason
        return run.examined.current, run.reason


@contextmanager
def carried_out(
    root: Path, investigation: Investigation, experiments: Collection[str], given: Asked
) -> Iterator[Done | None]:
    """Plan some experiments of an investigation, show the plan, measure; None after a dry run.

    Raises EngineError for a model that the spec does not have.
    """
    require(given.models or (), set(investigation.spec.models), "model in the spec")
    shown = Shown(quiet=given.json)

    def select(run: RunName) -> bool:
        return run.experiment in experiments and (not given.models or run.model in given.models)

    with open_store(root) as store:
        plan = make_plan([investigation], store, project_sources(), fresh=given.force, select=select)
        shown.plan(plan, "all", [r for r in plan.runs if select(r.name) or r.name in plan.order])
        if not given.dry_run:
            outcomes = measure(plan, store, shown, given.hands)
            yield Done(store, [run for run in plan.runs if select(run.name)], outcomes)
            return
        if given.json:
            emit_json(plan.to_json())
        yield None


def _print_numbers(done: Done, json: bool) -> bool:
    from engine.evidence.printing import interval_text
    from engine.runs.assemble import stored_entry

    complete, told = True, []
    for planned in done.runs:
        stored, why = done.stored(planned)
        if stored is None:
            complete = False
            told.append({"run": str(planned.name), "id": None, "reason": why})
            if not json:
                say(f"\n{planned.name}: not measured: {why}")
            continue
        entry = stored_entry(done.store, stored)
        complete = complete and not entry.withheld
        numbers = {name: told_number(m) for name, m in entry.measurements.items()}
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


def existing(path: Path) -> Path:
    """The path of a spec file that is there; EngineError with the nearest ones where it is not."""
    if path.is_file():
        return path
    beside = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    raise EngineError("there is no such spec file", where=str(path), near=nearest(path.name, beside))


def check(slugs: Sequence[str] | None, *, json: bool) -> bool:
    """`engine check`: whether something needs a person."""
    from engine.runs.calibrations import calibrations

    root, sources = find_root(), project_sources()
    with open_store(root) as store:
        investigations = chosen_investigations(root, slugs, sources.catalog)
        plan = make_plan(investigations, store, sources, budget=0)
        concerns = _concerns(print_reports(plan, store), calibrations(root, sources, measure=False))
    if json:
        emit_json(concerns)
    elif concerns:
        table(["what", "where", "why"], [(c.kind, c.where, c.message) for c in concerns])
    else:
        names = ", ".join(i.slug for i in investigations) or "no investigation"
        say(f"nothing needs a person: {names}")
    return bool(concerns)
