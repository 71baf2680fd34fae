"""`engine diff`: the numbers measured here beside the published ones."""

from __future__ import annotations

import typer

from engine.commands.arguments import current_plan
from engine.commands.console import Output, TextTable
from engine.commands.options import Json, Slugs
from engine.runs.assemble import assemble
from engine.runs.investigation import find_root
from engine.runs.ledger import Replication

app = typer.Typer(add_completion=False)


@app.command()
def diff(slugs: Slugs = None, json: Json = False) -> Output:
    """Compare the numbers measured here with the published ones. Exits 1 on drift.

    \b
    Example:
      engine diff fact-recall
    """
    with current_plan(find_root(), slugs) as (store, plan):
        found = [c for i in plan.investigations.values() for c in assemble(i, store, plan).comparisons]
    agreeing = sum(comparison.agrees for comparison in found)
    text: list[str | TextTable] = ["nothing to compare: no published number was measured here by another run"]
    if found:
        table = TextTable(["number", "model", "published", "here", ""], [_cells(c) for c in found])
        text = [table, f"replicated {agreeing} of {len(found)}"]
    return Output(text, found, json, exit_status=0 if agreeing == len(found) else 1)


def _cells(c: Replication) -> tuple[str, ...]:
    here = f"{c.fresh:.4g} ({c.low:.4g} to {c.high:.4g})"
    return (c.name, c.model, f"{c.published:.4g}", here, "agrees" if c.agrees else "DRIFT")
