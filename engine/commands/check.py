"""`engine check`: what needs a person, found without measuring anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import typer

from engine.commands.arguments import current_plan
from engine.commands.console import Output, TextTable
from engine.commands.options import Json, Slugs
from engine.commands.publication_site import publication_concerns
from engine.commands.reports import concerns, print_reports
from engine.publish.overview import Report
from engine.report.claim_sentences import family_in_words
from engine.runs.calibrations import calibrations
from engine.runs.investigation import find_root
from engine.runs.sources import project_sources

app = typer.Typer(add_completion=False)


@app.command()
def check(slugs: Slugs = None, json: Json = False) -> Output:
    """Find what needs a person: broken sentences, failed checks and calibrations, drift, hand-typed numbers.

    And sentences that the evidence does not decide; and published files that were edited: by their digests,
    and by the runs that they are of, where those are in the store. Measures nothing. Exits 1 if it finds
    something.

    \b
    Example:
      engine check
    """
    root = find_root()
    with current_plan(root, slugs) as (store, plan):
        reports = print_reports(plan, store)
        ledgers = {report.slug: report.ledger for report in reports}
        of_publications = publication_concerns(root, store, ledgers, slugs or ())
    found = concerns(reports, calibrations(root, project_sources(), measure=False))
    found += of_publications
    judged = [f"{name}, {said}" for name, said in _families(reports)]
    if found:
        table = TextTable(["what", "where", "why"], [(c.kind, c.where, c.message) for c in found])
        return Output([table, *judged], found, json, exit_status=1)
    names = ", ".join(plan.investigations) or "no investigation"
    return Output([*judged, f"nothing needs a person: {names}"], found, json)


def _families(reports: Sequence[Report]) -> Iterator[tuple[str, str]]:
    """Of each investigation and model how many claims were judged, and which verdicts stand as one family."""
    for report in reports:
        for model in report.ledger.spec.models:
            if said := family_in_words(report.ledger, model):
                yield report.ledger.slug, said
