"""`engine check`: what needs a person, found without measuring anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.commands.arguments import current_plan, require
from engine.commands.console import Output, TextTable
from engine.commands.options import Json, Slugs
from engine.commands.publication_site import publication_concerns, publication_pages
from engine.commands.reports import concerns, print_reports, site_contents
from engine.demo.stale_stills import still_concerns
from engine.publish.files import Content
from engine.publish.link_sources import written_at
from engine.publish.mkdocs_site import built_with_faults
from engine.publish.overview import Report
from engine.publish.site_links import BrokenLink, SiteLinks, follow_links
from engine.publish.site_settings import site_settings
from engine.report.claim_sentences import family_in_words
from engine.report.lint import Concern
from engine.runs.calibrations import calibrations
from engine.runs.investigation import find_root
from engine.runs.sources import project_sources

app = typer.Typer(add_completion=False)


@app.command()
def check(
    context: typer.Context,
    slugs: Slugs = None,
    links: Annotated[bool, typer.Option("--links", help="Follow every link of the site, too.")] = False,
    json: Json = False,
) -> Output:
    """Find what needs a person: broken sentences, failed checks and calibrations, drift, hand-typed numbers.

    And sentences that the evidence does not decide; stills of the demo whose panel has changed; and published
    files that were edited: by their digests, and by the runs that they are of, where those are in the store.
    Measures nothing. Exits 1 if it finds something.

    With --links it builds the site into a folder of its own and follows the links of every page, in raw HTML
    and to single numbers, too; those to other hosts are listed and never asked for.

    \b
    Example:
      engine check --links
    """
    root = find_root()
    # A link of one page may lead to any other, so that all of them are built.
    with current_plan(root, None if links else slugs) as (store, plan):
        require(slugs or (), set(plan.investigations), "investigation")
        printed = print_reports(plan, store)
        reports = [report for report in printed if not slugs or report.slug in slugs]
        ledgers = {report.slug: report.ledger for report in printed}
        of_publications = publication_concerns(root, store, ledgers, slugs or ())
        publications = publication_pages(root, store, ledgers) if links else []
    calibrated = calibrations(root, project_sources(), measure=False)
    found = concerns(reports, calibrated) + of_publications
    if not slugs:
        found += still_concerns(root / "site")
    judged: list[str | TextTable] = [f"{name}, {said}" for name, said in _families(reports)]
    followed = None
    if links:
        contents = site_contents(root, printed, calibrated, context.obj.app, publications=publications)
        followed = _follow(root, contents, slugs)
    if followed:
        found += [_broken_link(root, broken) for broken in followed.broken]
        judged += _links_in_words(followed)
    data = {"concerns": found, "links": _links_data(root, followed)} if followed else found
    if found:
        table = TextTable(["what", "where", "why"], [(c.kind, c.where, c.message) for c in found])
        return Output([table, *judged], data, json, exit_status=1)
    names = ", ".join(report.slug for report in reports) or "no investigation"
    return Output([*judged, f"nothing needs a person: {names}"], data, json)


def _follow(root: Path, files: Mapping[str, Content], slugs: Sequence[str] | None) -> SiteLinks:
    """Follow the links of the site that these files make; with `slugs`, those on their pages alone."""
    with built_with_faults(root, files) as folder:
        followed = follow_links(folder, site_settings(root).site_url)
    if not slugs:
        return followed
    pages = tuple(f"investigations/{slug}/" for slug in slugs)
    return replace(
        followed,
        broken=[broken for broken in followed.broken if broken.link.page.startswith(pages)],
        external={
            address: own
            for address, found in followed.external.items()
            if (own := [link for link in found if link.page.startswith(pages)])
        },
    )


def _broken_link(root: Path, broken: BrokenLink) -> Concern:
    near = f"; nearest: {', '.join(broken.near)}" if broken.near else ""
    message = f"{broken.link.attribute}={broken.link.target!r}: {broken.why}{near}"
    return Concern("broken-link", written_at(root, broken.link), message)


def _links_in_words(followed: SiteLinks) -> Iterator[str | TextTable]:
    """How many links were followed, and which lead to other hosts."""
    yield f"{followed.followed} links lead inside of the site, {len(followed.broken)} of them nowhere"
    if followed.external:
        rows = [(address, len(found), found[0].page) for address, found in followed.external.items()]
        yield TextTable(["link to another host, not followed", "times", "first on"], rows)


def _links_data(root: Path, followed: SiteLinks) -> dict[str, Any]:
    broken = [
        {
            "where": written_at(root, fault.link),
            "page": fault.link.page,
            "line": fault.link.line,
            "attribute": fault.link.attribute,
            "target": fault.link.target,
            "why": fault.why,
            "near": list(fault.near),
        }
        for fault in followed.broken
    ]
    external = {
        address: list(dict.fromkeys(link.page for link in found))
        for address, found in followed.external.items()
    }
    return {"followed": followed.followed, "broken": broken, "external": external}


def _families(reports: Sequence[Report]) -> Iterator[tuple[str, str]]:
    """Of each investigation and model how many claims were judged, and which verdicts stand as one family."""
    for report in reports:
        for model in report.ledger.spec.models:
            if said := family_in_words(report.ledger, model):
                yield report.ledger.slug, said
