"""`engine build`: the whole way down, once: plan, measure, assemble, render, site."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.commands.arguments import run_selector
from engine.commands.calibrate import current_calibrations
from engine.commands.console import Output, near_here, say
from engine.commands.measure import MeasureOptions, execute_plan, show_plan
from engine.commands.options import Cluster, DryRun, Force, Jobs, Json, Models, Slugs, Verbose
from engine.commands.publication_site import publication_pages
from engine.commands.reports import (
    REPORTS_WORTH_A_PROCESS,
    concerns,
    print_reports,
    report_text,
    summaries,
    write_site,
    wrong_templates,
)
from engine.publish.overview import Report
from engine.publish.publication_pages import PublicationEntry
from engine.publish.summary_cache import SummaryCache
from engine.report.lint import Concern
from engine.report.process_share import Processes
from engine.runs.calibrations import calibrations
from engine.runs.investigation import find_investigations, find_root
from engine.runs.planning.budget import parse_budget
from engine.runs.planning.plan import Plan, make_plan
from engine.runs.sources import project_sources
from engine.runs.store.record import RunName
from engine.runs.store.store import RunStore, open_store

app = typer.Typer(add_completion=False)


@app.command()
def build(
    context: typer.Context,
    slugs: Slugs = None,
    budget: Annotated[str, typer.Option(help="Time to measure: 0, 90s, 10m, 1h, or all.")] = "10m",
    model: Models = None,
    force: Force = False,
    changed: Annotated[bool, typer.Option(help="Only what was measured here before and changed.")] = False,
    dry_run: DryRun = False,
    strict: Annotated[bool, typer.Option(help="Exit 1 if anything needs a person.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where the site goes; public/ by default.")] = None,
    jobs: Jobs = None,
    cluster: Cluster = None,
    verbose: Verbose = False,
    json: Json = False,
) -> Output:
    """Measure what is stale within a budget, then build the site.

    Plans first and says why, measures the primary model first, takes published numbers, marked, for the rest.

    \b
    Example:
      engine build --budget 10m
    """
    root = find_root()
    sources = project_sources()
    seconds = parse_budget(budget)
    options = MeasureOptions(
        models=model,
        force=force,
        dry_run=dry_run,
        jobs=jobs,
        cluster=cluster,
        verbose=verbose,
        json=json,
        debug=context.obj.debug,
    )
    with open_store(root) as store, Processes(jobs) as processes:
        # What a person asks for by name, or asks to see of runs, is read whatever was kept.
        looks = slugs or model or force or changed or dry_run or verbose or json
        known = None if seconds or looks else known_pages(root, store)
        unchanged = known.unchanged if known else {}
        investigations = find_investigations(root, sources.catalog, without=unchanged)
        if not seconds:  # they load what prints while this one plans
            processes.begin("engine.commands.reports", len(investigations), REPORTS_WORTH_A_PROCESS)
        select = run_selector(investigations, slugs, model)
        how = {"budget": seconds, "fresh": force, "changed": changed}
        plan = make_plan(investigations, store, sources, **how, select=select)
        named = [run.name for run in plan.runs if (slugs or model) and select(run.name)]
        if unchanged:
            say(
                f"{len(unchanged)} of {len(unchanged) + len(investigations)} investigations did not change.\n"
            )
        show_plan(plan, budget, options, plan.runs, asked=named)
        if dry_run:
            return Output(data=_data(SiteBuild(plan)), as_json=json)
        built = carry_out(root, store, plan, options, context.obj.app, processes, out, known)
    text = _text(built, out or root / "public")
    status = 1 if strict and built.needs_a_person else 0
    if built.refused or any(report.rendered.error for report in built.reports):
        status = 2
    return Output(text, _data(built), json, exit_status=status)


@dataclass(frozen=True)
class SiteBuild:
    """A build as it ended."""

    plan: Plan
    reports: Sequence[Report] = ()
    outcomes: Sequence[str] = ()  # a line for each investigation, unchanged ones included
    concerns: Sequence[Concern] = ()
    failed: dict[RunName, str] = field(default_factory=dict)
    publications: Sequence[PublicationEntry] = ()

    @property
    def refused(self) -> list[str]:
        """Why publications could not be printed."""
        return [entry.refused for entry in self.publications if entry.refused]

    @property
    def needs_a_person(self) -> bool:
        return bool(self.concerns or self.failed)


def carry_out(
    root: Path,
    store: RunStore,
    plan: Plan,
    options: MeasureOptions,
    program: typer.Typer,
    processes: Processes,
    out: Path | None = None,
    known: SummaryCache | None = None,
) -> SiteBuild:
    """Measure what the plan decided, print every report and write the site to `out` (public/).

    The plan is without the investigations that did not change, where these are `known`. Many reports and
    pages are shared among `processes`.
    """
    # Told before hours of measuring, not after; what is measured is stored, and the other reports stand.
    if not options.json and any(run.decision == "measure" for run in plan.runs):
        for error in wrong_templates(plan, store):
            say(f"{error}\n")
    if known is not None:
        calibrated = known.calibrated
    elif plan.budget_seconds > 0:
        calibrated = current_calibrations(root, quiet=options.json)
    else:
        calibrated = calibrations(root, project_sources(), measure=False)
    measured = execute_plan(plan, store, options)
    reports = print_reports(plan, store, measured.outcomes, processes)
    if not options.json:
        say("building the site ...")
    ledgers = {report.slug: report.ledger for report in reports}
    kept = {slug: known.own[slug] for slug in known.unchanged} if known is not None else {}
    publications = publication_pages(root, store, ledgers, kept)
    files = write_site(
        root,
        reports,
        calibrated,
        program,
        out,
        unchanged=known,
        processes=processes,
        publications=publications,
    )
    of_publications = [concern for page in publications for concern in page.concerns]
    entries = [page.entry for page in publications]
    if known is None:
        outcomes = [report_text(report) for report in reports]
        found = [*concerns(reports, calibrated), *of_publications]
        return SiteBuild(plan, reports, outcomes, found, measured.failed, entries)
    printed = summaries(reports, calibrated)
    known.remember(plan, printed, files)
    listed = sorted([*printed.values(), *known.unchanged.values()], key=lambda summary: summary.slug)
    outcomes = [summary.outcome for summary in listed]
    outcomes += [report_text(report) for report in reports if report.rendered.error]
    found = [concern for summary in listed for concern in summary.concerns]
    found += concerns([report for report in reports if report.rendered.error], calibrated)
    found += of_publications
    return SiteBuild(plan, reports, outcomes, found, measured.failed, entries)


def known_pages(root: Path, store: RunStore) -> SummaryCache:
    """What earlier builds wrote, for one that only renders."""
    sources = project_sources()
    return SummaryCache(root, store, sources, calibrations(root, sources, measure=False))


def _text(built: SiteBuild, out: Path) -> list[str]:
    """How the build ended, and where to look."""
    text = [*built.outcomes]
    text += [f"not printed: {report.rendered.error}" for report in built.reports if report.rendered.error]
    text += [f"not printed: {why}" for why in built.refused]
    text += [f"not measured: {name}: {reason.splitlines()[0]}" for name, reason in built.failed.items()]
    if built.concerns:
        kinds = Counter(concern.kind for concern in built.concerns)
        counted = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
        text.append(f"needs a person: {counted} (engine check lists them)")
    near = near_here(out)
    reader = f"python3 -m http.server -d {near} 8000, then http://127.0.0.1:8000/"
    return [*text, f"\nThe site is in {near}; to read it: {reader}"]


def _data(built: SiteBuild) -> dict[str, Any]:
    return {
        "plan": built.plan.to_json(),
        "investigations": [_report_data(report) for report in built.reports],
        "concerns": list(built.concerns),
        "publications": list(built.publications),
        "failed": {str(name): why for name, why in built.failed.items()},
    }


def _report_data(report: Report) -> dict[str, Any]:
    agreed, compared = report.ledger.replicated
    return {
        "slug": report.slug,
        "headline": report.rendered.headline,
        "verdicts": report.ledger.verdicts,
        "replicated": {"agreed": agreed, "compared": compared},
    }
