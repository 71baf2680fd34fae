"""What any executor gives back of a run, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from engine.errors import ModelUnavailable, SpecError
from engine.runs.execution.executor import Task
from engine.runs.execution.in_process import InProcessExecutor
from engine.runs.execution.scheduler import Scheduler
from engine.runs.execution.workbench import Workbench, answer_task, failure_of, reason_of


def task_of(toy: Any) -> Task:
    plan = toy.plan()
    with toy.store() as store:
        executor = InProcessExecutor(Workbench(toy.sources()), store.load)
        return Scheduler(plan, store, executor).task(plan.to_measure[0])


def test_the_output_says_what_it_was_measured_on_and_what_its_cost_depends_on(toy: Any) -> None:
    toy.write("investigations/words/text.txt", "one two three four")
    toy.spec(count={"corpus": {"name": "text.txt", "tokens": 3}})
    answer = answer_task(Workbench(toy.sources()), task_of(toy), dict, None, lambda progress: None)
    assert answer.output is not None
    assert answer.output.features == {
        "parameters": 1e6,
        "layers": 4.0,
        "d_model": 8.0,
        "prompts": 0.0,
        "tokens": 3.0,
    }
    assert answer.output.provenance["dtype"] == "float32"
    assert answer.output.provenance["read"] == {"corpus": "a toy text: 3 words"}
    assert answer.output.provenance["versions"]["torch"] == "2.13.0"


def test_a_last_look_that_fails_is_the_answer_and_nothing_is_measured(toy: Any) -> None:
    def refuse() -> None:
        raise SpecError("other code here")

    bench = Workbench(toy.sources())
    answer = answer_task(bench, task_of(toy), dict, None, lambda progress: None, before=refuse)
    assert answer.output is None
    assert (answer.reason, answer.failure) == ("other code here", "SpecError: other code here")
    assert toy.executed == []


@pytest.mark.parametrize("found", [None, {"score": 1.0}])
def test_what_is_no_result_is_refused(toy: Any, found: object) -> None:
    sources = toy.sources()
    params = sources.family("count_words").Params
    family = SimpleNamespace(Params=params, run=lambda lab, params: found)
    bench = Workbench(replace(sources, family=lambda name: family))
    answer = answer_task(bench, task_of(toy), dict, None, lambda progress: None)
    assert "a family returns a Result" in answer.reason
    assert type(found).__name__ in answer.reason


def test_errors_are_put_into_words_with_their_place_where_nobody_foresaw_them() -> None:
    try:
        raise ValueError("odd")
    except ValueError as error:
        assert reason_of(error).startswith("ValueError: odd (")
        assert "test_workbench.py:" in reason_of(error)
        assert failure_of(error) == "ValueError: odd"
    gone = ModelUnavailable("the hub is out of reach")
    assert (reason_of(gone), failure_of(gone)) == ("the hub is out of reach", "")
