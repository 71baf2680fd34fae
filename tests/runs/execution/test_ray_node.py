"""What happens on a node: the task is checked against the plan, and measured with what came with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.errors import EngineError
from engine.runs.execution import ray_node
from engine.runs.execution.executor import TaskProgress
from engine.runs.execution.in_process import InProcessExecutor
from engine.runs.execution.ray_node import Mailbox, measure_here, require_same_inputs
from engine.runs.execution.scheduler import Scheduler
from engine.runs.execution.workbench import Workbench


def test_a_task_is_measured_with_the_runs_that_were_sent_and_without_the_disk_they_are_on(
    toy: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ray_node, "limit_threads", lambda threads: None)
    monkeypatch.setattr(ray_node, "cache_folder", lambda: tmp_path / "cache")
    noting = (
        "    used = lab.uses['all']\n"
        "    shown = [u.experiment['parameters']['seed'] for u in used.values()]\n"
        '    (Path(lab.model.root) / "used.txt").write_text(f"{list(used)} {shown} {lab.folder}")\n'
    )
    toy.edit("engine/families/count_words.py", "def run(lab, params):\n", f"def run(lab, params):\n{noting}")
    toy.spec(layer={"sweep": {"seed": [1, 0]}}, sum={"uses": {"all": "layer"}})
    toy.edit("engine/families/count_words.py", "lab.uses['all']", "lab.uses.get('all', {})")
    toy.build(select=lambda name: name.experiment == "layer")
    plan = toy.plan()
    with toy.store() as store:
        scheduler = Scheduler(plan, store, InProcessExecutor(Workbench(toy.sources()), store.load))
        (run,) = plan.to_measure
        task = replace(scheduler.task(run), store_folder=Path("/nowhere/to/be/found"))
        stored = scheduler.upstream(run)
        results = [store.load(found) for found in stored.values()]
    mailbox = Mailbox()
    words = SimpleNamespace(put=SimpleNamespace(remote=mailbox.put))
    answer = measure_here(toy.sources().maker, task, 1, words, stored, *results)
    assert answer.output is not None
    assert answer.output.result.measurements["score"].value == 9.5 + 16 + 2 * 3
    points = [(("seed", 1),), (("seed", 0),)]
    assert (toy.root / "used.txt").read_text() == f"{points} [1, 0] {tmp_path / 'cache' / 'cluster'}"
    assert mailbox.emptied() == [
        TaskProgress(run.name, "start"),
        TaskProgress(run.name, "progress", 0.5, "halfway"),
    ]
    assert mailbox.emptied() == []


def test_a_node_with_other_code_data_or_weights_refuses(toy: Any) -> None:
    toy.spec(count={"prompts": "words.csv"})
    plan = toy.plan()
    with toy.store() as store:
        executor = InProcessExecutor(Workbench(toy.sources()), store.load)
        task = Scheduler(plan, store, executor).task(plan.runs[0])
    require_same_inputs(toy.sources(), task)
    toy.models(tiny={"hash": "ffff", "n_layers": 4})
    with pytest.raises(EngineError, match=r"tiny has other bytes on this node(?s:.*)ffff, not aa11"):
        require_same_inputs(toy.sources(), task)
    toy.write("investigations/words/words.csv", "a,b\n1,2\n")
    with pytest.raises(EngineError, match=r"words.csv is another set on this node"):
        require_same_inputs(toy.sources(), task)
    toy.edit("engine/lab/tools.py", "2 * k", "3 * k")
    with pytest.raises(
        EngineError, match=r"other code than the plan(?s:.*)tools\.py changed(?s:.*)same version"
    ):
        require_same_inputs(toy.sources(), task)
