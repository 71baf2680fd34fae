"""What a plan decides for each run, in which order, and what a budget buys."""

from __future__ import annotations

import time
from typing import Any

import pytest


def test_a_change_of_libraries_is_told_but_makes_nothing_stale(toy: Any) -> None:
    toy.build()
    toy.write("torch.txt", "2.99.0")
    assert toy.plan().runs[0].note == "measured with torch 2.13.0 (now 2.99.0)"


def test_cheapest_first_the_primary_model_first_among_equals(toy: Any) -> None:
    toy.models(
        tiny={"hash": "a", "n_layers": 4},
        small={"hash": "b", "n_layers": 4},
        huge={"hash": "c", "n_layers": 4, "n_params": 10**9},
    )
    toy.spec(models=("small", "tiny", "huge"), one={}, two={"uses": {"of": "one"}})
    whole = toy.plan()
    assert [f"{n.label} {n.model}" for n in whole.order] == [
        f"{e} {m}" for m in ("small", "tiny", "huge") for e in ("one", "two")
    ]
    per_run = whole.runs[0].estimate
    per_model = whole.model_seconds["tiny"]
    enough = 2 * per_model + 3.5 * per_run.seconds_to_admit
    plan = toy.plan(budget=enough)
    assert [f"{n.label} {n.model}" for n in plan.order] == ["one small", "two small", "one tiny"]
    assert plan.seconds == pytest.approx(2 * per_model + 3 * per_run.seconds)
    left = {f"{r.name.label} {r.name.model}": r for r in plan.runs if r.decision == "unmeasured"}
    assert set(left) == {"two tiny", "one huge", "two huge"}
    assert left["two tiny"].note == "over the budget, at about 2.03 s; nothing is published for it"


def test_a_run_brings_the_cost_of_what_it_needs(toy: Any) -> None:
    toy.spec(one={"parameters": {"k": 1}}, two={"uses": {"of": "one"}})
    whole = toy.plan(select=lambda name: name.experiment == "two")
    assert [n.label for n in whole.order] == ["one", "two"]
    assert whole.runs[0].note == "another run needs it"
    one, two = whole.runs
    just_short = whole.model_seconds["tiny"] + one.estimate.low + two.estimate.low - 0.01
    assert toy.plan(select=lambda name: name.experiment == "two", budget=just_short).order == ()
    assert [n.label for n in toy.plan(budget=just_short).order] == ["one"]


def test_no_budget_measures_nothing_and_fresh_measures_everything(toy: Any) -> None:
    assert [(r.decision, r.note) for r in toy.plan(budget=0.0).runs] == [
        ("unmeasured", "--budget 0 measures nothing; nothing is published for it")
    ]
    toy.build()
    assert [r.decision for r in toy.plan(budget=0.0).runs] == ["reuse"]
    assert [r.decision for r in toy.plan(fresh=True).runs] == ["measure"]
    toy.build(fresh=True)
    assert len(toy.executed) == 2
    assert toy.plan().runs[0].run_id == 2


def test_changed_measures_again_what_was_measured_here_and_nothing_new(toy: Any) -> None:
    toy.spec(one={}, two={"parameters": {"k": 2}})
    assert toy.plan(changed=True).order == ()
    toy.build(select=lambda name: name.experiment == "one")
    toy.spec(one={"parameters": {"k": 5}}, two={"parameters": {"k": 2}})
    assert [n.label for n in toy.plan(changed=True).order] == ["one"]
    assert [n.label for n in toy.plan().order] == ["one", "two"]


def test_a_sweep_is_a_run_a_point_and_its_user_waits_for_all(toy: Any) -> None:
    toy.spec(layer={"sweep": {"seed": [0, 1]}}, both={"uses": {"of": "layer"}, "parameters": {"k": 3}})
    plan = toy.plan()
    assert [n.label for n in plan.order] == ["layer[seed=0]", "layer[seed=1]", "both"]
    assert list(plan.runs[2].examined.inputs.uses) == ["of: layer[seed=0]", "of: layer[seed=1]"]


def test_a_plan_of_nine_runs_takes_well_under_half_a_second(toy: Any) -> None:
    toy.models(**{m: {"hash": m, "n_layers": 4} for m in ("a", "b", "c")})
    toy.spec(models=("a", "b", "c"), **{f"e{k}": {"parameters": {"k": k}} for k in range(3)})
    toy.build()
    started = time.process_time()
    plan = toy.plan()
    seconds = time.process_time() - started  # of this process: other work on the machine does not count
    assert [r.state for r in plan.runs] == ["up to date"] * 9
    assert seconds < 0.25


def test_a_cheap_experiment_comes_before_the_points_of_a_long_sweep(toy: Any) -> None:
    toy.spec(sweep={"sweep": {"seed": [0, 1, 2]}}, alone={})
    assert next(n.label for n in toy.plan().order) == "alone"
