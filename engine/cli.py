"""The command line: `engine`, or `mech` for short. Bodies import what they need, so that help is immediate.

Exit status 0: done. 1: done, and something needs a person. 2: it could not be done.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from engine.commands import cli_runs
from engine.commands import models as cli_models
from engine.commands import run as cli_measuring
from engine.commands.options import Cluster, DryRun, Force, Jobs, Json, Models, Slugs
from engine.errors import EngineError

app = typer.Typer(
    name="engine",
    help="Measure what is stale, inject the numbers, judge the claims, publish the site.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cli_models.app, name="models")
app.add_typer(cli_runs.app, name="runs")


def main() -> None:
    """Run the program; a refusal becomes one clear message and exit status 2."""
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    try:
        app(arguments, prog_name=Path(sys.argv[0]).name)
    except EngineError as error:
        if "--debug" in sys.argv:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"mech-interpretability {version('mech-interpretability')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say it.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Measure what is stale, inject the numbers, judge the claims, publish the site.

    The program is called engine and mech; wherever one is written, the other works.
    """


@app.command()
def build(
    slugs: Slugs = None,
    budget: Annotated[str, typer.Option(help="Time to measure: 0, 90s, 10m, 1h, or all.")] = "10m",
    model: Models = None,
    force: Force = False,
    changed: Annotated[bool, typer.Option(help="Only what was measured here before and changed.")] = False,
    dry_run: DryRun = False,
    strict: Annotated[bool, typer.Option(help="Exit 1 if anything needs a person.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where the site goes; public/ by default.")] = None,
    jobs: Jobs = None,
    cluster: Cluster = None,
    json: Json = False,
) -> None:
    """Measure what is stale within a budget, then build the site.

    Plans first and says why, measures the primary model first, takes published numbers, marked, for the rest.

    \b
    Example:
      engine build --budget 10m
    """
    from engine.commands import build as building
    from engine.commands.measure import Hands

    hands = Hands(jobs, cluster)
    how = {"fresh": force, "changed": changed, "dry_run": dry_run}
    outcome = building.build(slugs, budget, models=model, **how, out=out, hands=hands, json=json)
    raise typer.Exit(1 if strict and outcome.needs_a_person else 0)


@app.command()
def status(slugs: Slugs = None, model: Models = None, json: Json = False) -> None:
    """Say for each experiment whether it is up to date, and if not, which input changed.

    \b
    Example:
      engine status fact-recall
    """
    from engine.commands import status as standing

    standing.status(slugs, models=model, json=json)


# Here, because help lists commands in the order in which they are registered.
app.command()(cli_measuring.run)
app.command()(cli_measuring.sweep)
app.command()(cli_measuring.analyze_sae_stability)  # Typer writes analyze-sae-stability


@app.command()
def check(slugs: Slugs = None, json: Json = False) -> None:
    """Find what needs a person: broken sentences, failed checks and calibrations, drift, hand-typed numbers.

    Measures nothing. Exits 1 if it finds something.

    \b
    Example:
      engine check
    """
    from engine.commands import build as building

    raise typer.Exit(1 if building.check(slugs, json=json) else 0)


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port on this machine.")] = 8000,
) -> None:
    """Serve the site on this machine and reload the page when a template or spec changes.

    \b
    Example:
      engine serve --port 8001
    """
    from engine.commands import serve as live

    live.serve(port)


@app.command()
def publish(slugs: Slugs = None, json: Json = False) -> None:
    """Write this machine's numbers to investigations/SLUG/published/, to be committed with the text.

    Numbers are published all, tables where the report shows them or a chart of them.

    \b
    Example:
      engine publish fact-recall
    """
    from engine.commands import status as standing

    standing.publish(slugs, json=json)


@app.command()
def diff(slugs: Slugs = None, json: Json = False) -> None:
    """Compare the numbers measured here with the published ones. Exits 1 on drift.

    \b
    Example:
      engine diff fact-recall
    """
    from engine.commands import status as standing

    raise typer.Exit(1 if standing.diff(slugs, json=json) else 0)


@app.command()
def report(
    run_id: Annotated[int, typer.Option(help="A run's id, as `engine runs` lists it.")],
    output: Annotated[Path, typer.Option(help="The folder to write to.")] = Path(),
) -> None:
    """Write one run as a self-contained HTML page and as Markdown.

    \b
    Example:
      mech report --run-id 3
    """
    from engine.commands import runs as stored

    stored.report(run_id, output)


@app.command()
def new(
    name: Annotated[
        str, typer.Argument(help="The investigation's slug, or with --family the family's name.")
    ],
    family: Annotated[bool, typer.Option("--family", help="Start a family instead.")] = False,
    title: Annotated[str, typer.Option(help="The investigation's title.")] = "",
) -> None:
    """Start an investigation or a family from a commented skeleton that works as it stands.

    \b
    Example:
      engine new my-question --title "Does it know?"
    """
    from engine.commands import families as listings

    listings.new(name, family=family, title=title)


@app.command()
def families(
    name: Annotated[str | None, typer.Argument(help="One family, whole.")] = None, json: Json = False
) -> None:
    """List the families, or describe one with its parameters.

    \b
    Example:
      engine families logit_lens
    """
    from engine.commands import families as listings

    listings.families(name, json=json)


@app.command()
def calibrate(
    names: Annotated[list[str] | None, typer.Argument(metavar="FAMILY", help="All by default.")] = None,
    json: Json = False,
) -> None:
    """Run families on cases whose answer is known by construction. Exits 1 if one fails.

    \b
    Example:
      engine calibrate circuit_patching
    """
    from engine.commands import families as listings

    raise typer.Exit(0 if listings.calibrate(names, json=json) else 1)


@app.command()
def doctor(json: Json = False) -> None:
    """Say what this machine can and cannot do, and how to mend it. Exits 1 if the engine cannot work here.

    \b
    Example:
      engine doctor
    """
    from engine.commands import families as listings

    raise typer.Exit(0 if listings.doctor(json=json) else 1)
