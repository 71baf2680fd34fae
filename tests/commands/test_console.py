"""How an Output is written: for a person, or for a program."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.commands.console import Output, TextTable, near_here, show, terminal_text


@dataclass(frozen=True)
class Row:
    value: float
    path: Path


TABLE = TextTable(["name", "why"], [("a", "x" * 200), ("longer", "")])
OUTPUT = Output(["first", TABLE], [Row(math.nan, Path("p"))])


def test_a_path_below_the_working_directory_is_told_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert near_here(tmp_path / "here/a/b") == Path("a/b")
    assert near_here(tmp_path / "elsewhere") == tmp_path / "elsewhere"


def test_a_person_gets_lines_and_aligned_tables_whose_last_column_is_whole(
    capsys: pytest.CaptureFixture,
) -> None:
    show(OUTPUT)
    assert capsys.readouterr().out.splitlines() == ["first", "name    why", "a       " + "x" * 200, "longer"]


def test_a_program_gets_the_data_alone(capsys: pytest.CaptureFixture) -> None:
    show(Output(OUTPUT.text, OUTPUT.data, as_json=True))
    assert json.loads(capsys.readouterr().out) == [{"value": None, "path": "p"}]


HOSTILE = "\x1b[2J\x1b]0;owned\x07 a\rb\x08\x9b31m \u202egnp.exe \ud83d\x00"


def test_nothing_in_a_text_commands_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show(Output([f"a title {HOSTILE}", TextTable(["a"], [[HOSTILE]])]))
    printed = capsys.readouterr().out
    assert not {c for c in printed if not c.isprintable()} - {"\n"}
    assert "\ufffd[2J" in printed and "owned" in printed
    assert terminal_text("tabs\tand\nlines, ümläuts, 日本, 😀") == "tabs\tand\nlines, ümläuts, 日本, 😀"


def test_json_keeps_what_it_says_and_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show(Output(data={"answer": HOSTILE}, as_json=True))
    printed = capsys.readouterr().out
    assert not {c for c in printed if not c.isprintable()} - {"\n"}
    assert json.loads(printed) == {"answer": HOSTILE}
