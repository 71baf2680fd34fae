"""`engine publish`: this machine's numbers, written beside the text to be committed with it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from engine.commands.arguments import current_plan
from engine.commands.console import Output
from engine.commands.options import Json, Slugs
from engine.commands.reports import assemble_library, template_text
from engine.errors import EngineError
from engine.evidence.plural import counted
from engine.report.render import asked_for
from engine.runs.investigation import Investigation, chosen_investigations, find_root, spec_paths
from engine.runs.library import Library
from engine.runs.published.change_log import FILE, line_of, log_from_history
from engine.runs.published.revisions import is_shallow
from engine.runs.published.write import PublishReport, write_published
from engine.runs.sources import project_sources

app = typer.Typer(add_completion=False)


@app.command()
def publish(
    slugs: Slugs = None,
    history: Annotated[
        bool, typer.Option("--history", help="Only write the change log anew, from the git history.")
    ] = False,
    json: Json = False,
) -> Output:
    """Write this machine's numbers to investigations/SLUG/published/, to be committed with the text.

    Numbers are published all, tables where a report shows them or a chart of them. What moved since the last
    time is added to changes.jsonl there, which the site shows.

    \b
    Example:
      engine publish fact-recall
    """
    root = find_root()
    if history:
        return _write_history(root, slugs, json)
    with current_plan(root, slugs) as (store, plan):
        library = assemble_library(plan, store, citing=True)
        written = {i.slug: _publish(i, library, root) for i in plan.investigations.values()}
    text = [f"{slug}: {', '.join(told.changed) or 'nothing changed'}" for slug, told in written.items()]
    text.append("commit investigations/*/published/ together with the text")
    return Output(text, written, json)


def _write_history(root: Path, slugs: Sequence[str] | None, json: bool) -> Output:
    """Make each change log anew, for what was published before there was one."""
    if is_shallow(root):
        raise EngineError(
            "the history of this clone is cut short, so that the log would begin in its middle",
            where=str(root),
            hint="git fetch --unshallow",
        )
    written = {}
    for investigation in chosen_investigations(root, slugs, project_sources().catalog):
        log = log_from_history(root, investigation.slug)
        written[investigation.slug] = len(log)
        if log:
            path = investigation.published_folder / FILE
            path.write_text("".join(map(line_of, log)), encoding="utf-8", newline="\n")
    return Output([f"{slug}: {counted(n, 'publication')}" for slug, n in written.items()], written, json)


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
