"""`engine publish`: this machine's numbers, written beside the text to be committed with it."""

from __future__ import annotations

import typer

from engine.commands.arguments import current_plan
from engine.commands.console import Output
from engine.commands.options import Json, Slugs
from engine.commands.reports import template_text
from engine.report.render import asked_for
from engine.runs.assemble import assemble
from engine.runs.investigation import Investigation, find_root
from engine.runs.planning.plan import Plan
from engine.runs.published.write import PublishReport, write_published
from engine.runs.store.store import RunStore

app = typer.Typer(add_completion=False)


@app.command()
def publish(slugs: Slugs = None, json: Json = False) -> Output:
    """Write this machine's numbers to investigations/SLUG/published/, to be committed with the text.

    Numbers are published all, tables where the report shows them or a chart of them.

    \b
    Example:
      engine publish fact-recall
    """
    with current_plan(find_root(), slugs) as (store, plan):
        written = {i.slug: _publish(i, store, plan) for i in plan.investigations.values()}
    text = [f"{slug}: {', '.join(told.changed) or 'nothing changed'}" for slug, told in written.items()]
    text.append("commit investigations/*/published/ together with the text")
    return Output(text, written, json)


def _publish(investigation: Investigation, store: RunStore, plan: Plan) -> PublishReport:
    """Write all numbers of an investigation that were measured here, and the tables that its text shows."""
    ledger = assemble(investigation, store, plan)
    path = investigation.template_path
    shown = asked_for(ledger, template_text(path), path)
    return write_published(ledger, investigation.published_folder, shown)
