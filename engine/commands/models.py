"""`engine models`: the models that are known, and the fetch of one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from engine.commands.console import Output, TextTable, human_bytes
from engine.commands.options import Json
from engine.commands.progress import progress
from engine.models.cards import availability, fits, is_cached, known_models, memory_needed
from engine.models.fetch import fetch

app = typer.Typer(add_completion=False)

OTHERS = "\nBesides these, any hub id (org/model, safetensors) and any local folder or GGUF file is a model."


@app.callback(invoke_without_command=True)
def models(context: typer.Context, json: Json = False) -> Output | None:
    """List the models with size, licence, source, whether they are cached and whether they fit this machine.

    \b
    Example:
      engine models get smollm2-135m-instruct
    """
    if context.invoked_subcommand is not None:
        return None
    rows = [
        {
            "name": card.name,
            "download_bytes": card.size_bytes,
            "memory_bytes": memory_needed(card),
            "licence": card.licence,
            "cached": is_cached(card),
            "fits": fits(card),
            "note": availability(card.name)[1],
            "source": card.source,
        }
        for card in known_models()
    ]
    headers = ["model", "download", "memory", "licence", "here", "source"]
    return Output([TextTable(headers, [_cells(row) for row in rows]), OTHERS], rows, json)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    memory = human_bytes(row["memory_bytes"]) + ("" if row["fits"] else " (too large here)")
    here = "cached" if row["cached"] else row["note"]
    return (row["name"], human_bytes(row["download_bytes"]), memory, row["licence"], here, row["source"])


@app.command("get")
def models_get(
    name: Annotated[str, typer.Argument(help="A known name, a hub id, or a path.")],
) -> Output:
    """Fetch a model into the cache; resumes where an earlier fetch stopped.

    \b
    Example:
      engine models get qwen2.5-coder-0.5b-instruct
    """
    with progress(f"fetching {name}") as bar:
        folder = fetch(name, lambda what, done, total: bar.update(done / total if total else 0.0, what))
    return Output([f"{name} is ready at {folder}"])
