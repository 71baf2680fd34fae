"""What every measuring command goes through: plan, show, measure, hand back what came of it."""

from __future__ import annotations

from typing import Any

import pytest

from engine.commands.console import Output
from engine.commands.measure import MeasureOptions, SelectedRuns, execute_plan, measure_selected, show_plan
from engine.errors import EngineError
from tests.runs.toy import Toy

TINY = {"hash": "aa11", "n_layers": 4}


def described(seen: list[SelectedRuns], selected: SelectedRuns) -> Output:
    """Note what was selected, with what became of each run."""
    seen.append(selected)
    told = {str(run.name): selected.stored(run) for run in selected.runs}
    return Output(data={name: stored.id if stored else why for name, (stored, why) in told.items()})


def measured(toy: Toy, *experiments: str, **options: Any) -> tuple[Output, list[SelectedRuns]]:
    """The output of measuring these experiments of the first investigation."""
    seen: list[SelectedRuns] = []
    output = measure_selected(
        toy.root,
        toy.investigations()[0],
        experiments,
        MeasureOptions(**options),
        lambda selected: described(seen, selected),
    )
    return output, seen


def test_only_what_was_selected_is_measured_with_what_it_needs(toy: Toy) -> None:
    toy.spec(
        first={}, second={"uses": {"of": "first"}, "parameters": {"k": 2}}, other={"parameters": {"k": 3}}
    )
    output, (selected,) = measured(toy, "second")
    assert toy.executed == ["tiny k=8 seed=0", "tiny k=2 seed=0"]
    assert [run.name.experiment for run in selected.runs] == ["second"]
    assert output.data == {"words/second on tiny": 2}
    assert not output.as_json


def test_what_is_there_is_handed_back_and_not_measured_again_unless_forced(toy: Toy) -> None:
    measured(toy, "count")
    assert measured(toy, "count")[0].data == {"words/count on tiny": 1}
    assert measured(toy, "count", force=True)[0].data == {"words/count on tiny": 2}
    assert len(toy.executed) == 2


def test_a_dry_run_shows_the_plan_and_measures_nothing(toy: Toy, capsys: pytest.CaptureFixture) -> None:
    output, seen = measured(toy, "count", dry_run=True)
    assert (seen, toy.executed) == ([], [])
    assert "count" in capsys.readouterr().out
    assert output.data["runs"][0]["decision"] == "measure"


def test_with_json_nothing_but_the_output_is_told(toy: Toy, capsys: pytest.CaptureFixture) -> None:
    output, _ = measured(toy, "count", json=True)
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "")
    assert output.as_json


def test_models_are_chosen_by_any_spelling_and_a_stranger_is_refused(toy: Toy) -> None:
    toy.spec(models=("tiny", "small"), count={})
    assert measured(toy, "count", models=["small"])[0].data == {"words/count on small": 1}
    with pytest.raises(EngineError, match=r"tinny(?s:.)*nearest: tiny"):
        measured(toy, "count", models=["tinny"])
    assert len(toy.executed) == 1


def test_a_run_that_breaks_says_why_and_leaves_the_others(toy: Toy) -> None:
    toy.spec(bad={"parameters": {"spoil": "error"}}, good={})
    output, _ = measured(toy, "bad", "good")
    assert "the family has a mistake" in output.data["words/bad on tiny"]
    assert isinstance(output.data["words/good on tiny"], int)


def test_what_broke_is_told_apart_from_a_model_that_cannot_be_had(toy: Toy) -> None:
    toy.spec(models=("tiny", "small"), count={"parameters": {"spoil": "error"}})
    toy.models(tiny=TINY, small={"hash": "bb22", "n_layers": 12, "broken": "the index does not answer"})
    plan = toy.plan()
    with toy.store() as store:
        found = execute_plan(plan, store, MeasureOptions(json=True))
    assert [name.model for name in found.failed] == ["tiny"]
    assert "the index does not answer" in {n.model: o.reason for n, o in found.outcomes.items()}["small"]


def test_a_plan_with_nothing_to_do_starts_nothing(toy: Toy) -> None:
    toy.build()
    with toy.store() as store:
        found = execute_plan(toy.plan(), store, MeasureOptions())
    assert (found.outcomes, found.failed) == ({}, {})
    assert len(toy.executed) == 1


def test_a_local_model_that_is_missing_leaves_its_column_and_stops_nothing_else(
    toy: Toy, capsys: pytest.CaptureFixture
) -> None:
    toy.spec(models=("tiny", "./models/away"), count={})
    reason = "there is no file or folder ./models/away here"
    toy.models(**{"tiny": TINY, "./models/away": {"hash": None, "n_layers": None, "reason": reason}})
    name = toy.investigations()[0].spec.models[1]
    toy.models(**{"tiny": TINY, name: {"hash": None, "n_layers": None, "reason": reason}})
    output, _ = measured(toy, "count")
    assert output.data == {"words/count on tiny": 1, f"words/count on {name}": reason}
    plan = toy.plan()
    show_plan(plan, "all", MeasureOptions(verbose=True), plan.runs)
    assert reason in capsys.readouterr().out.replace("\n", " ")
