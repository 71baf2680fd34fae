"""What a budget buys where some costs are known and others guessed, and that thousands of runs are quick."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from engine.runs.planning.cost import CostEstimate
from engine.runs.planning.keys import RunInputs
from engine.runs.planning.selection import Selection
from engine.runs.planning.staleness import RunStatus
from engine.runs.store.record import RunName
from engine.spec.models import Experiment

NO_INPUTS = RunInputs({}, {}, None, {}, {})


def name(experiment: str, model: str = "tiny") -> RunName:
    return RunName("words", experiment, (), model)


def new(run: RunName, *needs: RunName) -> RunStatus:
    return RunStatus(run, Experiment(family="count_words"), NO_INPUTS, needs, "new", "never measured here")


def known(seconds: float) -> CostEstimate:
    return CostEstimate(seconds, 1.5, 0, "run 1 here")


def guess(seconds: float) -> CostEstimate:
    return CostEstimate(seconds, 6.0, 0, "a guess", is_guess=True)


def selection(runs: list[RunStatus], estimates: dict[RunName, CostEstimate], **more: Any) -> Selection:
    models = {run.name.model: 1.0 for run in runs}
    fields = {"fresh": False, "changed": False, "select": lambda run: True} | more
    return Selection(runs, estimates, models, {"words": "tiny"}, **fields)


@pytest.mark.parametrize(
    ("budget", "bought"),
    [
        (10.0, []),  # the measured one does not fit, nor does the low end of either guess
        (12.0, ["wild"]),  # 1 s for the model, 10 s are the low end
        (21.0, ["measured"]),
        (31.0, ["measured", "wild"]),  # 60 s by its middle
        (60.0, ["measured", "wild"]),
        (81.0, ["measured", "wild", "wilder"]),
        (math.inf, ["measured", "wild", "wilder"]),
    ],
)
def test_a_guess_takes_what_is_left_after_what_is_known(budget: float, bought: list[str]) -> None:
    runs = [new(name("wild")), new(name("wilder")), new(name("measured"))]
    estimates = {name("wild"): guess(60), name("wilder"): guess(300), name("measured"): known(20)}
    assert [run.experiment for run in selection(runs, estimates).within(budget)] == bought


def test_a_known_run_that_needs_a_guessed_one_counts_as_guessed() -> None:
    runs = [new(name("first")), new(name("second"), name("first")), new(name("alone"))]
    estimates = {name("first"): guess(6), name("second"): known(1), name("alone"): known(50)}
    chosen = selection(runs, estimates)
    assert chosen.is_guessed(name("second"))
    assert [run.experiment for run in chosen.within(1000.0)] == ["alone", "first", "second"]


def test_what_is_needed_is_paid_once_and_a_model_is_loaded_once() -> None:
    runs = [new(name("base")), new(name("a"), name("base")), new(name("b"), name("base"))]
    estimates = {name("base"): known(10), name("a"): known(2), name("b"): known(2)}
    assert len(list(selection(runs, estimates).within(15.0))) == 3  # 1 + 10 + 2 + 2
    assert len(list(selection(runs, estimates).within(14.9))) == 2


def test_two_thousand_runs_are_chosen_within_a_second() -> None:
    runs = []
    for index in range(1000):
        runs += [new(name(f"train{index}")), new(name(f"compare{index}"), name(f"train{index}"))]
    estimates = {run.name: known(1.0 + index % 7) for index, run in enumerate(runs)}
    started = time.process_time()
    assert len(list(selection(runs, estimates).within(math.inf))) == 2000
    assert time.process_time() - started < 1.0
