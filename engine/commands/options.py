"""The options that several commands share, each with the one help that it has everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

Slugs = Annotated[list[str] | None, typer.Argument(metavar="SLUG", help="Investigations; all by default.")]
Json = Annotated[bool, typer.Option("--json", help="Print what a program may read.")]
Models = Annotated[list[str] | None, typer.Option("--model", help="Only this model; may be repeated.")]
Force = Annotated[bool, typer.Option("--force", "--fresh", help="Measure even what is up to date.")]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Processes at once on this machine; decided by default.")
]
Cluster = Annotated[
    str | None, typer.Option(metavar="auto|HOST:PORT", help="Measure on this Ray cluster, from a node of it.")
]
OutputFile = Annotated[Path | None, typer.Option(help="The file to write.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="A row for every run, not only where one is due.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and measure nothing.")]


@dataclass(frozen=True)
class Program:
    """What a command is told of the program that calls it, as `context.obj`.

    `app` is the whole command line, which the reference page describes; `debug` is `--debug`.
    """

    app: typer.Typer
    debug: bool = False
