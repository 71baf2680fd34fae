"""How an Output is written: for a person, or for a program."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.commands.console import Output, TextTable, show


@dataclass(frozen=True)
class Row:
    value: float
    path: Path


TABLE = TextTable(["name", "why"], [("a", "x" * 200), ("longer", "")])
OUTPUT = Output(["first", TABLE], [Row(math.nan, Path("p"))])


def test_a_person_gets_lines_and_aligned_tables_whose_last_column_is_whole(
    capsys: pytest.CaptureFixture,
) -> None:
    show(OUTPUT)
    assert capsys.readouterr().out.splitlines() == ["first", "name    why", "a       " + "x" * 200, "longer"]


def test_a_program_gets_the_data_alone(capsys: pytest.CaptureFixture) -> None:
    show(Output(OUTPUT.text, OUTPUT.data, as_json=True))
    assert json.loads(capsys.readouterr().out) == [{"value": None, "path": "p"}]
