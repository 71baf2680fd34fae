"""What a family may return: roles, checks, calibrations, and what is no evidence."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from engine.errors import ResultError
from engine.evidence.result import Calibration, Check, Figure, Measurement, Result

SCORE = Measurement("score", 1.0, 0.5, 1.5, 20, "prompt")
CHANCE = Measurement("chance", 0.1, 0.0, 0.2, 20, "prompt")
RANKS = pd.DataFrame({"layer": [0, 1], "rank": [5, 1]})
CURVE = Figure("line", "ranks", {"x": "layer", "y": "rank"}, "Rank by layer")
WHOLE = Result([SCORE], [CHANCE], tables={"ranks": RANKS}, figures={"curve": CURVE})


def test_a_whole_result_is_handed_back_as_it_is() -> None:
    assert WHOLE.validated() is WHOLE


def test_measurements_take_their_role_from_where_they_stand_findings_first() -> None:
    found = Result([SCORE], [replace(CHANCE, role="finding")]).measurements
    assert [(name, m.role) for name, m in found.items()] == [("score", "finding"), ("chance", "control")]


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (replace(WHOLE, controls=[]), "at least one control"),
        (replace(WHOLE, controls=[CHANCE, replace(SCORE, value=2.0)]), "two measurements are called 'score'"),
        (replace(WHOLE, findings=[replace(SCORE, value=float("nan"))]), "score is not a number"),
        (replace(WHOLE, controls=[replace(CHANCE, value=float("inf"))]), "chance is not a number"),
        (replace(WHOLE, tables={}), "figure 'curve' draws what is not there"),
        (replace(WHOLE, tables={"ranks": RANKS[["layer"]]}), "figure 'curve' draws what is not there"),
    ],
)
def test_what_is_no_evidence_is_refused_with_its_place(result: Result, says: str) -> None:
    with pytest.raises(ResultError, match=says) as caught:
        result.validated("words/count")
    assert caught.value.where == "words/count"


def test_a_figure_without_its_column_says_which_there_are() -> None:
    with pytest.raises(ResultError) as caught:
        replace(WHOLE, tables={"ranks": RANKS.rename(columns={"rank": "place"})}).validated()
    assert caught.value.expected == "table 'ranks' with columns ['layer', 'rank']"
    assert caught.value.seen == "['layer', 'place']"


@pytest.mark.parametrize(
    ("value", "passed"),
    [(0.0, True), (1e-5, True), (1.1e-5, False), (float("nan"), False), (float("inf"), False)],
)
def test_a_check_passes_up_to_its_limit_and_never_where_its_number_is_lost(
    value: float, passed: bool
) -> None:
    check = Check("identity", value, 1e-5, "a equals b")
    assert check.passed is passed
    assert Result(checks=[check]).failed_checks == ([] if passed else [check])


@pytest.mark.parametrize(
    ("seen", "passed"), [(0.9, True), (1.0, True), (1.1, True), (1.2, False), (float("nan"), False)]
)
def test_a_calibration_passes_between_its_ends(seen: float, passed: bool) -> None:
    assert Calibration("known", "a known answer", "1 within 0.1", seen, 0.9, 1.1).passed is passed
