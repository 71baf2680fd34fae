"""Calibrations are kept while the code that they rest on is what it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.errors import StoreError
from engine.evidence.result import Calibration
from engine.runs.calibrations import FILE, calibrations
from engine.runs.sources import Sources

CASE = Calibration("known answer", "A case.", "1", 1.0, 0.9, 1.1)


@pytest.fixture
def counted(toy: Any) -> tuple[Sources, list[str]]:
    """The toy's sources, whose families calibrate, and a note of each time that one did."""
    done: list[str] = []

    def family(name: str) -> Any:
        def calibrate() -> list[Calibration]:
            done.append(name)
            return [CASE]

        return SimpleNamespace(calibrate=calibrate)

    (toy.root / ".engine").mkdir()
    return replace(toy.sources(), family=family), done


def test_a_calibration_is_run_once_until_its_code_changes(toy: Any, counted: tuple[Any, list[str]]) -> None:
    sources, done = counted
    assert calibrations(toy.root, sources) == {"count_words": [CASE]}
    assert calibrations(toy.root, sources) == {"count_words": [CASE]}
    assert len(done) == 1
    toy.edit("engine/lab/tools.py", "2 * k", "3 * k")
    assert calibrations(toy.root, sources, measure=False) == {}
    calibrations(toy.root, sources)
    assert len(done) == 2
    calibrations(toy.root, sources, fresh=True)
    assert len(done) == 3


def test_a_file_that_cannot_be_read_is_made_anew(toy: Any, counted: tuple[Any, list[str]]) -> None:
    sources, done = counted
    (toy.root / ".engine" / FILE).write_text("{")
    assert calibrations(toy.root, sources) == {"count_words": [CASE]}
    assert len(done) == 1


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, counted: tuple[Any, list[str]]) -> None:
    sources, _ = counted
    (tmp_path / "root").write_text("a file")
    with pytest.raises(StoreError, match="calibrations cannot be kept"):
        calibrations(tmp_path / "root", sources)
