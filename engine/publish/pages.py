"""Every generated file of the site by its path under site/, made of reports, code and calibrations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.errors import SiteError
from engine.evidence.result import Calibration
from engine.families import Declaration, declaration, names
from engine.publish.cite_box import BIBTEX_FILE, cite_box
from engine.publish.cited_work import CitedWork, bibtex
from engine.publish.commits import last_commits
from engine.publish.demo_links import FirstPrompts, demo_link, demo_queries, with_demo_links
from engine.publish.demo_page import demo_files
from engine.publish.feed import FEED, FeedEntry, atom_feed
from engine.publish.files import Content
from engine.publish.head_tags import HeadTag
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
    question,
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
from engine.publish.report_citation import (
    FOLDER,
    SOCIAL_FILE,
    page_summary,
    report_description,
    report_tags,
    report_work,
    social_png,
)
from engine.publish.site_settings import SiteSettings, site_settings
from engine.publish.statements_page import PATH as STATEMENTS
from engine.publish.statements_page import statements_page
from engine.report.charts.pictures import PictureCache
from engine.report.charts.vega import vega_bundle, vega_bundle_name
from engine.report.escape import sentence_for_site
from engine.report.json_cache import JsonCache
from engine.runs.published.change_log import read_change_log
from engine.spec.repository_files import without_root

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
    summaries = [page_summary(report) for report in reports]
    if unchanged:
        summaries = sorted([*summaries, *unchanged.values()], key=lambda summary: summary.slug)
    mentions = {s.slug: mentions_from(s.mentions) for s in summaries if s.mentions}
    settings = site_settings(root)
    commits = last_commits(root, FOLDER)
    files: dict[str, Content] = {
        "index.md": home_page(_home(root / "site"), summaries),
        "investigations/index.md": investigations_page(summaries),
        "reading-the-evidence/calibrations.md": calibrations_page(calibrations),
        REPLICATION: replication_page({slug: each.replication for slug, each in mentions.items()}),
        STATEMENTS: statements_page([s for each in mentions.values() for s in each.statements]),
        VEGA: _vega(root / "site"),
        FEED: atom_feed(settings, [FeedEntry(**summary.feed) for summary in summaries]),
    }
    notebooks = JsonCache(root / ".engine" / "notebooks")
    pictures = PictureCache(root / ".engine")
    prompts = FirstPrompts(JsonCache(root / ".engine" / "first-prompts"))
    for more in [reference, _own_documents(root), demo_files(root / "site", settings, pictures)]:
        files |= more
    for report in reports:
        commit = commits.get(report.slug, "")
        files |= report_files(report, notebooks, pictures, settings, commit, prompts)
    notebooks.prune()
    pictures.prune()
    files |= _families_in_use(files, mentions, calibrations)
    return {name: _without_paths(name, content, root) for name, content in files.items()}


def _without_paths(name: str, content: Content, root: Path) -> Content:
    """A page without the folders of the machine that it was made on, which errors and reasons name."""
    return without_root(content, root) if name.endswith(".md") and isinstance(content, str) else content


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


def report_files(
    report: Report,
    notebooks: JsonCache | None = None,
    pictures: PictureCache | None = None,
    settings: SiteSettings | None = None,
    commit: str = "",
    prompts: FirstPrompts | None = None,
) -> dict[str, Content]:
    """One report: its page, its spec to copy, its charts, its tables, its notebook, its entry in BibTeX.

    `commit` is the one that has its folder as it lies there. The first chart is what a link to it shows.
    """
    settings = settings or SiteSettings()
    work = report_work(report, settings, commit)
    here = f"{FOLDER}/{report.slug}"
    rendered = report.rendered
    shown = social_png(rendered.charts, pictures or PictureCache())
    tags = report_tags(report, work, settings, shown)
    queries = demo_queries(report, prompts or FirstPrompts())
    links = {id: demo_link(settings.demo_url, query) for id, query in queries.items()}
    page = with_demo_links(report_page(report, work, tags), links)
    files: dict[str, Content] = {f"{here}/index.md": page}
    files[f"{here}/{BIBTEX_FILE}"] = bibtex(work)
    if shown:
        files[f"{here}/{SOCIAL_FILE}"] = shown.png
    files[f"{here}/spec.yaml"] = (report.folder / "spec.yaml").read_bytes()
    log = read_change_log(report.folder / "published")
    files |= replication_files(report.slug, report.ledger, log)
    files |= {f"{here}/charts/{id}.json": chart for id, chart in rendered.charts.items()}
    files |= {f"{here}/charts/{id}.svg": picture for id, picture in rendered.pictures.items()}
    files |= {f"{here}/tables/{id}.csv": table for id, table in rendered.tables.items()}
    if report.notebook_name:
        files[f"{here}/{report.notebook_name}"] = notebook(report, notebooks)
    return files


def report_page(report: Report, work: CitedWork | None = None, tags: Iterable[HeadTag] = ()) -> str:
    """The finding first; how it stands; claims; then the text, and below it how to cite it."""
    spec = report.ledger.spec
    rendered = report.rendered
    body = rendered.markdown.lstrip()
    heading = f"# {sentence_for_site(spec.title)}"
    if body.startswith("# "):
        heading, _, body = body.partition("\n")
    opened = [rendered.opening, masthead(report), rendered.claims]
    cited = cite_box(work or report_work(report, SiteSettings()))
    parts = [heading, question(report), *(part.strip("\n") for part in opened if part), body.strip(), cited]
    about = report_description(report)
    above = front_matter(spec.title, about=about, popovers=rendered.popovers, tags=tags)
    return above + "\n\n".join(parts) + "\n"


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


def _own_documents(root: Path) -> dict[str, Content]:
    """What the repository says of itself, as pages: changes, and what is trusted."""
    pages = {"reference/changelog.md": root / "CHANGELOG.md", "reference/security.md": root / "SECURITY.md"}
    return {name: source.read_bytes() for name, source in pages.items() if source.exists()}


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
