"""The specifications of a claim are planned and measured like sweep points, each combination once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.errors import ModelUnknown

ACROSS = {"count.k": [8, 2], "count.seed": [0, 1]}
CLAIMS = {"more": {"holds": "count.score > count.chance", "across": ACROSS}}
LABELS = ["count", "count[seed=1]", "count[k=2]", "count[k=2,seed=1]"]


def labels(toy: Any, **options: Any) -> list[str]:
    return [run.name.label for run in toy.plan(**options).runs]


def test_every_combination_is_a_run_and_the_specs_own_values_are_its_own_run(toy: Any) -> None:
    toy.spec(claims=CLAIMS, count={})
    assert labels(toy) == LABELS
    toy.build()
    assert sorted(toy.executed) == [f"tiny k={k} seed={seed}" for k in (2, 8) for seed in (0, 1)]
    assert {run.state for run in toy.plan().runs} == {"up to date"}


def test_claims_share_the_runs_of_equal_combinations(toy: Any) -> None:
    other = {"holds": "count.score > 1", "across": {"count.seed": [1, 0], "count.k": [2]}}
    toy.spec(claims=CLAIMS | {"other": other}, count={})
    assert labels(toy) == LABELS


def test_a_run_measured_before_as_a_sweep_point_is_reused(toy: Any) -> None:
    toy.spec(swept={"sweep": {"k": [8, 2], "seed": [0, 1]}})
    toy.build()
    toy.spec(claims=CLAIMS, count={})
    assert {run.state for run in toy.plan().runs} == {"up to date"}
    assert len(toy.executed) == 4


def test_what_builds_on_a_varied_experiment_is_measured_on_the_varied_run(toy: Any) -> None:
    claims = {"more": {"holds": "above.score > 1", "across": {"count.k": [8, 2]}}}
    toy.spec(claims=claims, count={}, above={"uses": {"it": "count"}})
    plan = toy.plan()
    assert [run.name.label for run in plan.runs] == ["count", "count[k=2]", "above", "above[count.k=2]"]
    needs = {run.name.label: [need.label for need in run.examined.needs] for run in plan.runs}
    assert needs["above"] == ["count"]
    assert needs["above[count.k=2]"] == ["count[k=2]"]
    outcomes = toy.build()
    assert all(outcome.run for outcome in outcomes.values())


def test_a_sweep_is_varied_at_each_of_its_points(toy: Any) -> None:
    claims = {"more": {"holds": "count[seed=0].score > 1", "across": {"count.k": [8, 2]}}}
    toy.spec(claims=claims, count={"sweep": {"seed": [0, 1]}}, above={"uses": {"it": "count"}})
    plan = toy.plan()
    assert [run.name.label for run in plan.runs] == [
        "count[seed=0]",
        "count[seed=1]",
        "count[seed=0,k=2]",
        "count[seed=1,k=2]",
        "above",
    ]
    # The experiment that no claim names keeps to the spec's own points.
    assert [need.label for need in plan.runs[-1].examined.needs] == ["count[seed=0]", "count[seed=1]"]


def test_a_changed_parameter_of_the_spec_makes_every_specification_stale(toy: Any) -> None:
    toy.spec(claims=CLAIMS, count={})
    toy.build()
    toy.edit("engine/lab/tools.py", "2 * k", "3 * k")
    assert {run.state for run in toy.plan().runs} == {"stale"}


def test_the_specs_own_runs_come_before_those_of_its_specifications(toy: Any) -> None:
    toy.spec(claims=CLAIMS, count={}, other={"parameters": {"seed": 7}})
    order = [name.label for name in toy.plan().order]
    assert set(order[:2]) == {"count", "other"}


def test_a_claim_about_a_model_that_no_source_has_is_told(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.spec(claims={"more": {"holds": "count.score > 1", "about": "gpt3"}}, count={})
    sources = toy.sources()

    def facts(name: str, dtype: str) -> Any:
        if name == "gpt3":
            raise ModelUnknown("no model 'gpt3'")
        return sources.model_facts(name, dtype)

    monkeypatch.setattr(type(toy), "sources", lambda self: replace(sources, model_facts=facts))
    with pytest.raises(ModelUnknown) as error:
        toy.plan()
    assert "claims.more.about" in error.value.where
