"""`engine new`: an investigation or a family from a commented skeleton."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.commands.console import Output
from engine.runs.investigation import find_root
from engine.spec.scaffold import new_family, new_investigation

app = typer.Typer(add_completion=False)


@app.command()
def new(
    name: Annotated[
        str, typer.Argument(help="The investigation's slug, or with --family the family's name.")
    ],
    family: Annotated[bool, typer.Option("--family", help="Start a family instead.")] = False,
    title: Annotated[str, typer.Option(help="The investigation's title.")] = "",
) -> Output:
    """Start an investigation or a family from a commented skeleton that works as it stands.

    \b
    Example:
      engine new my-question --title "Does it know?"
      engine new my_method --family
    """
    root = find_root()
    if family:
        written = new_family(name, root / "engine", root / "tests")
        after = f"engine calibrate {name}"
        more = ["what a family can use: the site's page reference/instruments, and its tutorial"]
    else:
        folder = root / "investigations" / name
        written = new_investigation(folder, name, title or name.replace("-", " ").capitalize())
        after = f"engine build {name}"
        more = []
    text = [f"wrote {path.relative_to(root)}" for path in written]
    return Output([*text, *more, f"it works as it stands: {after}"])
