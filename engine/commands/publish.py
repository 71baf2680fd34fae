"""`engine publish`: this machine's numbers, written beside the text to be committed with it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import typer

from engine.commands.arguments import current_plan
from engine.commands.console import Output
from engine.commands.options import Json, Slugs
from engine.commands.reports import assemble_library, template_text
from engine.errors import EngineError
from engine.report.render import asked_for
from engine.runs.investigation import Investigation, find_root, spec_paths
from engine.runs.library import Library
from engine.runs.published.write import PublishReport, write_published

app = typer.Typer(add_completion=False)


@app.command()
def publish(slugs: Slugs = None, json: Json = False) -> Output:
    """Write this machine's numbers to investigations/SLUG/published/, to be committed with the text.

    Numbers are published all, tables where a report shows them or a chart of them.

    \b
    Example:
      engine publish fact-recall
    """
    root = find_root()
    with current_plan(root, slugs) as (store, plan):
        library = assemble_library(plan, store, citing=True)
        written = {i.slug: _publish(i, library, root) for i in plan.investigations.values()}
    text = [f"{slug}: {', '.join(told.changed) or 'nothing changed'}" for slug, told in written.items()]
    text.append("commit investigations/*/published/ together with the text")
    return Output(text, written, json)


def _publish(investigation: Investigation, library: Library, root: Path) -> PublishReport:
    """Write all numbers of an investigation that were measured here, and the tables that a report shows."""
    slug = investigation.slug
    path = investigation.template_path
    shown = asked_for(replace(library, own=slug), template_text(path), path)
    for other in library.ledgers.keys() - {slug}:
        path = spec_paths(root)[other].with_name(path.name)
        # What is wrong with another's report is told when that one is printed.
        with suppress(EngineError):
            shown |= asked_for(replace(library, own=other), template_text(path), path, of=slug)
    return write_published(library.ledgers[slug], investigation.published_folder, shown)
