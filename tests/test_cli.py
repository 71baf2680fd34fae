"""The command line itself: what it lists, what it imports, and where what a command returned ends."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer.main

from engine.cli import COMMANDS, app


def test_help_imports_nothing_heavy():
    heavy = "{'torch', 'altair', 'pandas', 'mkdocs', 'transformers', 'ray'}"
    code = f"""
import sys
sys.argv = ["engine", "--help"]
from engine.cli import main
try: main()
except SystemExit: pass
sys.exit(", ".join({heavy} & set(sys.modules)) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_a_command_opens_its_docstring(name: str) -> None:
    module = import_module(f"engine.commands.{name.replace('-', '_')}")
    command = typer.main.get_command(module.app)
    assert (command.help or "").splitlines()[0] == COMMANDS[name]
    function = getattr(module, name.replace("-", "_"))
    assert inspect.getmodule(function) is module  # a module is named as its command


def test_every_command_is_reached_by_its_name_and_no_other() -> None:
    commands: Any = vars(typer.main.get_command(app))["commands"]
    assert list(commands) == list(COMMANDS)
    assert [command.name for command in commands.values()][:2] == ["build", "status"]
    assert "biuld" not in commands


def test_a_command_that_is_not_there_is_refused_with_the_nearest(engine: Any) -> None:
    answer = engine("statsu")
    assert answer.code == 2
    assert "status" in answer.err


@pytest.mark.parametrize("arguments", [["status"], ["build"], ["check"], ["runs"]], ids=" ".join)
def test_a_command_that_measures_nothing_imports_no_torch(
    engine: Any, project: Path, arguments: list[str]
) -> None:
    assert engine("build").code == 0
    code = f"""
import sys
sys.argv = ["engine", *{arguments}]
from engine.cli import main
try: main()
except SystemExit as end: assert end.code in (0, None), end.code
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
