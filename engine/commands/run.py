"""The commands that measure what a person names: one experiment, a sweep, a comparison over seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.commands.options import Cluster, DryRun, Force, Jobs, Json, Models, Output
from engine.errors import EngineError


def run(
    name: Annotated[str | None, typer.Option(help="INVESTIGATION/EXPERIMENT, as a spec names it.")] = None,
    spec: Annotated[Path | None, typer.Option(help="A spec file of your own, whole or flat.")] = None,
    model: Models = None,
    force: Force = False,
    dry_run: DryRun = False,
    jobs: Jobs = None,
    cluster: Cluster = None,
    json: Json = False,
) -> None:
    """Measure one experiment, or every experiment of a spec file, and print its numbers.

    \b
    Example:
      mech run --name fact-recall/lens
    """
    from engine.commands import measure as measuring

    if (name is None) == (spec is None):
        raise EngineError(
            "say what to run",
            where="engine run",
            expected="either --name INVESTIGATION/EXPERIMENT or --spec FILE",
            seen="both" if name else "neither",
        )
    hands = measuring.Hands(jobs, cluster)
    complete = measuring.run(name, spec, models=model, force=force, dry_run=dry_run, json=json, hands=hands)
    raise typer.Exit(0 if complete else 1)


def sweep(
    base: Annotated[Path, typer.Option(help="A spec file, whole or flat.")],
    axis: Annotated[
        list[str], typer.Option(metavar="KEY=V,V,...", help="What varies, as parameters.k=8,16; repeatable.")
    ],
    experiment: Annotated[
        str | None, typer.Option(help="Which experiment of the spec, where it has several.")
    ] = None,
    output: Output = None,
    execute: Annotated[bool, typer.Option("--execute", help="Measure every point now.")] = False,
    model: Models = None,
    dry_run: DryRun = False,
    jobs: Jobs = None,
    cluster: Cluster = None,
    json: Json = False,
) -> None:
    """Sweep an experiment over parameters, hook sites or amounts of data, and measure it as one table.

    Writes a spec file that `mech run --spec` measures, or measures at once; what was measured before is
    taken from the store, so an interrupted sweep goes on where it stopped. The table is also written as CSV
    beside the output file.

    \b
    Example:
      mech sweep --base sae.yaml --axis parameters.k=8,16,32 --output sweep.yaml --execute
    """
    from engine.commands import measure as measuring
    from engine.commands import sweep as sweeping

    made = sweeping.make(base, axis, experiment=experiment, output=output)
    if not execute:
        sweeping.tell(made, json=json)
        return
    complete = sweeping.measured(
        made, models=model, dry_run=dry_run, hands=measuring.Hands(jobs, cluster), json=json
    )
    raise typer.Exit(0 if complete else 1)


def analyze_sae_stability(
    sweep: Annotated[Path, typer.Option(help="A spec file that trains SAEs over seeds.")],
    live_only: Annotated[bool, typer.Option("--live-only", help="Only latents that fire.")] = False,
    output: Output = None,
    model: Models = None,
    dry_run: DryRun = False,
    jobs: Jobs = None,
    cluster: Cluster = None,
    json: Json = False,
) -> None:
    """Say how alike the dictionaries of a sweep over seeds are, beside what chance gives.

    Trains what is missing, compares the seeds at every other setting of the sweep, prints the table and
    writes it as Markdown, or as JSON where the output file is called so.

    \b
    Example:
      mech analyze-sae-stability --sweep sweep.yaml --live-only --output stability.md
    """
    from engine.commands import analyze_sae_stability as stability
    from engine.commands import measure as measuring

    complete = stability.analyze(
        sweep,
        live_only=live_only,
        output=output,
        models=model,
        dry_run=dry_run,
        hands=measuring.Hands(jobs, cluster),
        json=json,
    )
    raise typer.Exit(0 if complete else 1)
