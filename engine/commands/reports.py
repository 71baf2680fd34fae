"""The reports of a plan: printed from their ledgers, searched for what needs a person, made into a site."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import typer

from engine.commands.arguments import current_plan
from engine.errors import EngineError
from engine.evidence.result import Calibration
from engine.publish.files import Content
from engine.publish.mkdocs_site import build_site
from engine.publish.overview import PageSummary, Report
from engine.publish.page_cache import PageCache
from engine.publish.pages import marked, reference_files, site_files
from engine.publish.publication_pages import PublicationPage, listed
from engine.publish.reference_cache import kept_reference
from engine.publish.report_citation import page_summary
from engine.publish.statements_page import wrong_sources
from engine.publish.summary_cache import SummaryCache
from engine.report.charts.pictures import PictureCache
from engine.report.lint import Concern
from engine.report.process_share import Processes
from engine.report.render import RenderedReport, check_template, named_by, render, unprintable
from engine.report.report_cache import ReportCache, report_hash
from engine.runs.assemble import assemble
from engine.runs.execution.events import Outcome
from engine.runs.garbage import collected_seldom
from engine.runs.investigation import chosen_investigations, spec_paths
from engine.runs.ledger import Entry, Ledger
from engine.runs.library import Library, named_slugs, written_text
from engine.runs.planning.plan import Plan, make_plan
from engine.runs.replication import measured_here
from engine.runs.sources import project_sources
from engine.runs.store.record import RunName
from engine.runs.store.store import FOLDER, RunStore
from engine.spec.points import FamilyCatalog
from engine.spec.schema import json_schema

SHOWN_DIFFERENCES = 3
"""Values of a published file that differ which are told by name."""

REPORTS_WORTH_A_PROCESS = 8
"""Fewer are printed before another process has imported what prints them."""


@collected_seldom()
def print_reports(
    plan: Plan,
    store: RunStore,
    outcomes: dict[RunName, Outcome] | None = None,
    processes: Processes | None = None,
) -> list[Report]:
    """Every investigation's ledger, and its template printed from it, or kept from the last printing.

    Many that are to be printed anew are shared among `processes`, where there are any.
    """
    cache = ReportCache(store.folder)
    library = assemble_library(plan, store, outcomes)
    rendered: dict[str, RenderedReport] = {}
    keys: dict[str, str] = {}
    waiting: dict[str, tuple[Library, str, Path, PictureCache]] = {}
    for slug, investigation in plan.investigations.items():
        path = investigation.template_path
        try:
            text = template_text(path)
            # No more than its text names goes to another process.
            own = named_by(replace(library, own=slug), text)
        except EngineError as error:
            rendered[slug] = unprintable(error, path)
            continue
        keys[slug] = report_hash(own, text, path)
        if known := cache.get(keys[slug]):
            rendered[slug] = known
        else:
            waiting[slug] = own, text, path, cache.pictures
    processes = processes or Processes(jobs=1)
    with processes.share(rendered_or_why_not, waiting, REPORTS_WORTH_A_PROCESS) as others:
        for slug, printed_from in waiting.items():
            report = others.take(slug) or rendered_or_why_not(*printed_from)
            rendered[slug] = report if report.error else cache.keep(keys[slug], report)
    cache.prune()
    return [Report(library.ledgers[s], rendered[s], i.folder) for s, i in plan.investigations.items()]


def rendered_or_why_not(library: Library, text: str, path: Path, pictures: PictureCache) -> RenderedReport:
    """A template printed; one wrong template or claim leaves the others standing."""
    try:
        return render(library, text, path, pictures=pictures)
    except EngineError as error:
        return unprintable(error, path)


def assemble_library(
    plan: Plan,
    store: RunStore,
    outcomes: dict[RunName, Outcome] | None = None,
    *,
    citing: bool = False,
) -> Library:
    """The ledgers of a plan's investigations, and of those that their reports name.

    With `citing` also of those whose reports name the plan's, and of what these name in turn.
    """
    root = store.folder.parent
    paths = spec_paths(root)
    # All of them before any text: a report may print numbers of one that comes after it.
    ledgers = {slug: assemble(i, store, plan, outcomes) for slug, i in plan.investigations.items()}
    if more := _named_beside(ledgers, paths, citing):
        sources = project_sources()
        # As they are, whatever is being measured: they are read here and not built.
        chosen = chosen_investigations(root, more, sources.catalog)
        others = make_plan(chosen, store, sources, budget=0)
        ledgers |= {slug: assemble(i, store, others) for slug, i in others.investigations.items()}
    return Library(ledgers, slugs=tuple(paths))


def ledgers_of(root: Path, slugs: Sequence[str]) -> list[Ledger]:
    """Some investigations with their evidence, each once, in the order in which they are named."""
    with current_plan(root, list(slugs)) as (store, plan):
        library = assemble_library(plan, store)
    return [library.ledgers[slug] for slug in dict.fromkeys(slugs)]


def _named_beside(planned: Collection[str], paths: Mapping[str, Path], citing: bool) -> list[str]:
    """The investigations outside of a plan without which its reports cannot be printed, by slug."""
    if paths.keys() <= set(planned):
        return []
    # A plan may leave hundreds out: of those only the ones that cite have to be read.
    texts = {slug: written_text(path) for slug, path in paths.items() if citing or slug in planned}
    readers = [
        slug for slug, text in texts.items() if slug in planned or (citing and named_slugs(planned, [text]))
    ]
    needed = named_slugs(paths, [texts[reader] for reader in readers]) | {*readers}
    return sorted(needed - {*planned})


def wrong_templates(plan: Plan, store: RunStore) -> list[EngineError]:
    """What templates, claims and key numbers name wrongly, as far as known before anything is measured."""
    wrong: list[EngineError] = []
    library = assemble_library(plan, store)
    for slug, investigation in plan.investigations.items():
        path = investigation.template_path
        try:
            wrong += check_template(replace(library, own=slug), template_text(path), path)
        except EngineError as error:
            wrong.append(error)
    return wrong


def template_text(path: Path) -> str:
    """What a person wrote in a report's template; EngineError where it cannot be read."""
    try:
        data = path.read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(10, 0, error.start) + 1
        raise EngineError(
            "this report is not in UTF-8",
            where=f"{path}:{line}",
            expected="text saved as UTF-8",
            seen=f"the byte 0x{data[error.start]:02X}",
        ) from error
    except OSError as error:
        raise EngineError(
            "this investigation has no report to print",
            where=str(path),
            expected="a Markdown template beside spec.yaml",
            seen=str(error),
        ) from error


@collected_seldom()
def write_site(
    root: Path,
    reports: Sequence[Report],
    calibrated: Mapping[str, list[Calibration]],
    app: typer.Typer,
    out: Path | None = None,
    kept: PageCache | None = None,
    unchanged: SummaryCache | None = None,
    processes: Processes | None = None,
    publications: Sequence[PublicationPage] = (),
) -> dict[str, Content]:
    """Reports, publications and everything around them, as `engine.publish.mkdocs_site.build_site` makes it.

    `app` is the command line that the reference page describes. What did not change, by the cache, is only
    listed. Returns the files that were made for site/.
    """
    files = site_contents(root, reports, calibrated, app, unchanged, publications)
    build_site(root, files, out, kept, unchanged.unchanged_files if unchanged else (), processes)
    return files


def site_contents(
    root: Path,
    reports: Sequence[Report],
    calibrated: Mapping[str, list[Calibration]],
    app: typer.Typer,
    unchanged: SummaryCache | None = None,
    publications: Sequence[PublicationPage] = (),
) -> dict[str, Content]:
    """The files that are made for site/, by path under it; of what did not change only what lists it."""
    sources = project_sources()
    catalog = sources.catalog
    described = [sources.family_file(name) for name in catalog.names()]
    make = partial(_reference, app, catalog)
    reference = kept_reference(root / FOLDER, described, make)
    summaries = unchanged.unchanged if unchanged else None
    files = site_files(root, reports, reference=reference, calibrations=calibrated, unchanged=summaries)
    return files | listed(publications)


def _reference(app: typer.Typer, catalog: FamilyCatalog) -> dict[str, str]:
    return reference_files(app, json_schema(catalog))


def summaries(
    reports: Sequence[Report], calibrated: Mapping[str, list[Calibration]]
) -> dict[str, PageSummary]:
    """What is said of reports elsewhere, by slug; not of one that could not be printed: told again."""
    return {
        report.slug: page_summary(marked(report, calibrated), report_text(report), report_concerns(report))
        for report in reports
        if report.rendered.error is None
    }


def report_text(report: Report) -> str:
    """How an investigation stands, in one line."""
    ledger = report.ledger
    counts = Counter(verdict.verdict for verdict in ledger.verdicts[ledger.primary].values())
    verdicts = ", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items())) or "no claims"
    return f"{report.slug} on {ledger.primary}: {verdicts}; {measured_here(ledger).in_words}"


def concerns(reports: Sequence[Report], calibrated: Mapping[str, list[Calibration]]) -> list[Concern]:
    """What needs a person: what lint finds, broken sentences, failed checks and calibrations, drift, and
    published files that were edited."""
    found = [concern for report in reports for concern in report_concerns(report)]
    return found + failed_calibrations(calibrated)


def report_concerns(report: Report) -> list[Concern]:
    """What of one report needs a person."""
    found = [*report.rendered.concerns]
    for entry in report.ledger.entries:
        found += _failed_checks(report, entry)
    sources = wrong_sources(report.ledger, report.folder)
    return [*found, *_drift(report), *_not_as_published(report), *sources]


def failed_calibrations(calibrated: Mapping[str, list[Calibration]]) -> list[Concern]:
    """The calibrations that did not find the known answer."""
    found: list[Concern] = []
    for family, cases in calibrated.items():
        for case in cases:
            if not case.passed:
                seen = f"{case.seen:.4g}, expected {case.expected}"
                found.append(Concern("failed-calibration", f"{family}: {case.name}", seen))
    return found


def _failed_checks(report: Report, entry: Entry) -> list[Concern]:
    where = f"{report.slug}/{entry.label} on {entry.model}"
    failed = [check for check in entry.checks if not check.passed]
    return [Concern("failed-check", where, f"{c.name}: {c.value:.3g} > {c.limit:.3g}") for c in failed]


def _not_as_published(report: Report) -> Iterator[Concern]:
    """Published files that cannot be believed: which part, why, and what differs as far as that is known."""
    for fault in report.ledger.faults:
        where = ": ".join(filter(None, [f"{report.folder.name}/{fault.file}", fault.part]))
        shown = fault.differences[:SHOWN_DIFFERENCES]
        told = [f"{d.name}: published {d.published}, its run here measured {d.here}" for d in shown]
        if more := len(fault.differences) - len(shown):
            told.append(f"and {more} more (engine diff lists them)")
        yield Concern("not-as-published", where, "; ".join([fault.why, *told]))


def _drift(report: Report) -> list[Concern]:
    found = []
    for number in report.ledger.drifted:
        interval = f"{number.low:.4g} to {number.high:.4g}"
        message = f"published {number.published:.4g}, here {number.fresh:.4g} ({interval})"
        found.append(Concern("drift", f"{report.slug}/{number.name} on {number.model}", message))
    for verdict in report.ledger.changed_verdicts:
        message = f"published {verdict.published}, here {verdict.here}"
        found.append(Concern("drift", f"{report.slug}/{verdict.name} on {verdict.model}", message))
    return found
