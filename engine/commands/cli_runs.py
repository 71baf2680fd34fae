"""`engine runs` and what follows it."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.commands.options import Json

app = typer.Typer()


@app.callback(invoke_without_command=True)
def runs(context: typer.Context, json: Json = False) -> None:
    """List the runs in the store, newest last.

    \b
    Example:
      engine runs
    """
    from engine.commands import runs as stored

    if context.invoked_subcommand is None:
        stored.runs(json=json)


@app.command("show")
def runs_show(run_id: Annotated[int, typer.Argument(help="The run's id.")], json: Json = False) -> None:
    """Print one run's numbers, checks and provenance, and what it logged.

    \b
    Example:
      engine runs show 3
    """
    from engine.commands import runs as stored

    stored.show_run(run_id, json=json)


@app.command("gc")
def runs_gc(
    yes: Annotated[bool, typer.Option("--yes", help="Delete them; without it they are only listed.")] = False,
) -> None:
    """Free the disk that superseded and damaged runs take, and activations that no run to be measured needs.

    \b
    Example:
      engine runs gc --yes
    """
    from engine.commands import runs as stored

    stored.collect_garbage(yes)


@app.command("rebuild")
def runs_rebuild() -> None:
    """Make the store's database again from the run folders, which hold everything.

    \b
    Example:
      engine runs rebuild
    """
    from engine.commands import runs as stored

    stored.rebuild_store()
