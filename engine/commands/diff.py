"""`engine diff`: the numbers measured here beside the published ones."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from engine.commands.arguments import current_plan
from engine.commands.console import Output, TextTable
from engine.commands.options import Json, Slugs
from engine.runs.assemble import assemble
from engine.runs.investigation import find_root
from engine.runs.ledger import Difference, Replication

app = typer.Typer(add_completion=False)


@app.command()
def diff(slugs: Slugs = None, json: Json = False) -> Output:
    """Compare the numbers measured here with the published ones. Exits 1 on drift.

    A number that another run measured agrees where its interval holds the published one; one whose own run is
    in the store must be equal.

    \b
    Example:
      engine diff fact-recall
    """
    with current_plan(find_root(), slugs) as (store, plan):
        ledgers = [assemble(investigation, store, plan) for investigation in plan.investigations.values()]
    found = [comparison for ledger in ledgers for comparison in ledger.comparisons]
    differing = [d for ledger in ledgers for fault in ledger.faults for d in fault.differences]
    verdicts = [difference for ledger in ledgers for difference in ledger.changed_verdicts]
    agreeing = sum(comparison.agrees for comparison in found)
    copied = sum(ledger.copied for ledger in ledgers)
    text: list[str | TextTable] = []
    if found or differing or verdicts:
        rows = [_cells(c) for c in found]
        # Their own run is here, so that whatever differs was not measured but edited.
        rows += [(d.name, d.model, d.published, d.here, "NOT ITS RUN") for d in differing]
        rows += [(d.name, d.model, d.published, d.here, "DRIFT") for d in verdicts]
        text = [TextTable(["number", "model", "published", "here", ""], rows)]
    if found:
        text.append(f"replicated {agreeing} of {len(found)}")
    if copied:
        text.append(f"compared {copied} published numbers with their own runs: {_counted(differing)}")
    text = text or ["nothing to compare: no published number was measured here"]
    whole = agreeing == len(found) and not differing and not verdicts
    return Output(text, [*found, *differing, *verdicts], json, exit_status=0 if whole else 1)


def _counted(differing: Sequence[Difference]) -> str:
    values = "value differs" if len(differing) == 1 else "values differ"
    return f"{len(differing)} {values}" if differing else "all are equal"


def _cells(c: Replication) -> tuple[str, ...]:
    here = f"{c.fresh:.4g} ({c.low:.4g} to {c.high:.4g})"
    return (c.name, c.model, f"{c.published:.4g}", here, "agrees" if c.agrees else "DRIFT")
