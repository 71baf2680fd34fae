"""The command line: `engine`, or `mech` for short. Lists the commands, and imports one when it is called.

Exit status 0: done. 1: done, and something needs a person. 2: it could not be done.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from engine.commands.console import Output, show, terminal_text
from engine.commands.options import Program
from engine.errors import EngineError

# In the order of help. A command is the module engine/commands/NAME.py; its line here opens its docstring.
COMMANDS = {
    "build": "Measure what is stale within a budget, then build the site.",
    "status": "Say for each experiment whether it is up to date, and if not, which input changed.",
    "run": "Measure one experiment, or every experiment of a spec file, and print its numbers.",
    "sweep": (
        "Sweep an experiment over parameters, hook sites or amounts of data, and measure it as one table."
    ),
    "analyze-sae-stability": (
        "Say how alike the dictionaries of a sweep over seeds are, beside what chance gives."
    ),
    "audit-refusal": (
        "Say whether refusal is separable in a chat model, whether it is controllable, and at what cost."
    ),
    "steer": "Compare a model's answer as it is, steered by a vector, and by a random direction.",
    "check": (
        "Find what needs a person: broken sentences, failed checks "
        "and calibrations, drift, hand-typed numbers."
    ),
    "serve": "Serve the site on this machine and reload the page when a template or spec changes.",
    "publish": (
        "Write this machine's numbers to investigations/SLUG/published/, to be committed with the text."
    ),
    "diff": (
        "Tell what moved: numbers with their intervals, verdicts that flipped, sentences that rest on either."
    ),
    "report": "Write one run as a self-contained HTML page and as Markdown.",
    "paper": "Draft papers from the evidence, build them, and list those of this project.",
    "thread": "Draft threads from the evidence, build them as posts with pictures, and list them.",
    "demo": "Serve four panels on a live model: patching, logit lens, SAE features, steering.",
    "new": "Start an investigation or a family from a commented skeleton that works as it stands.",
    "families": "List the families, or describe one with its parameters.",
    "calibrate": "Run families on cases whose answer is known by construction. Exits 1 if one fails.",
    "doctor": (
        "Say what this machine can and cannot do, and how to mend it. Exits 1 if the engine cannot work here."
    ),
    "models": (
        "List the models with size, licence, source, whether they "
        "are cached and whether they fit this machine."
    ),
    "runs": "List the runs in the store, newest last.",
    "sae": "Take sparse autoencoders in and out as SAELens folders, and list those of this project.",
}


class CommandModules(Mapping[str, Any]):
    """The commands by name; looking one up imports its module."""

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        module = import_module(f"engine.commands.{name.replace('-', '_')}")
        return get_command(module.app)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class LazyGroup(TyperGroup):
    """A group whose help is made from `COMMANDS` alone, so that only what is called is imported."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = CommandModules()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command as help lists it: its name and line."""
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command to call, imported."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, self.commands[name] if listed and name else None, rest


def _print_output(output: Output | None, **options: Any) -> None:
    """The one place where what a command returned is printed and becomes an exit status."""
    if output is not None:
        show(output)
        raise typer.Exit(output.exit_status)


app = typer.Typer(
    name="engine",
    cls=LazyGroup,
    help="Measure what is stale, inject the numbers, judge the claims, publish the site.",
    no_args_is_help=True,
    result_callback=_print_output,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the program; a refusal becomes one clear message and exit status 2."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    if debug and arguments:
        arguments.insert(0, "--debug")  # wherever it was typed, the group takes it
    try:
        app(arguments, prog_name=Path(sys.argv[0]).name)
    except EngineError as error:
        if debug:
            raise
        print(terminal_text(f"error: {error}"), file=sys.stderr)
        sys.exit(2)


def _version(wanted: bool) -> None:
    if wanted:
        # It reads mail headers, for which it loads as much as the rest of this module; help needs none of it.
        from importlib.metadata import version

        typer.echo(f"mech-interpretability {version('mech-interpretability')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say it.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Measure what is stale, inject the numbers, judge the claims, publish the site.

    The program is called engine and mech; wherever one is written, the other works.
    """
    context.obj = Program(app, debug)
