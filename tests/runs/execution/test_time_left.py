"""The time that is left follows the pace of the build, and says where it is only a guess."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from engine.runs.execution.events import Event
from engine.runs.execution.time_left import LEAST_SECONDS, TimeLeft
from engine.runs.planning.plan import Plan, PlannedRun


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def estimated(plan: Plan, seconds: float, is_guess: bool = False, budget: float = math.inf) -> Plan:
    """The plan with this estimate for every run, and models that cost nothing to load."""
    estimates = [replace(run.estimate, seconds=seconds, is_guess=is_guess) for run in plan.runs]
    runs = [replace(run, estimate=cost) for run, cost in zip(plan.runs, estimates, strict=True)]
    return replace(plan, runs=tuple(runs), model_seconds={}, budget_seconds=budget)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def begin(toy: Any, clock: Clock, **estimate: Any) -> tuple[TimeLeft, list[PlannedRun]]:
    """A build of three runs, of which the first has begun."""
    toy.spec(count={"sweep": {"k": [1, 2, 3]}})
    plan = estimated(toy.plan(), **estimate)
    left = TimeLeft(plan, clock)
    left.start(plan.order[0])
    return left, plan.to_measure


def test_the_first_word_of_progress_replaces_the_estimate(toy: Any, clock: Clock) -> None:
    left, (first, *_) = begin(toy, clock, seconds=4.0, is_guess=True)
    assert (left.of_run(first).seconds, left.of_run(first).is_guess) == (4.0, True)
    clock.now += 10
    left.progress(first.name, 0.25)
    assert (left.of_run(first).seconds, left.of_run(first).is_guess) == (30.0, False)


def test_there_is_never_nothing_left_of_a_run_that_goes_on(toy: Any, clock: Clock) -> None:
    left, (first, *_) = begin(toy, clock, seconds=4.0)
    clock.now += 10
    assert left.of_run(first).seconds is None  # longer than estimated, and it has not said how far it is
    left.progress(first.name, 1.0)
    assert left.of_run(first).seconds == LEAST_SECONDS
    clock.now += 10
    assert left.of_run(first).seconds == LEAST_SECONDS
    assert left.of_plan([run.name for run in left.plan.to_measure[1:]]).seconds == LEAST_SECONDS


def test_what_a_run_takes_puts_the_estimates_of_its_like_right(toy: Any, clock: Clock) -> None:
    left, (first, second, _) = begin(toy, clock, seconds=4.0, is_guess=True)
    assert left.of_plan([]).seconds == 12.0
    assert left.of_plan([]).is_guess
    clock.now += 10
    left.progress(first.name, 0.5)
    assert left.of_run(second).seconds == 20.0
    assert left.of_plan([]).seconds == 10.0 + 20.0 + 20.0
    assert not left.of_plan([]).is_guess
    left.done(first.name, 24.0)
    assert left.of_plan([first.name]).seconds == 48.0


def test_runs_that_go_on_at_once_share_what_is_left(toy: Any, clock: Clock) -> None:
    left, (first, second, _) = begin(toy, clock, seconds=4.0)
    left.start(second.name)
    assert left.of_plan([]).seconds == (4.0 + 4.0 + 4.0) / 2
    clock.now += 1
    left.progress(first.name, 0.01)
    seconds = left.of_plan([]).seconds
    assert seconds is not None
    assert seconds >= 99.0  # the longest of them ends last


def test_a_guess_alone_puts_no_run_over_the_budget(toy: Any, clock: Clock) -> None:
    left, (first, second, _) = begin(toy, clock, seconds=600.0, is_guess=True, budget=60)
    assert not left.is_over_budget(second)
    clock.now += 2
    left.done(first.name, 2.0)
    assert not left.is_over_budget(second)  # two seconds each, whatever was guessed
    left.done(first.name, 59.0)
    assert left.is_over_budget(second)


def test_what_was_measured_before_puts_a_run_over_the_budget(toy: Any, clock: Clock) -> None:
    left, (_, second, _) = begin(toy, clock, seconds=50.0, budget=60)
    clock.now += 5
    assert not left.is_over_budget(second)
    clock.now += 20
    assert left.is_over_budget(second)


def test_a_run_that_failed_says_nothing_about_others(toy: Any, clock: Clock) -> None:
    left, (first, second, _) = begin(toy, clock, seconds=4.0, is_guess=True)
    clock.now += 10
    left.progress(first.name, 0.1)
    left.failed(first.name)
    assert (left.of_run(second).seconds, left.of_run(second).is_guess) == (4.0, True)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_build_labels_a_guess_until_it_has_a_pace(toy: Any, jobs: int) -> None:
    toy.spec(first={}, second={"uses": {"of": "first"}})
    events: list[Event] = []
    toy.build(events.append, jobs=jobs)
    told = [(e.kind, e.is_guess, e.total_is_guess) for e in events if e.kind in ("start", "progress")]
    assert told[:2] == [("start", True, True), ("progress", False, False)]
    assert told[2:] == [("start", False, False), ("progress", False, False)]
    lefts = [s for e in events if e.kind == "progress" for s in (e.seconds_left, e.total_seconds_left)]
    assert all(seconds is not None and seconds > 0 for seconds in lefts)
    toy.build(events.append, jobs=jobs, fresh=True)
    assert not events[-2].is_guess
