"""The README's rows of commands: each can be typed as it stands, after the rows before it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main

from engine.cli import app
from engine.models.micro import WORDS, micro_model
from tests.conftest import REPOSITORY, save_model

README = (REPOSITORY / "README.md").read_text()
ROWS = re.findall(r"`((?:engine|mech) [a-z][^`]*)`", README)


def row(command: str) -> list[str]:
    """The words of the first row that begins so, the program's name apart."""
    return shlex.split(next(line for line in ROWS if line.split()[1] == command))[1:]


@pytest.mark.parametrize("line", ROWS)
def test_a_row_names_a_command_and_options_that_there_are(line: str) -> None:
    commands: Any = vars(typer.main.get_command(app))["commands"]
    name, *rest = shlex.split(line)[1:]
    command = commands[name]
    if rest and rest[0] in getattr(command, "commands", {}):  # one of a group
        command = command.commands[rest[0]]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= options


def test_the_rows_of_a_spec_of_ones_own_work_one_after_the_other(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = re.search(r"```yaml\n(family: polysemanticity_sae.*?)```", README, re.S)
    assert written
    small = written[1].replace("smollm2-135m-instruct", str(tmp_path / "model"))
    small = small.replace("{name: smollm2-samples, tokens: 20_000}", "text.txt")
    (tmp_path / "my-experiment.yaml").write_text(small.replace("n_features: 256", "n_features: 32"))
    save_model(micro_model(d_model=32), tmp_path / "model")
    words = np.random.default_rng(0).choice(WORDS, size=3000)
    (tmp_path / "text.txt").write_text(" ".join(words))
    monkeypatch.setenv("MECH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for command, told in (("run", "run 1"), ("sweep", "sweep.csv"), ("analyze-sae-stability", "3 seeds")):
        arguments = row(command) if command != "run" else ["run", "--spec", "my-experiment.yaml"]
        answer = engine(*arguments)
        assert answer.code == 0, answer.err
        assert told in answer.out
