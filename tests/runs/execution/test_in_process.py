"""Measuring in this process: within `wait`, one run after the other, one model at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.runs.execution.executor import Answer, Job, TaskProgress
from engine.runs.execution.in_process import InProcessExecutor
from engine.runs.execution.scheduler import Scheduler
from engine.runs.execution.workbench import Workbench
from engine.runs.planning.keys import RunInputs


@pytest.fixture
def executor(toy: Any) -> Iterator[InProcessExecutor]:
    with toy.store() as store:
        yield InProcessExecutor(Workbench(toy.sources()), store.load)


def job_of(toy: Any, executor: InProcessExecutor, log: Path | None = None) -> Job:
    """The first run of the toy's plan, to be measured."""
    plan = toy.plan()
    with toy.store() as store:
        task = Scheduler(plan, store, executor).task(plan.to_measure[0])
    return Job(task, plan.to_measure[0], {}, log)


def silent(progress: TaskProgress) -> None:
    """Nobody listens."""


def test_a_job_is_measured_when_it_is_waited_for(toy: Any, executor: InProcessExecutor) -> None:
    job = job_of(toy, executor)
    assert executor.has_room(job.run)
    executor.begin(job)
    assert not executor.has_room(job.run)
    assert toy.executed == []
    heard: list[str] = []
    (answer,) = executor.wait(0.0, lambda progress: heard.append(progress.phase))
    assert heard == ["start", "progress"]
    assert answer.output is not None
    assert answer.output.result.measurements["score"].value == 25.5
    assert "halfway" in answer.log
    assert executor.has_room(job.run)
    assert executor.wait(0.0, silent) == []


def test_the_log_is_written_where_the_job_says(toy: Any, executor: InProcessExecutor) -> None:
    log = toy.root / "log.txt"
    executor.begin(job_of(toy, executor, log))
    (answer,) = executor.wait(0.0, silent)
    assert answer.log == log.read_text()


def test_an_error_is_words_and_itself_only_for_debugging(toy: Any, executor: InProcessExecutor) -> None:
    toy.count(spoil="error")
    for debug, kept in ((False, type(None)), (True, RuntimeError)):
        executor.debug = debug
        executor.begin(job_of(toy, executor))
        (answer,) = executor.wait(0.0, silent)
        assert answer.reason.startswith("RuntimeError: the family has a mistake (")
        assert answer.failure == "RuntimeError: the family has a mistake"
        assert "Traceback" in answer.log
        assert type(answer.error) is kept


def test_a_model_that_was_never_seen_is_loaded_to_know_the_key(toy: Any, executor: InProcessExecutor) -> None:
    toy.models(tiny={"hash": None, "n_layers": None, "true_hash": "dd44", "true_layers": 6})
    toy.spec(count={"hook_site": "blocks.50%.hook_resid_pre"})
    executor.bench.sources = toy.sources()
    resolved = executor.resolve(job_of(toy, executor).task, silent)
    assert isinstance(resolved, RunInputs)
    assert resolved.key is not None
    assert (resolved.model, resolved.experiment["hook_site"]) == ("dd44", "blocks.3.hook_resid_pre")
    assert toy.executed == []
    executor.close()
    assert executor.bench.model is None


def test_a_model_that_cannot_be_had_is_an_answer(toy: Any, executor: InProcessExecutor) -> None:
    toy.models(tiny={"hash": None, "n_layers": None, "broken": "the hub is out of reach"})
    executor.bench.sources = toy.sources()
    answer = executor.resolve(job_of(toy, executor).task, silent)
    assert isinstance(answer, Answer)
    assert (answer.reason, answer.missing, answer.failure) == ("the hub is out of reach", "tiny", "")
