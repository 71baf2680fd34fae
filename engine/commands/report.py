"""`mech report`: one run as a self-contained page and as Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.commands.console import Output, human_bytes
from engine.errors import EngineError
from engine.report.run_page import run_page
from engine.runs.assemble import stored_entry
from engine.runs.investigation import find_root_or_here
from engine.runs.store.store import open_store

app = typer.Typer(add_completion=False)


@app.command()
def report(
    run_id: Annotated[int, typer.Option(help="A run's id, as `engine runs` lists it.")],
    output: Annotated[Path, typer.Option(help="The folder to write to.")] = Path(),
) -> Output:
    """Write one run as a self-contained HTML page and as Markdown.

    \b
    Example:
      mech report --run-id 3
    """
    with open_store(find_root_or_here()) as store:
        stored = store.run(run_id)
        entry = stored_entry(store, stored)
    html, markdown = run_page(entry, stored.record.inputs.experiment)
    text = []
    try:
        output.mkdir(parents=True, exist_ok=True)
        for suffix, page in (("html", html), ("md", markdown)):
            file = output / f"run-{run_id}.{suffix}"
            file.write_text(page, encoding="utf-8")
            text.append(f"{file} ({human_bytes(len(page.encode()))})")
    except OSError as error:
        raise EngineError("the report cannot be written", where=str(output), seen=str(error)) from error
    return Output(text)
