"""`engine calibrate`, and the calibrations that a build runs where they are not current: it is said."""

from __future__ import annotations

from typing import Any

import pytest

from engine.commands.calibrate import current_calibrations
from tests.runs.toy import FAMILY, Toy

CALIBRATE = """

def calibrate():
    from engine.evidence.result import Calibration

    return [Calibration("twice", "two of one", "1 to 3", 2.0, 1.0, 3.0)]
"""


@pytest.fixture
def toy(toy: Toy) -> Toy:
    """A toy project with a family of known answers."""
    toy.write("engine/families/count_words.py", FAMILY + CALIBRATE)
    return toy


def test_what_takes_seconds_is_said_once_and_nothing_where_it_is_current(
    toy: Toy, capsys: pytest.CaptureFixture
) -> None:
    found = current_calibrations(toy.root)
    assert [case.name for case in found["count_words"]] == ["twice"]
    assert capsys.readouterr().out == "calibrating 1 family on known answers ...\n"
    assert current_calibrations(toy.root) == found
    assert capsys.readouterr().out == ""
    current_calibrations(toy.root, fresh=True, quiet=True)
    assert capsys.readouterr().out == ""


def test_a_family_that_is_not_there_is_refused_before_any_is_run(engine: Any, toy: Toy) -> None:
    answer = engine("calibrate", "logit_lense")
    assert (answer.code, "nearest: logit_lens" in answer.err) == (2, True)
