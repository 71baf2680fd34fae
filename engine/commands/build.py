"""The whole way down, once: plan, measure, assemble, render, site. What each building command does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from engine.commands.console import emit_json, say, table
from engine.commands.measure import Hands, Outcomes, measure, require
from engine.commands.progress import Shown
from engine.errors import EngineError
from engine.runs.investigation import (
    Investigation,
    chosen_investigations,
    find_investigations,
    find_root,
)
from engine.runs.planning.plan import Plan, make_plan
from engine.runs.sources import project_sources
from engine.runs.store.record import RunName
from engine.runs.store.store import RunStore, open_store

if TYPE_CHECKING:
    from engine.evidence.result import Calibration
    from engine.publish.overview import Report
    from engine.publish.page_cache import KeptPages
    from engine.report.charts.draw import Chart
    from engine.report.lint import Problem


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
    changed: bool = False,
    dry_run: bool = False,
    out: Path | None = None,
    hands: Hands = Hands(),
    json: bool = False,
) -> Built:
    """`engine build`."""
    from engine.runs.planning.budget import parse_budget

    root, sources, seconds = find_root(), project_sources(), parse_budget(budget)
    shown = Shown(quiet=json)
    with open_store(root) as store:
        investigations = find_investigations(root, sources.catalog)
        select = selection(investigations, slugs, models)
        how = {"budget": seconds, "fresh": fresh, "changed": changed}
        plan = make_plan(investigations, store, sources, **how, select=select)
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
