"""What happens on a node of a cluster: a task is checked against the plan, measured, and answered for."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import DataError, EngineError, ModelError
from engine.lab.used_run import UsedRun
from engine.models.cards import cache_folder
from engine.runs.execution.parallel import Told
from engine.runs.execution.resources import limit_threads
from engine.runs.execution.workbench import Answer, Task, Workbench, answered
from engine.runs.planning.code_hash import CodeBook
from engine.runs.planning.keys import explain
from engine.runs.sources import Sources
from engine.runs.store import run_folder
from engine.runs.store.record import StoredRun

if TYPE_CHECKING:
    from engine.lab.used_run import Point

TELL_SECONDS = 1.0  # between two words of progress


class Mailbox:
    """What tasks say while they run, kept until this process asks; an actor on its node."""

    def __init__(self) -> None:
        self.said: list[Told] = []

    def say(self, told: Told) -> None:
        """One word."""
        self.said.append(told)

    def emptied(self) -> list[Told]:
        """All words since the last time."""
        said, self.said = self.said, []
        return said


_BENCHES: dict[str, Workbench] = {}  # of this worker process, so that its model stays in memory


def measure_here(
    maker: Callable[[], Sources],
    task: Task,
    threads: int,
    mailbox: Any,
    upstream: list[tuple[str, StoredRun]],
    *evidence: Any,
) -> Answer:
    """The Ray task: one run on whichever node this is; `evidence` is what the runs of `upstream` found."""
    limit_threads(threads)
    if not task.store_folder.is_dir():  # a disk that this node does not share
        task = replace(task, store_folder=cache_folder() / "cluster")
    bench = _BENCHES.setdefault(repr(maker), Workbench(maker()))
    last = 0.0

    def tell(kind: str, fraction: float, message: str) -> None:
        nonlocal last
        if kind == "start" or time.monotonic() - last >= TELL_SECONDS:
            last = 0.0 if kind == "start" else time.monotonic()
            mailbox.say.remote(Told(task.name, kind, fraction, message))

    uses: dict[str, dict[Point, UsedRun]] = {}
    for (role_and_label, run), result in zip(upstream, evidence, strict=True):
        role = role_and_label.partition(":")[0]
        uses.setdefault(role, {})[run.name.point] = UsedRun(result, run.record.inputs.experiment)
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / run_folder.LOG
        return answered(
            bench, task, lambda: uses, log, tell, lambda: require_same_inputs(bench.sources, task)
        )


def require_same_inputs(sources: Sources, task: Task) -> None:
    """Refuse where code, data or model here are not what the plan was made with, as on an outdated node."""
    family, planned = task.experiment.family, task.inputs
    code = CodeBook(sources.package).code_of(sources.family_file(family), *sources.shared_code)
    here = f"node {socket.gethostname()}"
    if code != planned.code:
        seen = "; ".join(explain(planned, replace(planned, code=code)))
        hint = "install the same version of the engine on every node"
        raise EngineError("this node has other code than the plan", where=here, seen=seen, hint=hint)
    prompts, corpus = task.experiment.prompts, task.experiment.corpus
    if prompts and sources.data_hash(prompts, task.folder) != planned.data["prompts"]:
        raise DataError(f"{prompts.name} is another file on this node", where=here, expected="the same")
    if corpus and sources.corpus_hash(corpus, task.folder) != planned.data["corpus"]:
        raise DataError(f"{corpus.name} is another text on this node", where=here, expected="the same")
    for name, then in {task.name.model: planned.model, **planned.second}.items():
        model = sources.model_facts(name, task.experiment.dtype).hash
        if then and model and model != then:
            seen = f"{model[:12]}, not {then[:12]}"
            raise ModelError(f"{name} has other bytes on this node", where=here, seen=seen)
