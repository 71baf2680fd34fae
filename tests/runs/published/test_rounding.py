"""Published numbers: six digits, no default, and the same bytes for the same numbers as ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.runs.published.read import published_entry, read_published
from engine.runs.published.rounding import rounded, with_floats, without_defaults
from engine.runs.published.write import run_data
from engine.runs.store.codec import plain

COMMITTED = sorted((Path(__file__).parents[3] / "investigations").glob("*/published"))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.123456789, "0.123457"),
        (1234567.0, "1234570.0"),
        (25.0, "25"),
        (-0.0, "0"),
        (float("nan"), '"nan"'),
        (float("inf"), '"inf"'),
        (np.float64(2.5), "2.5"),
        (3, "3"),
        (None, "null"),
    ],
)
def test_a_number_is_written_with_six_digits(value: Any, written: str) -> None:
    assert json.dumps(rounded({"value": value})["value"], default=plain) == written


def test_defaults_are_left_out_and_floats_come_back() -> None:
    fields = {"about": "", "exact": False, "n": 0, "value": 25, "low": None, "high": 0.5}
    assert without_defaults(fields) == {"n": 0, "value": 25, "low": None, "high": 0.5}
    again = with_floats(fields)
    assert isinstance(again["value"], float)
    assert again["low"] is None


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.parent.name)
def test_what_is_committed_reads_back_and_is_written_as_it_was(folder: Path) -> None:
    for run in read_published(folder).runs.values():
        entry = published_entry(run, "")
        data, files = run_data(entry, None)
        written = json.loads(json.dumps(data, default=plain, allow_nan=False))
        for part in ("experiment", "point", "measurements", "checks", "provenance"):
            assert written[part] == run.data[part], (run.experiment, part)
        assert written["figures"].items() <= run.data["figures"].items()
        for file, content in files.items():
            assert content == (folder / file).read_bytes()
