"""Runs measured at once by worker processes: what is independent, once each, whoever is killed."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.errors import EngineError
from engine.runs.execution import processes
from engine.runs.execution.events import Event
from engine.runs.execution.executor import Job
from engine.runs.execution.processes import ProcessExecutor, WorkerProcess, decide_jobs

REPOSITORY = Path(__file__).parents[3]
LONG = 60  # seconds that a run waits for `go`, at most


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Something that happens in a thread while runs are measured; its failure is the test's."""
    failed: list[BaseException] = []

    def acting() -> None:
        try:
            act()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=acting)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert not failed, failed[0]


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_independent_runs_are_measured_at_once_and_what_uses_them_after(toy: Any) -> None:
    toy.spec(
        layer={"sweep": {"seed": [0, 1]}, "parameters": {"wait": LONG}},
        sum={"uses": {"all": "layer"}, "parameters": {"k": 5}},
    )

    def both_then_go() -> None:
        wait_for(lambda: len(toy.executed) == 2)
        toy.write("go", "")

    events: list[Event] = []
    with meanwhile(both_then_go):
        outcomes = {name.label: o for name, o in toy.build(events.append, jobs=2).items()}
    with toy.store() as store:
        scores = {n: store.load(o.run).measurements["score"].value for n, o in outcomes.items()}
        assert "halfway" in store.log(outcomes["sum"].run)
    assert scores == {"layer[seed=0]": 25.5, "layer[seed=1]": 25.5, "sum": 25.5}
    assert [e.index for e in events if e.kind == "done"][-1] == 3
    assert {e.kind for e in events} >= {"start", "progress", "done"}
    assert all(e.total_seconds_left is not None for e in events if e.kind == "progress")
    assert toy.plan().order == ()
    assert not multiprocessing.active_children()


def test_what_workers_measure_is_what_one_process_measures(toy: Any) -> None:
    toy.spec(models=("tiny", "small"), count={"sweep": {"k": [1, 2]}})
    at_once = toy.build(jobs=3)
    with toy.store() as store:
        before = {n: store.load(o.run) for n, o in at_once.items()}
    alone = toy.build(fresh=True)
    with toy.store() as store:
        for name, outcome in alone.items():
            again = store.load(outcome.run)
            assert again.measurements == before[name].measurements
            assert outcome.run.key == at_once[name].run.key
            assert outcome.run.record.provenance.keys() == at_once[name].run.record.provenance.keys()


def test_a_run_that_fails_in_a_worker_stops_only_what_uses_it(toy: Any) -> None:
    toy.spec(bad={"parameters": {"spoil": "error"}}, user={"uses": {"of": "bad"}}, good={})
    events: list[Event] = []
    outcomes = {name.label: outcome for name, outcome in toy.build(events.append, jobs=2).items()}
    assert "RuntimeError: the family has a mistake" in outcomes["bad"].reason
    assert outcomes["user"].reason.startswith("uses bad, which has no result")
    assert outcomes["good"].run is not None
    assert {e.run.name.label: e.kind for e in events}["bad"] == "failed"
    with toy.store() as store:
        (failure,) = store.failures().values()
    assert "Traceback" in failure.log
    assert [p.name for p in (toy.root / ".engine/runs").iterdir()] == ["1"]


def test_a_model_that_workers_cannot_have_is_asked_for_once(toy: Any) -> None:
    toy.models(
        tiny={"hash": "aa11", "n_layers": 4},
        small={"hash": None, "n_layers": None, "broken": "the hub is out of reach"},
    )
    toy.spec(models=("small", "tiny"), a={}, b={"uses": {"of": "a"}})
    outcomes = {(n.label, n.model): o for n, o in toy.build(jobs=2).items()}
    assert outcomes["a", "small"].reason == outcomes["b", "small"].reason == "the hub is out of reach"
    assert outcomes["a", "tiny"].run and outcomes["b", "tiny"].run
    with toy.store() as store:
        assert store.failures() == {}


def test_what_a_model_turns_out_to_be_in_a_worker_is_what_the_key_says(toy: Any) -> None:
    toy.models(tiny={"hash": None, "n_layers": None, "true_hash": "dd44", "true_layers": 6})
    toy.spec(count={"hook_site": "blocks.50%.hook_resid_pre"})
    (outcome,) = toy.build(jobs=2).values()
    assert outcome.run.record.inputs.model == "dd44"
    assert outcome.run.record.inputs.experiment["hook_site"] == "blocks.3.hook_resid_pre"
    assert toy.plan().runs[0].state == "up to date"


def test_a_killed_worker_costs_only_its_run_which_is_tried_again(toy: Any) -> None:
    toy.spec(first={"parameters": {"wait": LONG}}, second={"parameters": {"k": 2}})

    def kill_one() -> None:
        wait_for(lambda: len(toy.executed) == 2 and "tiny k=8 seed=0" in toy.executed)
        wait_for(lambda: len(list((toy.root / ".engine/runs").glob("[0-9]*"))) == 1)
        for child in multiprocessing.active_children():
            child.kill()
        wait_for(lambda: toy.executed.count("tiny k=8 seed=0") == 2)
        toy.write("go", "")

    with meanwhile(kill_one):
        outcomes = {name.label: outcome for name, outcome in toy.build(jobs=2).items()}
    assert all(outcome.run for outcome in outcomes.values())
    assert toy.executed.count("tiny k=2 seed=0") == 1


def test_a_run_whose_worker_dies_twice_has_failed_and_the_rest_completes(toy: Any) -> None:
    toy.spec(fatal={"parameters": {"spoil": "die"}}, user={"uses": {"of": "fatal"}}, good={})
    toy.edit(
        "engine/families/count_words.py",
        '    if params.spoil == "interrupt":',
        '    if params.spoil == "die":\n'
        "        import os, signal\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        '    if params.spoil == "interrupt":',
    )
    outcomes = {name.label: outcome for name, outcome in toy.build(jobs=2).items()}
    assert "was ended by signal 9 (SIGKILL), 2 times" in outcomes["fatal"].reason
    assert outcomes["user"].reason.startswith("uses fatal, which has no result")
    assert outcomes["good"].run is not None
    with toy.store() as store:
        (failure,) = store.failures().values()
    assert "halfway" in failure.log
    assert [p.name for p in (toy.root / ".engine/runs").iterdir()] == ["1"]


def test_two_runs_that_are_the_same_thing_are_measured_once(toy: Any) -> None:
    toy.spec(one={}, other={})
    kinds: list[str] = []
    outcomes = list(toy.build(lambda e: kinds.append(e.kind), jobs=2).values())
    assert outcomes[0].run.id == outcomes[1].run.id
    assert len(toy.executed) == 1
    assert kinds.count("wait") == 1 and kinds[-1] == "reused"


def test_memory_decides_how_many_work_at_once(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.spec(count={"sweep": {"k": [1, 2]}})
    one, other = toy.plan().to_measure
    busy = ProcessExecutor(toy.sources().maker, jobs=4, threads=1, memory_bytes=1.5e6)
    assert busy.has_room(one)
    nothing: Any = None
    busy.workers.append(WorkerProcess(nothing, nothing, Job(nothing, one, {}, None)))
    assert not busy.has_room(other)
    busy.memory_bytes = 2.5e6
    assert busy.has_room(other)
    busy.workers.clear()


def test_how_many_jobs_a_plan_is_worth(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "cores", lambda: 8)
    monkeypatch.setattr(processes, "_free_memory", lambda: 10**8)
    toy.spec(count={"sweep": {"k": [1, 2, 3]}}, user={"uses": {"of": "count"}})
    short = toy.plan()
    assert decide_jobs(short) == 1
    runs = tuple(replace(r, estimate=replace(r.estimate, seconds=100.0)) for r in short.runs)
    plan = replace(short, runs=runs)
    assert decide_jobs(plan) == 3  # the fourth uses the others
    monkeypatch.setattr(processes, "_free_memory", lambda: 2.5e6)
    assert decide_jobs(plan) == 2
    monkeypatch.setattr(processes, "cores", lambda: 2)
    assert decide_jobs(plan) == 1


def test_workers_end_with_the_process_that_started_them(toy: Any) -> None:
    toy.spec(one={"parameters": {"wait": LONG}}, two={"parameters": {"wait": LONG, "k": 2}})
    code = "import sys; from pathlib import Path; from tests.runs.toy import Toy; "
    code += "Toy(Path(sys.argv[1]), make=False).build(jobs=2)"
    building = subprocess.Popen([sys.executable, "-c", code, str(toy.root)], cwd=REPOSITORY)
    wait_for(lambda: len(toy.executed) == 2)
    children = psutil.Process(building.pid).children(recursive=True)
    building.kill()
    building.wait()
    wait_for(lambda: not any(child.is_running() for child in children))
    toy.write("go", "")
    assert all(outcome.run for outcome in toy.build().values())
    assert sorted(p.name for p in (toy.root / ".engine/runs").iterdir()) == ["1", "2"]


def test_less_than_one_job_is_refused(toy: Any) -> None:
    with pytest.raises(EngineError, match=r"1 or more"):
        toy.build(jobs=0)


def test_a_run_handed_to_a_dying_idle_process_has_not_been_tried(
    toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run goes to the process that measured the first, which ends just then."""
    toy.spec(first={"parameters": {"k": 2}}, second={"parameters": {"k": 3}, "uses": {"of": "first"}})
    begin, killed = ProcessExecutor.begin, []

    def begin_and_kill(self: ProcessExecutor, job: Job) -> None:
        idle = [worker for worker in self.workers if not worker.job]
        if idle and not killed:
            killed.append(idle[0].process.pid)
            idle[0].process.kill()
            idle[0].process.join()
        begin(self, job)

    monkeypatch.setattr(ProcessExecutor, "begin", begin_and_kill)
    monkeypatch.setattr(processes, "ATTEMPTS", 1)
    outcomes = toy.build(jobs=2)
    assert killed
    assert all(outcome.run for outcome in outcomes.values())
