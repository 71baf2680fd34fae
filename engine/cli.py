"""The command line: `engine`, or `mech` for short. Bodies import what they need, so that help is immediate.

Exit status 0: done. 1: done, and something needs a person. 2: it could not be done.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import EngineError

app = typer.Typer(
    name="engine",
    help="Measure what is stale, inject the numbers, judge the claims, publish the site.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models_app = typer.Typer()
runs_app = typer.Typer()
app.add_typer(models_app, name="models")
app.add_typer(runs_app, name="runs")

Slugs = Annotated[list[str] | None, typer.Argument(metavar="SLUG", help="Investigations; all by default.")]
Json = Annotated[bool, typer.Option("--json", help="Print what a program may read.")]
Models = Annotated[list[str] | None, typer.Option("--model", help="Only this model; may be repeated.")]
Force = Annotated[bool, typer.Option("--force", "--fresh", help="Measure even what is up to date.")]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Runs measured at once on this machine; decided by default.")
]
Cluster = Annotated[
    str | None, typer.Option(metavar="auto|HOST:PORT", help="Measure on this Ray cluster, from a node of it.")
]
Output = Annotated[Path | None, typer.Option(help="The file to write.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and measure nothing.")]


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
    from engine import build as building

    hands = building.Hands(jobs, cluster)
    outcome = building.build(
        slugs, budget, models=model, fresh=force, dry_run=dry_run, out=out, hands=hands, json=json
    )
    raise typer.Exit(1 if strict and outcome.needs_a_person else 0)


@app.command()
def status(slugs: Slugs = None, model: Models = None, json: Json = False) -> None:
    """Say for each experiment whether it is up to date, and if not, which input changed.

    \b
    Example:
      engine status fact-recall
    """
    from engine import listings

    listings.status(slugs, models=model, json=json)


@app.command()
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
    from engine import build as building

    if (name is None) == (spec is None):
        raise EngineError(
            "say what to run",
            where="engine run",
            expected="either --name INVESTIGATION/EXPERIMENT or --spec FILE",
            seen="both" if name else "neither",
        )
    hands = building.Hands(jobs, cluster)
    complete = building.run(name, spec, models=model, force=force, dry_run=dry_run, json=json, hands=hands)
    raise typer.Exit(0 if complete else 1)


@app.command()
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
    from engine import build as building
    from engine import sweeping

    made = sweeping.make(base, axis, experiment=experiment, output=output)
    if not execute:
        sweeping.tell(made, json=json)
        return
    complete = sweeping.measured(
        made, models=model, dry_run=dry_run, hands=building.Hands(jobs, cluster), json=json
    )
    raise typer.Exit(0 if complete else 1)


@app.command("analyze-sae-stability")
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
    from engine import build as building
    from engine import stability

    complete = stability.analyze(
        sweep,
        live_only=live_only,
        output=output,
        models=model,
        dry_run=dry_run,
        hands=building.Hands(jobs, cluster),
        json=json,
    )
    raise typer.Exit(0 if complete else 1)


@app.command()
def check(slugs: Slugs = None, json: Json = False) -> None:
    """Find what needs a person: broken sentences, failed checks and calibrations, drift, hand-typed numbers.

    Measures nothing. Exits 1 if it finds something.

    \b
    Example:
      engine check
    """
    from engine import build as building

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
    from engine import live

    live.serve(port)


@app.command()
def publish(slugs: Slugs = None, json: Json = False) -> None:
    """Write this machine's numbers to investigations/SLUG/published/, to be committed with the text.

    \b
    Example:
      engine publish fact-recall
    """
    from engine import listings

    listings.publish(slugs, json=json)


@app.command()
def diff(slugs: Slugs = None, json: Json = False) -> None:
    """Compare the numbers measured here with the published ones. Exits 1 on drift.

    \b
    Example:
      engine diff fact-recall
    """
    from engine import listings

    raise typer.Exit(1 if listings.diff(slugs, json=json) else 0)


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
    from engine import listings

    listings.report(run_id, output)


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
    from engine import listings

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
    from engine import listings

    listings.families(name, json=json)


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context, json: Json = False) -> None:
    """List the models with size, licence, source, whether they are cached and whether they fit this machine.

    \b
    Example:
      engine models get smollm2-135m-instruct
    """
    from engine import listings

    if context.invoked_subcommand is None:
        listings.models(json=json)


@models_app.command("get")
def models_get(
    name: Annotated[str, typer.Argument(help="A known name, a hub id, or a path.")],
) -> None:
    """Fetch a model into the cache; resumes where an earlier fetch stopped.

    \b
    Example:
      engine models get qwen2.5-coder-0.5b-instruct
    """
    from engine import listings

    listings.fetch_model(name)


@runs_app.callback(invoke_without_command=True)
def runs(context: typer.Context, json: Json = False) -> None:
    """List the runs in the store, newest last.

    \b
    Example:
      engine runs
    """
    from engine import listings

    if context.invoked_subcommand is None:
        listings.runs(json=json)


@runs_app.command("show")
def runs_show(run_id: Annotated[int, typer.Argument(help="The run's id.")], json: Json = False) -> None:
    """Print one run's numbers, checks and provenance, and what it logged.

    \b
    Example:
      engine runs show 3
    """
    from engine import listings

    listings.show_run(run_id, json=json)


@runs_app.command("gc")
def runs_gc(
    yes: Annotated[bool, typer.Option("--yes", help="Delete them; without it they are only listed.")] = False,
) -> None:
    """Free the disk that superseded and damaged runs take, and activations that no run to be measured needs.

    \b
    Example:
      engine runs gc --yes
    """
    from engine import listings

    listings.collect_garbage(yes)


@runs_app.command("rebuild")
def runs_rebuild() -> None:
    """Make the store's database again from the run folders, which hold everything.

    \b
    Example:
      engine runs rebuild
    """
    from engine import listings

    listings.rebuild_store()


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
    from engine import listings

    raise typer.Exit(0 if listings.calibrate(names, json=json) else 1)


@app.command()
def doctor(json: Json = False) -> None:
    """Say what this machine can and cannot do, and how to mend it. Exits 1 if the engine cannot work here.

    \b
    Example:
      engine doctor
    """
    from engine import listings

    raise typer.Exit(0 if listings.doctor(json=json) else 1)
