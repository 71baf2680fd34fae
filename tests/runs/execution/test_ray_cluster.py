"""Runs measured on a Ray cluster of several nodes on this machine, some of which are killed."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.errors import EngineError
from engine.runs.execution import ray_cluster as on_ray
from engine.runs.execution.events import Event
from engine.runs.execution.ray_cluster import task_share
from engine.runs.execution.scheduler import execute
from tests.runs.execution.test_processes import LONG, meanwhile, wait_for

LACKS_RAY = importlib.util.find_spec("ray") is None and not os.environ.get("CI")  # where it must be
with_ray = pytest.mark.skipif(LACKS_RAY, reason="Ray is not installed: pip install '.[cluster]'")
MEMORY = 2 * 10**9  # of each node, as Ray counts it
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[Any]:
    """A head without processors and two nodes with one each; this process has joined."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_DEDUP_LOGS", "0")
        import ray
        from ray.cluster_utils import Cluster

        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(2):
            add_node(made)
        ray.init(address=made.address, log_to_driver=False, logging_level=logging.ERROR)
        yield made
        ray.shutdown()
        made.shutdown()


def add_node(made: Any) -> Any:
    return made.add_node(num_cpus=1, memory=MEMORY, num_gpus=0)


def pids(toy: Any) -> list[int]:
    """The processes that the toy family has run in, as it noted them."""
    path = toy.root / "pids.txt"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.fixture
def noting(toy: Any) -> Any:
    """The toy project, its family noting the process and, for `lethal`, ending it."""
    toy.edit(
        "engine/families/count_words.py",
        '    lab.progress(0.5, "halfway")\n',
        '    lab.progress(0.5, "halfway")\n'
        "    import os, signal\n"
        '    with (Path(lab.model.root) / "pids.txt").open("a") as out:\n'
        '        out.write(f"{os.getpid()}\\n")\n'
        '    if params.spoil == "die":\n'
        "        os.kill(os.getpid(), signal.SIGKILL)\n",
    )
    return toy


@with_ray
def test_runs_go_to_the_nodes_and_results_to_the_one_store(ray_cluster: Any, toy: Any) -> None:
    toy.spec(
        layer={"sweep": {"seed": [0, 1]}, "parameters": {"wait": LONG}},
        sum={"uses": {"all": "layer"}, "parameters": {"k": 5}},
        bad={"parameters": {"spoil": "error"}},
        user={"uses": {"of": "bad"}},
    )

    def both_then_go() -> None:
        wait_for(lambda: len(toy.executed) >= 2)
        time.sleep(1.5)
        toy.write("go", "")

    events: list[Event] = []
    with meanwhile(both_then_go):
        outcomes = {name.label: o for name, o in toy.build(events.append, cluster="auto").items()}
    assert "RuntimeError: the family has a mistake" in outcomes["bad"].reason
    assert outcomes["user"].reason.startswith("uses bad, which has no result")
    with toy.store() as store:
        assert store.load(outcomes["sum"].run).measurements["score"].value == 9.5 + 10 + 2 * 3
        assert "halfway" in store.log(outcomes["sum"].run)
        (failure,) = store.failures().values()
    assert "Traceback" in failure.log
    assert {e.kind for e in events} >= {"start", "progress", "done", "failed", "unmeasured"}
    alone = toy.build(fresh=True)
    assert {n.label: o.run.key for n, o in alone.items() if o.run} == {
        label: o.run.key for label, o in outcomes.items() if o.run
    }


@with_ray
def test_a_worker_killed_during_its_run_is_tried_again(ray_cluster: Any, noting: Any) -> None:
    noting.spec(count={"parameters": {"wait": LONG}})

    def kill_then_go() -> None:
        wait_for(lambda: pids(noting))
        os.kill(pids(noting)[0], signal.SIGKILL)
        wait_for(lambda: len(pids(noting)) == 2)
        noting.write("go", "")

    with meanwhile(kill_then_go):
        (outcome,) = noting.build(cluster="auto").values()
    assert outcome.run is not None
    assert len(set(pids(noting))) == 2


@with_ray
def test_a_run_whose_worker_always_dies_has_failed_and_the_rest_completes(
    ray_cluster: Any, noting: Any
) -> None:
    noting.spec(fatal={"parameters": {"spoil": "die"}}, good={"parameters": {"k": 2}})
    outcomes = {name.label: o for name, o in noting.build(cluster="auto").items()}
    assert outcomes["good"].run is not None
    assert outcomes["fatal"].reason.startswith("WorkerCrashedError after 3 attempts")
    assert len(pids(noting)) == 3 + 1


@with_ray
def test_a_lost_node_costs_only_the_run_that_it_was_at(ray_cluster: Any, noting: Any) -> None:
    doomed = add_node(ray_cluster)
    noting.spec(count={"sweep": {"seed": [0, 1, 2, 3, 4, 5]}, "parameters": {"wait": LONG}})

    def kill_the_node_then_go() -> None:
        wait_for(lambda: len(pids(noting)) == 3)
        ray_cluster.remove_node(doomed, allow_graceful=False)
        wait_for(lambda: not any(n["Alive"] and n["NodeID"] == doomed.node_id for n in nodes()))
        noting.write("go", "")

    with meanwhile(kill_the_node_then_go):
        outcomes = noting.build(cluster="auto")
    assert all(outcome.run for outcome in outcomes.values())
    assert len(outcomes) == 6
    assert len(noting.executed) == 7  # one was begun twice
    assert noting.plan().order == ()


@with_ray
def test_a_build_in_a_process_of_its_own_joins_by_address(ray_cluster: Any, toy: Any) -> None:
    code = "import sys; from pathlib import Path; from tests.runs.toy import Toy; "
    code += "Toy(Path(sys.argv[1]), make=False).build(cluster=sys.argv[2])"
    command = [sys.executable, "-c", code, str(toy.root), ray_cluster.address]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert toy.plan().runs[0].state == "up to date"


def nodes() -> list[dict]:
    import ray

    return ray.nodes()


@with_ray
def test_a_run_too_large_for_every_node_is_left_out(ray_cluster: Any, toy: Any, monkeypatch: Any) -> None:
    toy.spec(large={}, small={"parameters": {"k": 2}})

    plan = toy.plan()
    runs = tuple(
        replace(r, estimate=replace(r.estimate, memory_bytes=8 * MEMORY)) if r.name.label == "large" else r
        for r in plan.runs
    )
    with toy.store() as store:
        outcomes = execute(replace(plan, runs=runs), store, toy.sources(), cluster="auto")
    told = {name.label: outcome for name, outcome in outcomes.items()}
    assert "no node of the cluster has 1 CPU and 16.0 GB of memory" in told["large"].reason
    assert told["small"].run is not None


@pytest.mark.parametrize(
    ("memory", "n_runs", "expected"),
    [(1, 100, (1, 0)), (1, 2, (8, 0)), (30, 100, (2, 0)), (100, 100, (8, 0)), (200, 1, (1, 0))],
)
def test_a_task_takes_its_share_of_a_node(memory: int, n_runs: int, expected: tuple[int, int]) -> None:
    two = [{"CPU": 8.0, "memory": 128.0}, {"CPU": 8.0, "memory": 128.0}]
    found = task_share(memory, two, n_runs)
    assert (found.cpus, found.gpus) == expected
    assert found.memory_bytes == memory
    assert any(found.fits(node) for node in two) == (memory <= 128)


def test_where_there_are_gpus_each_task_has_one() -> None:
    found = task_share(10, [{"CPU": 4.0, "memory": 100.0}, {"CPU": 16.0, "memory": 100.0, "GPU": 2.0}], 50)
    assert found.options == {"num_cpus": 1, "memory": 10, "num_gpus": 1}


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:0", "ray://127.0.0.1:10001", "127.0.0.1:1"])
def test_an_address_that_does_not_answer_is_refused_at_once(
    toy: Any, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    monkeypatch.setattr(on_ray, "imported_ray", lambda: SimpleNamespace(is_initialized=lambda: False))
    with pytest.raises(EngineError, match=r"no Ray cluster answers there(?s:.*)HOST:PORT"):
        toy.build(cluster=address)
    assert toy.executed == []
    assert toy.build()  # nothing is lost


@with_ray
def test_a_server_that_is_not_ray_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_ray, "PROBE_SECONDS", 3.0)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(EngineError, match=r"no answer in 3 s"):
            on_ray.connect(None, f"127.0.0.1:{port}")


def test_without_ray_it_says_how_to_have_it(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match=r"pip install 'mech-interpretability\[cluster\]'"):
        toy.build(cluster="auto")
