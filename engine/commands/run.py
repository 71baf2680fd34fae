"""`mech run`: one experiment, or every experiment of a spec file, measured and its numbers printed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from engine.commands.arguments import existing_spec
from engine.commands.console import Output, TextTable, measurement_fields
from engine.commands.measure import MeasureOptions, SelectedRuns, measure_selected
from engine.commands.options import Cluster, DryRun, Force, Jobs, Json, Models, Verbose
from engine.errors import EngineError
from engine.evidence.printing import interval_text
from engine.runs.assemble import stored_entry
from engine.runs.investigation import (
    find_named,
    find_root_or_here,
    load_investigation,
)
from engine.runs.sources import project_sources

app = typer.Typer(add_completion=False)


@app.command()
def run(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Option(help="INVESTIGATION/EXPERIMENT, or the name of a spec in experiments/.")
    ] = None,
    spec: Annotated[Path | None, typer.Option(help="A spec file of your own, whole or flat.")] = None,
    model: Models = None,
    force: Force = False,
    dry_run: DryRun = False,
    jobs: Jobs = None,
    cluster: Cluster = None,
    verbose: Verbose = False,
    json: Json = False,
) -> Output:
    """Measure one experiment, or every experiment of a spec file, and print its numbers.

    A folder experiments/ of flat specs, with sweeps/ below it, is found from anywhere inside its own folder.

    \b
    Example:
      mech run --name fact-recall/lens
    """
    if (name is None) == (spec is None):
        raise EngineError(
            "say what to run",
            where="engine run",
            expected="either --name INVESTIGATION/EXPERIMENT or --spec FILE",
            seen="both" if name else "neither",
        )
    catalog = project_sources().catalog
    if spec is not None:
        # A spec of one's own may lie outside of any project; its runs are kept where one stands.
        root = find_root_or_here()
        investigation = load_investigation(existing_spec(spec), catalog)
        experiments = list(investigation.spec.experiments)
    else:
        root, investigation, experiment = find_named(name or "", catalog)
        experiments = [experiment]
    options = MeasureOptions(
        models=model,
        force=force,
        dry_run=dry_run,
        jobs=jobs,
        cluster=cluster,
        verbose=verbose,
        json=json,
        debug=context.obj.debug,
    )
    return measure_selected(root, investigation, experiments, options, run_numbers)


def run_numbers(selected: SelectedRuns) -> Output:
    """The numbers of each run, or why there are none; exit status 1 where some are missing or withheld."""
    text: list[str | TextTable] = []
    data: list[dict[str, Any]] = []
    complete = True
    for planned in selected.runs:
        stored, why = selected.stored(planned)
        if stored is None:
            complete = False
            data.append({"run": str(planned.name), "id": None, "reason": why})
            text.append(f"\n{planned.name}: not measured: {why}")
            continue
        entry = stored_entry(selected.store, stored)
        complete = complete and not entry.withheld
        numbers = {name: measurement_fields(m) for name, m in entry.measurements.items()}
        row = {"run": str(planned.name), "id": stored.id, "reason": entry.reason, "measurements": numbers}
        data.append(row)
        rows = [(m.role, m.name, interval_text(m)) for m in entry.measurements.values()]
        text += [
            f"\n{planned.name}, run {stored.id}{': ' + entry.reason if entry.reason else ''}",
            TextTable(["role", "number", "value"], rows),
            f"mech report --run-id {stored.id} writes it as a page",
        ]
    return Output(text, data, exit_status=0 if complete else 1)
