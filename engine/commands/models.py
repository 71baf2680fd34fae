"""`engine models` and what follows it."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.commands.options import Json

app = typer.Typer()


@app.callback(invoke_without_command=True)
def models(context: typer.Context, json: Json = False) -> None:
    """List the models with size, licence, source, whether they are cached and whether they fit this machine.

    \b
    Example:
      engine models get smollm2-135m-instruct
    """
    from engine.commands import families as listings

    if context.invoked_subcommand is None:
        listings.models(json=json)


@app.command("get")
def models_get(
    name: Annotated[str, typer.Argument(help="A known name, a hub id, or a path.")],
) -> None:
    """Fetch a model into the cache; resumes where an earlier fetch stopped.

    \b
    Example:
      engine models get qwen2.5-coder-0.5b-instruct
    """
    from engine.commands import families as listings

    listings.fetch_model(name)
