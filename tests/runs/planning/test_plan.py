"""What a plan says of each run, what makes it stale, and what a budget buys."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from engine.errors import SpecError
from engine.runs.planning.status_rows import status

FAMILY, SPEC = "engine/families/count_words.py", "investigations/words/spec.yaml"


def edit(name: str, old: str, new: str) -> Callable[[Any], None]:
    return lambda toy: toy.edit(name, old, new)


def new_import(toy: Any) -> None:
    toy.write("engine/lab/lab.py", "import engine.data.rows")
    toy.write("engine/data/rows.py", "x = 1")


def new_model(toy: Any) -> None:
    toy.models(tiny={"hash": "cc33", "n_layers": 4})


def damage(toy: Any) -> None:
    next((toy.root / ".engine/runs").glob("*/result.json")).write_text("{")


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (lambda toy: None, []),
        (edit(FAMILY, "def run(lab", "# a comment\ndef run(lab"), []),
        (edit(FAMILY, "Count words.", "Count the words."), []),
        (edit(FAMILY, "How many words.", "The number of words."), []),
        (edit("engine/errors.py", "pass", "x = 1"), []),
        (lambda toy: toy.write("torch.txt", "2.99.0"), []),
        (edit("investigations/words/report.md", "Words", "All words"), []),
        (edit(FAMILY, "np.arange(20.0) +", "np.arange(20.0) -"), [f"code: {FAMILY} changed"]),
        (edit("engine/lab/tools.py", "2 * k", "3 * k"), ["code: engine/lab/tools.py changed"]),
        (edit("engine/lab/lab.py", "pass", "x = 1"), ["code: engine/lab/lab.py changed"]),
        (new_import, ["code: engine/data/rows.py is new", "code: engine/lab/lab.py changed"]),
        (edit(SPEC, "k: 8", "k: 16"), ["parameter k: 8 -> 16"]),
        (edit(SPEC, "k: 8", "seed: 0"), []),  # 8 is the default, and so is 0
        (edit(SPEC, "blocks.50%", "blocks.1"), ["hook_site: blocks.2.hook_resid_pre -> blocks.1."]),
        (edit(SPEC, "blocks.50%", "blocks.2"), []),
        (edit(SPEC, "float32", "bfloat16"), ["dtype: float32 -> bfloat16"]),
        (edit("investigations/words/words.csv", "a,b", "a,c"), ["prompts words.csv changed"]),
        (new_model, ["model bytes changed"]),
        (damage, ["run 1 is damaged: .engine/runs/1/result.json has 1 of"]),
    ],
    ids=lambda value: None if callable(value) else "+".join(value) or "nothing",
)  # fmt: skip
def test_what_makes_a_run_stale_and_in_which_words(
    toy: Any, change: Callable[[Any], Any], changed: list[str]
) -> None:
    experiment = {
        "hook_site": "blocks.50%.hook_resid_pre",
        "prompts": {"name": "words.csv"},
        "dtype": "float32",
    }
    toy.spec(count={**experiment, "parameters": {"k": 8}})
    toy.build()
    change(toy)
    (run,) = toy.plan().runs
    seen = [line.replace(f"{toy.root}/", "") for line in run.examined.changed]
    assert len(seen) == len(changed)
    assert all(s.startswith(c) for s, c in zip(seen, changed, strict=True)), seen
    assert (run.state, run.decision) == (("stale", "measure") if changed else ("up to date", "reuse"))
    toy.build()
    assert len(toy.executed) == (2 if changed else 1)
    assert toy.plan().runs[0].state == "up to date"


def test_staleness_flows_along_uses(toy: Any) -> None:
    toy.spec(
        first={},
        second={"uses": {"words": "first"}},
        third={"uses": {"more": "second"}},
        alone={"parameters": {"k": 3}},
    )
    toy.build()
    toy.edit(
        "investigations/words/spec.yaml",
        "first:\n    family: count_words",
        "first:\n    family: count_words\n    parameters: {k: 9}",
    )
    states = {r.name.label: (r.state, r.reason) for r in toy.plan().runs}
    assert states == {
        "first": ("stale", "parameter k: 8 -> 9"),
        "second": ("stale", "uses first, which is stale"),
        "third": ("stale", "uses second, which is stale"),
        "alone": ("up to date", "run 4"),
    }


def test_a_renamed_experiment_keeps_its_run(toy: Any) -> None:
    toy.build()
    toy.spec(renamed={})
    assert [(r.state, r.run_id) for r in toy.plan().runs] == [("up to date", 1)]


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


def test_a_model_that_cannot_be_had_blocks_only_its_own_runs_and_what_was_measured_stays(toy: Any) -> None:
    toy.spec(models=("tiny", "small"), count={}, more={"uses": {"of": "count"}, "parameters": {"k": 2}})
    toy.build(select=lambda name: name.experiment == "count")
    toy.models(
        tiny={"hash": "aa11", "n_layers": 4},
        small={"hash": None, "n_layers": None, "reason": "the hub is out of reach"},
    )
    states = {(r.name.label, r.name.model): (r.state, r.decision, r.reason) for r in toy.plan().runs}
    assert states["count", "small"] == ("up to date", "reuse", "run 2")
    assert states["more", "small"] == ("not measurable", "unmeasured", "the hub is out of reach")
    assert states["more", "tiny"][:2] == ("new", "measure")
    toy.edit("engine/lab/tools.py", "2 * k", "3 * k")
    states = {(r.name.label, r.name.model): r.reason for r in toy.plan().runs}
    assert states["count", "small"] == states["more", "small"] == "the hub is out of reach"


def test_a_site_that_one_model_lacks_blocks_that_model_and_one_that_all_lack_is_a_mistake(toy: Any) -> None:
    toy.spec(models=("tiny", "small"), count={"hook_site": "blocks.8.hook_resid_pre"})
    tiny, small = toy.plan().runs
    assert (tiny.state, small.state) == ("not measurable", "new")
    assert "the model has no layer 8" in tiny.reason
    toy.spec(models=("tiny", "small"), count={"hook_site": "blocks.20.hook_resid_pre"})
    with pytest.raises(
        SpecError, match=r"spec\.yaml: experiments\.count\.hook_site: the model has no layer 20"
    ):
        toy.plan()


def test_a_sweep_is_a_run_a_point_and_its_user_waits_for_all(toy: Any) -> None:
    toy.spec(layer={"sweep": {"seed": [0, 1]}}, both={"uses": {"of": "layer"}, "parameters": {"k": 3}})
    plan = toy.plan()
    assert [n.label for n in plan.order] == ["layer[seed=0]", "layer[seed=1]", "both"]
    assert list(plan.runs[2].examined.inputs.uses) == ["of: layer[seed=0]", "of: layer[seed=1]"]


def test_the_plan_and_the_status_are_plain_data(toy: Any) -> None:
    toy.build()
    toy.count(k=9)
    plan = toy.plan(budget=60.0)
    assert json.loads(json.dumps(plan.to_json()))["runs"][0]["changed"] == ["parameter k: 8 -> 9"]
    (row,) = status(plan)
    assert json.loads(json.dumps(row.to_json())) == row.to_json()
    assert (row.state, row.run_id, row.measured) == ("stale", 1, True)
    assert row.age_seconds is not None
    assert 0 <= row.age_seconds < 60


def test_a_plan_of_nine_runs_takes_well_under_half_a_second(toy: Any) -> None:
    toy.models(**{m: {"hash": m, "n_layers": 4} for m in ("a", "b", "c")})
    toy.spec(models=("a", "b", "c"), **{f"e{k}": {"parameters": {"k": k}} for k in range(3)})
    toy.build()
    started = time.process_time()
    plan = toy.plan()
    seconds = time.process_time() - started  # of this process: other work on the machine does not count
    assert [r.state for r in plan.runs] == ["up to date"] * 9
    assert seconds < 0.25


def test_a_corpus_is_part_of_the_key(toy: Any) -> None:
    text = toy.write("investigations/words/text.txt", "one two three")
    toy.spec(count={"corpus": {"name": "text.txt", "tokens": 2}})
    (outcome,) = toy.build().values()
    assert set(outcome.run.record.inputs.data) == {"corpus"}
    assert outcome.run.record.features["tokens"] == 2
    assert toy.plan().runs[0].state == "up to date"
    text.write_text("four five six")
    (run,) = toy.plan().runs
    assert (run.state, run.reason) == ("stale", "corpus text.txt changed")


def test_a_cheap_experiment_comes_before_the_points_of_a_long_sweep(toy: Any) -> None:
    toy.spec(sweep={"sweep": {"seed": [0, 1, 2]}}, alone={})
    assert next(n.label for n in toy.plan().order) == "alone"
