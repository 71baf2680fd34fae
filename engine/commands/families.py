"""`engine families`: every family in a line, or one with its method and parameters."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from engine import families as registry
from engine.commands.console import Output, TextTable
from engine.commands.options import Json

app = typer.Typer(add_completion=False)


@app.command()
def families(
    name: Annotated[str | None, typer.Argument(help="One family, whole.")] = None, json: Json = False
) -> Output:
    """List the families, or describe one with its parameters.

    \b
    Example:
      engine families logit_lens
    """
    chosen = [name] if name else registry.names()
    described = {family: _describe(family) for family in chosen}
    if name:
        parameters = [tuple(row.values()) for row in described[name]["parameters"]]
        table = TextTable(["parameter", "default", "what it is"], parameters)
        return Output([registry.docstring(name), "", table], described, json)
    rows = [(family, about["about"]) for family, about in described.items()]
    return Output([TextTable(["family", "what it measures"], rows)], described, json)


def _describe(name: str) -> dict[str, Any]:
    rows = []
    for parameter, field in registry.params_model(name).model_fields.items():
        default = "required" if field.is_required() else str(field.default)
        rows.append({"name": parameter, "default": default, "about": field.description or ""})
    return {"about": registry.about(name), "parameters": rows}
