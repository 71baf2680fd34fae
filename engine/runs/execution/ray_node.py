"""What happens on a node of a cluster: a task is checked against the plan, measured, and answered for."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from engine.errors import DataError, EngineError, ModelError
from engine.evidence.result import Result
from engine.models.cards import cache_folder
from engine.runs.execution.executor import Answer, Task, TaskProgress, seldom, used_runs
from engine.runs.execution.resources import limit_threads
from engine.runs.execution.workbench import Workbench, answer_task
from engine.runs.investigation import project_or_none
from engine.runs.planning.code_hash import CodeBook
from engine.runs.planning.given_coders import given_coder
from engine.runs.planning.keys import explain
from engine.runs.sources import Sources
from engine.runs.store.record import StoredRun
from engine.spec.points import prompt_parameters

PROGRESS_SECONDS = 1.0  # between two words of progress


class Mailbox:
    """What tasks say while they run, kept until the scheduler asks; an actor on the scheduler's node."""

    def __init__(self) -> None:
        self.letters: list[TaskProgress] = []

    def put(self, progress: TaskProgress) -> None:
        """One word."""
        self.letters.append(progress)

    def emptied(self) -> list[TaskProgress]:
        """All words since the last time."""
        letters = self.letters
        self.letters = []
        return letters


# Of this worker process: Ray uses a process for many tasks, and its model stays in memory between them.
_BENCHES: dict[str, Workbench] = {}


def measure_here(
    maker: Callable[[], Sources],
    task: Task,
    threads: int,
    mailbox: Any,
    upstream: dict[str, StoredRun],
    *results: Result,
) -> Answer:
    """The Ray task: one run on whichever node this is; `results` are what the runs of `upstream` found.

    They are arguments of their own, because Ray replaces a reference by its value at the top level only.
    """
    # Before `maker` imports torch, which reads the limit once.
    limit_threads(threads)
    if not task.store_folder.is_dir():  # a disk that this node does not share
        # In the node's own cache, where activations that it harvests serve its later tasks.
        task = replace(task, store_folder=cache_folder() / "cluster")
    bench = _BENCHES.setdefault(repr(maker), Workbench(maker()))
    by_run = {run.id: result for run, result in zip(upstream.values(), results, strict=True)}
    return answer_task(
        bench,
        task,
        lambda: used_runs(upstream, lambda stored: by_run[stored.id]),
        log_file=None,
        # Nobody waits for the mailbox: a word that is lost with its node is no reason to fail.
        listen=seldom(mailbox.put.remote, PROGRESS_SECONDS),
        before=lambda: require_same_inputs(bench.sources, task),
    )


def require_same_inputs(sources: Sources, task: Task) -> None:
    """Refuse where code, data or model here are not what the plan was made with, as on an outdated node."""
    family = task.experiment.family
    planned = task.inputs
    code = CodeBook(sources.package).code_of(sources.family_file(family), *sources.shared_code)
    here = f"node {socket.gethostname()}"
    if code != planned.code:
        seen = "; ".join(explain(planned, replace(planned, code=code)))
        hint = "install the same version of the engine on every node"
        raise EngineError("this node has other code than the plan", where=here, seen=seen, hint=hint)
    prompts = task.experiment.prompts
    corpus = task.experiment.corpus
    if prompts and sources.data_hash(prompts, task.folder) != planned.data["prompts"]:
        raise DataError(f"{prompts.label} is another set on this node", where=here, expected="the same")
    if corpus and sources.corpus_hash(corpus, task.folder) != planned.data["corpus"]:
        raise DataError(f"{corpus.name} is another text on this node", where=here, expected="the same")
    asked = planned.experiment["parameters"]
    for parameter, (choice, _) in prompt_parameters(family, asked, sources.catalog).items():
        if sources.data_hash(choice, task.folder) != planned.data[parameter]:
            raise DataError(f"{choice.label} is another set on this node", where=here, expected="the same")
    for path, then in planned.coders.items():
        coder = given_coder("", path, project_or_none())
        if coder.hash != then:
            problem = coder.absent or f"{path} is another dictionary on this node"
            raise DataError(problem, where=here, expected="the same files as where it was planned")
    for name, then in {task.name.model: planned.model, **planned.second}.items():
        model = sources.model_facts(name, task.experiment.dtype).hash
        # Where either does not know the bytes yet there is nothing to compare: the answer has those measured
        # on.
        if then and model and model != then:
            seen = f"{model[:12]}, not {then[:12]}"
            raise ModelError(f"{name} has other bytes on this node", where=here, seen=seen)
