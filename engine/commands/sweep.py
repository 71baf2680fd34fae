"""`mech sweep`: an experiment over the combinations of some values, as a spec file and as one table."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.commands.arguments import existing_parent, existing_spec
from engine.commands.console import Output, measurement_fields
from engine.commands.measure import MeasureOptions, SelectedRuns, measure_selected
from engine.commands.options import Cluster, DryRun, Jobs, Json, Models, OutputFile, Verbose
from engine.commands.point_table import PointRow, csv_text, point_rows, point_text
from engine.runs.investigation import Investigation, find_root_or_here, load_investigation
from engine.runs.sources import project_sources
from engine.spec.load import dump
from engine.spec.models import Spec
from engine.spec.points import n_points
from engine.spec.sweeps import chosen_experiment, parse_axis, relocated, swept_spec, write_spec

app = typer.Typer(add_completion=False)


@app.command()
def sweep(
    context: typer.Context,
    base: Annotated[Path, typer.Option(help="A spec file, whole or flat.")],
    axis: Annotated[
        list[str], typer.Option(metavar="KEY=V,V,...", help="What varies, as parameters.k=8,16; repeatable.")
    ],
    experiment: Annotated[
        str | None, typer.Option(help="Which experiment of the spec, where it has several.")
    ] = None,
    output: OutputFile = None,
    execute: Annotated[bool, typer.Option("--execute", help="Measure every point now.")] = False,
    model: Models = None,
    dry_run: DryRun = False,
    jobs: Jobs = None,
    cluster: Cluster = None,
    verbose: Verbose = False,
    json: Json = False,
) -> Output:
    """Sweep an experiment over parameters, hook sites or amounts of data, and measure it as one table.

    Writes a spec file that `mech run --spec` measures, or measures at once; what was measured before is
    taken from the store, so an interrupted sweep goes on where it stopped. The table is also written as CSV
    beside the output file.

    \b
    Example:
      mech sweep --base sae.yaml --axis parameters.k=8,16,32 --output sweep.yaml --execute
    """
    swept = sweep_spec(base, axis, experiment=experiment, output=output)
    if not execute:
        return replace(sweep_description(swept), as_json=json)
    options = MeasureOptions(
        models=model,
        dry_run=dry_run,
        jobs=jobs,
        cluster=cluster,
        verbose=verbose,
        json=json,
        debug=context.obj.debug,
    )

    def point_numbers(selected: SelectedRuns) -> Output:
        return sweep_numbers(point_rows(selected), swept.output)

    return measure_selected(
        find_root_or_here(), swept.investigation, swept.experiments, options, point_numbers
    )


@dataclass(frozen=True)
class SweepSpec:
    """A sweep as a spec of its own, the experiments that are its points, and the file it is in if it is."""

    investigation: Investigation
    experiments: tuple[str, ...]
    output: Path | None


def sweep_spec(
    base: Path, axes: Sequence[str], *, experiment: str | None = None, output: Path | None = None
) -> SweepSpec:
    """The sweep that the options ask for, written to `output` if given; SpecError where it cannot be made."""
    catalog = project_sources().catalog
    original = load_investigation(existing_spec(base), catalog)
    name = chosen_experiment(original.spec, experiment, str(base))
    spec = swept_spec(original.spec, name, [parse_axis(axis) for axis in axes], catalog)
    points = _points(original.spec, spec, name)
    # In no file, it is repeated by the command that made it.
    if output is None:
        typed = ["mech", "sweep", "--base", str(base), *(part for axis in axes for part in ("--axis", axis))]
        typed += ["--experiment", experiment] if experiment else []
        command = shlex.join([*typed, "--execute"])
        unsaved = replace(original, slug=f"{original.slug}-sweep", spec=spec, typed=command)
        return SweepSpec(unsaved, points, None)
    # Paths in a spec are relative to the file that it lies in.
    moved = relocated(spec, original.folder, existing_parent(output).resolve().parent)
    write_spec(output, moved, find_root_or_here())
    return SweepSpec(load_investigation(output, catalog), points, output)


def _points(original: Spec, swept: Spec, name: str) -> tuple[str, ...]:
    """The experiments that the sweep made of the one called `name`."""
    return tuple(n for n in swept.experiments if n not in original.experiments or n == name)


def sweep_description(swept: SweepSpec) -> Output:
    """What was made, where nothing is to be measured yet: the spec itself, or where it was written."""
    spec = swept.investigation.spec
    count = sum(n_points(spec.experiments[name]) for name in swept.experiments) * len(spec.models)
    if swept.output is None:
        text = dump(spec)
    else:
        text = f"wrote {swept.output}: {count} points; mech run --spec {swept.output} measures them"
    data = {"points": count, "output": swept.output, "spec": spec.model_dump(mode="json")}
    return Output([text], data)


def sweep_numbers(rows: Sequence[PointRow], output: Path | None) -> Output:
    """The table of every point, also written beside the spec; exit status 1 where a point has no numbers."""
    text = point_text(rows)
    if output is not None:
        beside = output.with_suffix(".csv")
        beside.write_text(csv_text(rows), encoding="utf-8")
        text.append(f"\nThe table is in {beside}, the spec in {output}")
    complete = all(row.measurements for row in rows)
    return Output(text, [_row_data(row) for row in rows], exit_status=0 if complete else 1)


def _row_data(row: PointRow) -> dict[str, Any]:
    return {
        "experiment": row.name.experiment,
        "model": row.name.model,
        "point": row.place,
        "run_id": row.run_id,
        "reason": row.reason,
        "measurements": {name: measurement_fields(m) for name, m in row.measurements.items()},
    }
