"""Runs as they are carried out: once each, whole or not at all, whatever fails or is killed."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.errors import EngineError, StoreError
from engine.runs.execution.events import Event
from engine.runs.execution.in_process import InProcessExecutor
from engine.runs.execution.scheduler import execute

ENGINE = Path(__file__).parents[3]


@pytest.fixture
def start(toy: Any, toy_program: list[str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a build of the toy project in a process of its own; none outlives its test."""
    running: list[subprocess.Popen[str]] = []
    path = os.pathsep.join([str(ENGINE), os.environ.get("PYTHONPATH", "")])

    def begin(*options: str) -> subprocess.Popen[str]:
        program = [*toy_program, str(toy.root), *options]
        running.append(
            subprocess.Popen(
                program, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}
            )
        )
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_a_run_keeps_what_a_reader_needs_to_trust_it_and_to_repeat_it(toy: Any) -> None:
    events: list[Event] = []
    (outcome,) = toy.build(events.append).values()
    assert [e.kind for e in events] == ["start", "progress", "done"]
    assert (events[1].index, events[1].total, events[1].fraction, events[1].message) == (1, 1, 0.5, "halfway")
    assert events[1].total_seconds_left is not None
    provenance = outcome.run.record.provenance
    assert provenance["command"] == "mech run --name words/count --model tiny"
    assert provenance["model_hash"] == "aa11"
    assert provenance["peak_bytes"] > 10_000_000
    assert provenance["seconds"] > 0
    assert provenance["device"].startswith("cpu: ")
    assert "read" not in provenance  # it reads neither prompts nor text
    with toy.store() as store:
        assert " 50% halfway" in store.log(outcome.run)


def test_each_model_is_loaded_once_and_a_run_sees_what_it_uses(toy: Any) -> None:
    toy.spec(
        models=("tiny", "small"),
        sum={"uses": {"all": "layer"}, "parameters": {"k": 5}},
        layer={"sweep": {"seed": [0, 1]}},
    )
    outcomes = toy.build()
    assert (toy.root / "loaded.txt").read_text().split() == ["tiny", "small"]
    with toy.store() as store:
        scores = {
            n.label: store.load(o.run).measurements["score"].value
            for n, o in outcomes.items()
            if n.model == "tiny"
        }
    assert scores == {
        "layer[seed=0]": 25.5,
        "layer[seed=1]": 25.5,
        "sum": 9.5 + 10 + 2 * 3,
    }  # three numbers of each of two


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_was_measured_under_another_name_is_used_under_its_name_here(toy: Any, jobs: int) -> None:
    toy.spec(first={"parameters": {"seed": 0}}, second={"parameters": {"seed": 1}})
    toy.build()
    toy.spec(sum={"uses": {"all": "layer"}, "parameters": {"k": 5}}, layer={"sweep": {"seed": [0, 1]}})
    (outcome,) = toy.build(jobs=jobs).values()
    with toy.store() as store:
        assert store.load(outcome.run).measurements["score"].value == 9.5 + 10 + 2 * 3  # of both, not of one


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_sees_what_the_runs_it_uses_were_measured_as(toy: Any, jobs: int) -> None:
    """Defaults and the layer of a relative hook site included, so that nobody has to say them twice."""
    noting = (
        "    for by_point in lab.uses.values():\n"
        "        for point, used in by_point.items():\n"
        '            shown = {n: used.experiment[n] for n in ("family", "hook_site", "parameters")}\n'
        '            (Path(lab.model.root) / "used.txt").write_text(f"{point} {shown}")\n'
    )
    toy.edit("engine/families/count_words.py", "def run(lab, params):\n", f"def run(lab, params):\n{noting}")
    toy.spec(
        layer={"hook_site": "blocks.50%.hook_resid_pre", "sweep": {"seed": [3]}},
        user={"uses": {"of": "layer"}},
    )
    toy.build(jobs=jobs)
    parameters = {"k": 8, "seed": 3, "wait": 0.0, "spoil": ""}
    shown = {"family": "count_words", "hook_site": "blocks.2.hook_resid_pre", "parameters": parameters}
    assert (toy.root / "used.txt").read_text() == f"{(('seed', 3),)} {shown}"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [("nan", "score is not a number"), ("error", "RuntimeError: the family has a mistake")],
)
def test_a_run_that_fails_is_never_stored_and_stops_only_what_uses_it(
    toy: Any, spoil: str, reason: str
) -> None:
    toy.spec(bad={"parameters": {"spoil": spoil}}, user={"uses": {"of": "bad"}}, good={})
    events: list[Event] = []
    outcomes = {name.label: outcome for name, outcome in toy.build(events.append).items()}
    assert reason in outcomes["bad"].reason
    assert outcomes["user"].reason.startswith("uses bad, which has no result")
    assert outcomes["good"].run is not None
    assert {e.run.name.label: e.kind for e in events} == {
        "bad": "failed",
        "user": "unmeasured",
        "good": "done",
    }
    with toy.store() as store:
        assert [run.name.label for run in store.runs()] == ["good"]
        (failure,) = store.failures().values()
        assert "Traceback" in failure.log
    planned = {r.name.label: r for r in toy.plan().runs}
    assert reason in planned["bad"].reason
    assert "the last attempt" in planned["bad"].reason
    assert [p.name for p in (toy.root / ".engine/runs").iterdir()] == ["1"]


def test_a_mistake_of_a_family_is_raised_for_debugging(toy: Any) -> None:
    toy.count(spoil="error")
    with toy.store() as store, pytest.raises(RuntimeError, match=r"mistake"):
        execute(toy.plan(), store, toy.sources(), debug=True)


def test_a_model_that_turns_out_not_to_be_had_stops_only_its_own_runs(toy: Any) -> None:
    toy.models(
        tiny={"hash": "aa11", "n_layers": 4},
        small={"hash": None, "n_layers": None, "broken": "the hub is out of reach"},
    )
    toy.spec(models=("small", "tiny"), a={}, b={"parameters": {"k": 2}})
    outcomes = {(n.label, n.model): o for n, o in toy.build().items()}
    assert outcomes["a", "small"].reason == outcomes["b", "small"].reason == "the hub is out of reach"
    assert outcomes["a", "tiny"].run and outcomes["b", "tiny"].run
    assert (toy.root / "loaded.txt").read_text().split() == ["small", "tiny"]  # asked once, not for every run
    with toy.store() as store:
        assert store.failures() == {}


def test_what_a_model_turns_out_to_be_is_what_the_key_says(toy: Any) -> None:
    toy.models(tiny={"hash": None, "n_layers": None, "true_hash": "dd44", "true_layers": 6})
    toy.spec(count={"hook_site": "blocks.50%.hook_resid_pre"})
    (outcome,) = toy.build().values()
    assert outcome.run.record.inputs.model == "dd44"
    assert outcome.run.record.inputs.experiment["hook_site"] == "blocks.3.hook_resid_pre"
    assert toy.plan().runs[0].state == "up to date"  # although the model is not here: the run remembers it
    toy.models(tiny={"hash": "dd44", "n_layers": 6})
    assert toy.plan().runs[0].state == "up to date"


def test_a_run_that_takes_longer_than_estimated_leaves_later_ones_out(
    toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.runs.planning.cost.LOAD_SECONDS", 0.0)
    monkeypatch.setattr("engine.runs.planning.cost.GUESSED_SECONDS", 0.0)
    monkeypatch.setattr("engine.runs.planning.cost.GUESSED_SECONDS_PER_PARAMETER", 0.4 / 1e6)
    toy.spec(a={"parameters": {"wait": 1.5}}, b={"parameters": {"k": 2}}, c={"uses": {"of": "b"}})
    planned = toy.plan()
    outcomes = toy.build(budget=planned.seconds)
    reasons = [o.reason for o in outcomes.values()]
    assert reasons[0] == ""
    assert reasons[1] == "over the budget: the runs before it took longer than estimated"
    assert reasons[2].startswith("uses b, which has no result: over the budget")
    assert toy.executed == ["tiny k=8 seed=0"]


def test_a_guess_that_is_larger_than_the_budget_leaves_no_run_out(toy: Any) -> None:
    """The plan admitted the runs; only what was measured may send one away."""
    toy.spec(a={}, b={"parameters": {"k": 2}})
    plan = toy.plan()
    assert all(run.estimate.is_guess for run in plan.runs)
    runs = tuple(replace(run, estimate=replace(run.estimate, seconds=600.0)) for run in plan.runs)
    with toy.store() as store:
        outcomes = execute(replace(plan, runs=runs, budget_seconds=30.0), store, toy.sources())
    assert all(outcome.run for outcome in outcomes.values())


def test_an_interrupt_leaves_whole_runs_only(toy: Any) -> None:
    toy.spec(first={}, second={"parameters": {"spoil": "interrupt"}}, third={"parameters": {"k": 3}})
    with pytest.raises(KeyboardInterrupt):
        toy.build()
    assert [p.name for p in (toy.root / ".engine/runs").iterdir()] == ["1"]
    assert [r.state for r in toy.plan().runs] == ["up to date", "new", "new"]


def test_kill_9_during_a_run_leaves_nothing_of_it_and_the_next_build_goes_on(toy: Any, start: Any) -> None:
    toy.spec(first={}, second={"parameters": {"k": 3, "wait": 60}})
    process = start()
    wait_for(lambda: len(toy.executed) == 2)
    staged = list((toy.root / ".engine/runs").glob(".new-*"))
    process.kill()
    process.wait()
    assert len(staged) == 1
    toy.write("go", "")
    outcomes = toy.build()
    assert [n.label for n in outcomes] == ["second"]
    assert sorted(p.name for p in (toy.root / ".engine/runs").iterdir()) == ["1", "2"]


@pytest.mark.parametrize(("fatal", "at_least"), [("rename", 1), ("fsync", 5), ("insert", 1)])
def test_kill_9_while_a_run_is_written_leaves_it_whole_or_not_at_all(
    toy: Any, start: Any, fatal: str, at_least: int
) -> None:
    """Killed at the first such call, then at the second, and so on until a build survives."""
    process = start("--die-at", fatal)
    lines = process.stdout.read().splitlines()
    assert process.wait() == 0
    assert lines[-1] == "survived"
    assert len(lines) > at_least
    assert set(lines[:-1]) <= {"killed, 0 runs", "killed, 1 runs"}


def test_two_builds_at_once_measure_once_and_both_have_the_result(toy: Any, start: Any) -> None:
    toy.count(wait=60)
    first = start()
    wait_for(lambda: toy.executed)
    second = start()
    assert second.stdout.readline() == f"wait {first.pid}\n"
    toy.write("go", "")
    assert first.stdout.read().endswith("done run 1\n")
    assert second.stdout.read() == "reused run 1\n"
    assert (first.wait(), second.wait()) == (0, 0)
    assert len(toy.executed) == 1


def test_the_build_that_waits_measures_when_the_other_dies(toy: Any, start: Any) -> None:
    toy.count(wait=60)
    first = start()
    wait_for(lambda: toy.executed)
    second = start()
    assert second.stdout.readline().startswith("wait")
    first.kill()
    wait_for(lambda: len(toy.executed) == 2)
    toy.write("go", "")
    assert second.stdout.read().endswith("done run 1\n")


def test_code_that_changed_after_the_plan_is_not_run_under_the_old_key(toy: Any) -> None:
    plan = toy.plan()
    toy.edit("engine/lab/tools.py", "2 * k", "3 * k")
    with toy.store() as store, pytest.raises(EngineError, match=r"tools\.py changed(?s:.)*build again"):
        execute(plan, store, toy.sources())
    assert toy.executed == []


def test_a_store_that_cannot_be_written_stops_a_build_before_it_begins(toy: Any) -> None:
    plan = toy.plan()
    with toy.store() as store:
        store.read_only = True
        with pytest.raises(StoreError, match=r"read-only"):
            execute(plan, store, toy.sources())
        assert execute(toy.plan(budget=0.0), store, toy.sources()) == {}
    assert toy.executed == []


def spoil(toy: Any, file: str) -> None:
    """One bit of a file of run 1, after which its size is the same."""
    path = toy.root / ".engine/runs/1" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("file", ["arrays.safetensors", "tables/words.parquet", "result.json"])
def test_what_a_run_uses_is_never_used_damaged_and_is_measured_again(toy: Any, jobs: int, file: str) -> None:
    toy.spec(layer={}, user={"uses": {"of": "layer"}, "parameters": {"k": 3}})
    toy.build()
    before = len(toy.executed)
    toy.spec(layer={}, user={"uses": {"of": "layer"}, "parameters": {"k": 4}})
    spoil(toy, file)
    assert "run 1 is damaged" in toy.plan().runs[0].reason
    outcomes = {name.label: outcome.run for name, outcome in toy.build(jobs=jobs).items()}
    assert sorted(toy.executed[before:]) == ["tiny k=4 seed=0", "tiny k=8 seed=0"]
    assert outcomes["layer"].id != 1 and outcomes["user"] is not None


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("file", ["arrays.safetensors", "tables/words.parquet"])
def test_damage_that_only_reading_finds_ends_the_run_by_name_and_the_next_build_mends_it(
    toy: Any, jobs: int, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a file that is too large to be hashed at every plan."""
    monkeypatch.setattr("engine.runs.store.run_folder.HASHED_BYTES", 10)
    toy.spec(layer={})
    toy.build()
    uses = {"uses": {"of": "layer"}}
    toy.spec(layer={}, user=uses | {"parameters": {"k": 4}}, other=uses | {"parameters": {"k": 5}})
    spoil(toy, file)
    outcomes = {name.label: outcome for name, outcome in toy.build(jobs=jobs).items()}
    for label in ("user", "other"):
        assert outcomes[label].run is None
        assert "run 1 (words/layer on tiny) is damaged" in outcomes[label].reason
        assert "the run is measured anew" in outcomes[label].reason
    assert toy.executed == ["tiny k=8 seed=0"]
    again = toy.build(jobs=jobs)
    assert all(outcome.run is not None for outcome in again.values())
    assert sorted(toy.executed[1:]) == ["tiny k=4 seed=0", "tiny k=5 seed=0", "tiny k=8 seed=0"]


def test_damage_that_is_found_while_a_run_is_handed_out_stops_only_that_run(
    toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by an executor that reads what is used before it sends a run away."""
    toy.spec(layer={})
    toy.build()
    toy.spec(layer={}, user={"uses": {"of": "layer"}}, good={"parameters": {"k": 2}})
    begin = InProcessExecutor.begin

    def reading(self: InProcessExecutor, job: Any) -> None:
        for stored in job.upstream.values():
            self.load(stored)
        begin(self, job)

    monkeypatch.setattr(InProcessExecutor, "begin", reading)
    monkeypatch.setattr("engine.runs.store.run_folder.HASHED_BYTES", 10)
    spoil(toy, "arrays.safetensors")
    outcomes = {name.label: outcome for name, outcome in toy.build().items()}
    assert "run 1 (words/layer on tiny) is damaged" in outcomes["user"].reason
    assert outcomes["good"].run is not None
