"""Every generated file of the site by its path under site/, made of reports, code and calibrations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.errors import SiteError
from engine.evidence.result import Calibration
from engine.families import Declaration, declaration, names
from engine.publish.files import Content
from engine.publish.instruments import instruments_page
from engine.publish.markdown import front_matter
from engine.publish.mentions import Mentions, mentions_from, users_of
from engine.publish.notebook import notebook
from engine.publish.overview import (
    PageSummary,
    Report,
    home_page,
    investigations_page,
    masthead,
    summarised,
)
from engine.publish.reference import (
    FAMILIES,
    calibrations_page,
    commands_page,
    family_page_in_use,
    family_pages,
    spec_page,
)
from engine.publish.replication_pages import PATH as REPLICATION
from engine.publish.replication_pages import replication_files, replication_page
from engine.publish.statements_page import PATH as STATEMENTS
from engine.publish.statements_page import statements_page
from engine.report.charts.vega import vega_bundle, vega_bundle_name
from engine.report.escape import sentence_for_site
from engine.report.json_cache import JsonCache
from engine.runs.published.change_log import read_change_log

VEGA = "javascripts/vega.js"
HOME = "home.md"


def site_files(
    root: Path,
    reports: Sequence[Report],
    *,
    reference: Mapping[str, Content],
    calibrations: Mapping[str, Sequence[Calibration]],
    unchanged: Mapping[str, PageSummary] | None = None,
) -> dict[str, Content]:
    """The generated files of the site in `root`: overview, reports, reference, schema, chart library.

    `reference` are the `reference_files`, `calibrations` those of each family. Of `unchanged` investigations
    only the pages that list all are made. Raises SiteError where the hand-written home page is missing.
    """
    reports = [marked(report, calibrations) for report in reports]
    summaries = [summarised(report) for report in reports]
    if unchanged:
        summaries = sorted([*summaries, *unchanged.values()], key=lambda summary: summary.slug)
    mentions = {s.slug: mentions_from(s.mentions) for s in summaries if s.mentions}
    files: dict[str, Content] = {
        "index.md": home_page(_home(root / "site"), summaries),
        "investigations/index.md": investigations_page(summaries),
        "reading-the-evidence/calibrations.md": calibrations_page(calibrations),
        REPLICATION: replication_page({slug: each.replication for slug, each in mentions.items()}),
        STATEMENTS: statements_page([s for each in mentions.values() for s in each.statements]),
        VEGA: _vega(root / "site"),
    }
    notebooks = JsonCache(root / ".engine" / "notebooks")
    for more in [reference, _changelog(root), *(report_files(report, notebooks) for report in reports)]:
        files |= more
    notebooks.prune()
    return files | _families_in_use(files, mentions, calibrations)


def _families_in_use(
    files: Mapping[str, Content],
    mentions: Mapping[str, Mentions],
    calibrations: Mapping[str, Sequence[Calibration]],
) -> dict[str, Content]:
    """The families' pages with what does not follow from the code alone: calibrations, and who uses each."""
    pages = {Path(name).stem: name for name in files if name.startswith(FAMILIES)}
    pages.pop("index", None)
    users = users_of(pages, mentions)
    return {
        name: family_page_in_use(str(files[name]), calibrations.get(family, ()), users[family])
        for family, name in pages.items()
    }


def reference_files(
    app: Any, schema: dict, families: Mapping[str, Declaration] | None = None
) -> dict[str, str]:
    """What follows from the code alone: pages on commands, families, instruments and specs, and the schema.

    `app` is the Typer app to document, `schema` the JSON Schema of a spec, `families` what each of them
    declares (by default the engine's own).
    """
    if families is None:
        families = {name: declaration(name) for name in names()}
    return {
        "reference/commands.md": commands_page(app),
        "reference/instruments.md": instruments_page(families),
        "reference/spec.md": spec_page(),
        "schema/investigation.json": _json(schema),
        **family_pages(families),
    }


def report_files(report: Report, notebooks: JsonCache | None = None) -> dict[str, Content]:
    """One report: its page, its spec to copy, its charts, its tables and its notebook."""
    here = f"investigations/{report.slug}"
    rendered = report.rendered
    files: dict[str, Content] = {f"{here}/index.md": report_page(report)}
    files[f"{here}/spec.yaml"] = (report.folder / "spec.yaml").read_bytes()
    log = read_change_log(report.folder / "published")
    files |= replication_files(report.slug, report.ledger, log)
    files |= {f"{here}/charts/{id}.json": chart for id, chart in rendered.charts.items()}
    files |= {f"{here}/charts/{id}.svg": picture for id, picture in rendered.pictures.items()}
    files |= {f"{here}/tables/{id}.csv": table for id, table in rendered.tables.items()}
    if report.notebook_name:
        files[f"{here}/{report.notebook_name}"] = notebook(report, notebooks)
    return files


def report_page(report: Report) -> str:
    """The rendered report under its title, its question and a line that says how it stands."""
    spec = report.ledger.spec
    body = report.rendered.markdown.lstrip()
    heading = f"# {sentence_for_site(spec.title)}"
    if body.startswith("# "):
        heading, _, body = body.partition("\n")
    parts = [heading, masthead(report), body.lstrip()]
    above = front_matter(spec.title, about=spec.question, popovers=report.rendered.popovers)
    return above + "\n\n".join(parts)


def marked(report: Report, calibrations: Mapping[str, Sequence[Calibration]]) -> Report:
    """The report with those of its families that failed a calibration."""
    used = dict.fromkeys(experiment.family for experiment in report.ledger.spec.experiments.values())
    failed = (f for f in used if not all(case.passed for case in calibrations.get(f, ())))
    return replace(report, uncalibrated=tuple(failed))


def _home(site: Path) -> str:
    try:
        return (site / HOME).read_text(encoding="utf-8")
    except OSError as error:
        problem = "the hand-written home page cannot be read"
        raise SiteError(problem, where=str(site / HOME), seen=str(error)) from error


def _changelog(root: Path) -> dict[str, Content]:
    source = root / "CHANGELOG.md"
    return {"reference/changelog.md": source.read_bytes()} if source.exists() else {}


def _vega(site: Path) -> str:
    """The chart library; made anew, which takes seconds, only where its versions changed."""
    stamp = f"/* {vega_bundle_name()} */\n"
    made = site / VEGA
    if made.exists() and (text := made.read_text(encoding="utf-8")).startswith(stamp):
        return text
    return stamp + vega_bundle()


def _json(value: dict) -> str:
    # NaN is no JSON: a browser would refuse the whole file, so that it is refused here.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"
