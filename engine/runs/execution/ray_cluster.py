"""Runs measured on the nodes of a Ray cluster; this process, on one of its nodes, keeps the one store.

Each run is a Ray task that asks for processors, memory and, where the cluster has any, a GPU. What it uses
goes to it, and what it found comes back, by value through Ray's object store, in Ray's own transport; nothing
on disk is unpickled, and only this process writes to the run store. A node needs the same version of the
engine (the task compares the code with the plan's and refuses to differ), loads models from its own cache or
fetches them, and sees prompts and corpora that are files only where they lie on a disk that it shares.

Ray starts a task again whose worker or node died, at most `RETRIES` times and on whichever node has room;
runs that had come back are not affected. A run that no node is large enough for is told and left out.
"""

from __future__ import annotations

import logging
import math
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from engine.errors import EngineError
from engine.evidence.result import Result
from engine.models.machine import size_text
from engine.runs.execution.executor import Answer, Job, Listener, Task
from engine.runs.execution.ray_node import Mailbox, measure_here
from engine.runs.planning.keys import RunInputs
from engine.runs.planning.plan import PlannedRun
from engine.runs.sources import Sources
from engine.runs.store.record import RunName, StoredRun

RETRIES = 2
TCP_SECONDS = 5.0  # for an address to answer at all
PROBE_SECONDS = 45.0  # for it to answer as Ray
NODE_WAIT_SECONDS = 60.0  # for a node large enough to come back, before a run is given up
LOOK_SECONDS = 5.0  # between two looks at which nodes are alive
QUEUED = 2  # submitted runs for each that there is room for, so that no node waits for this process
PROBE = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False, logging_level=40)"


def ray_executor(
    address: str, maker: Callable[[], Sources] | None, load: Callable[[StoredRun], Result], n_runs: int
) -> RayExecutor:
    """The cluster at `address`, HOST:PORT of its head or "auto", for so many runs in all.

    Raises EngineError where Ray is not installed or nothing answers there; nothing was begun then.
    """
    ray = imported_ray()
    # A process that has joined by itself, such as a notebook on the cluster, stays joined afterwards.
    is_ours = not ray.is_initialized()
    if is_ours:
        connect(ray, address)
    try:
        return RayExecutor(ray, maker, load, n_runs, is_ours)
    except BaseException:
        if is_ours:
            ray.shutdown()
        raise


def imported_ray() -> Any:
    """The module; EngineError says how to install it."""
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise EngineError(
            "Ray is not installed here",
            where="--cluster",
            expected="the extra `cluster`",
            hint="pip install 'mech-interpretability[cluster]'",
        ) from None
    return ray


def connect(ray: Any, address: str) -> None:
    """Join the cluster; EngineError within a minute where there is none."""
    problem = _unreachable(address) or _no_ray(address)
    if problem:
        raise EngineError(
            "no Ray cluster answers there",
            where=f"--cluster {address}",
            expected="auto on a node of a cluster, or HOST:PORT of its head, as in 10.0.0.5:6379",
            seen=problem,
            hint="`ray start --head` begins a cluster, `ray status` shows it; nothing was measured",
        )
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)


def _unreachable(address: str) -> str:
    """Why a HOST:PORT cannot even be connected to; empty for one that can, and for "auto"."""
    if address == "auto":
        return ""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit() or not 0 < int(port) < 65536:
        return f"{address!r}, which is no HOST:PORT"
    try:
        socket.create_connection((host, int(port)), TCP_SECONDS).close()
    except OSError as error:
        return str(error)
    return ""


def _no_ray(address: str) -> str:
    """Why Ray cannot join there. Asked in a process of its own, which Ray may block or abort."""
    try:
        probe = [sys.executable, "-W", "ignore", "-c", PROBE, address]
        done = subprocess.run(probe, capture_output=True, text=True, timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return f"no answer in {PROBE_SECONDS:.0f} s"
    lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
    # The last line of a traceback is the error itself.
    return lines[-1] if done.returncode else ""


@dataclass(frozen=True)
class TaskShare:
    """What a task asks Ray for."""

    cpus: int
    memory_bytes: int
    gpus: int

    def fits(self, node: dict[str, float]) -> bool:
        """Whether a node with these resources in all could ever take the task."""
        enough = node.get("CPU", 0) >= self.cpus and node.get("memory", 0) >= self.memory_bytes
        return enough and node.get("GPU", 0) >= self.gpus

    @property
    def options(self) -> dict[str, float]:
        """As Ray's keywords."""
        gpus = {"num_gpus": self.gpus} if self.gpus else {}
        return {"num_cpus": self.cpus, "memory": self.memory_bytes, **gpus}


def task_share(memory_bytes: int, nodes: list[dict[str, float]], n_runs: int) -> TaskShare:
    """A task's share of the cluster: the memory it was estimated to take, and the cores that go with it.

    Where memory lets few tasks onto a node, or there are few runs, each gets more of the cores; never more
    than the smallest node that can hold it has. Where there are GPUs, each task has one to itself.
    """
    gpus = 1 if any(node.get("GPU", 0) >= 1 for node in nodes) else 0
    able = [node for node in nodes if TaskShare(1, memory_bytes, gpus).fits(node)]
    if not able:
        return TaskShare(1, memory_bytes, gpus)
    # Cores for each task that a node has the memory for.
    by_memory = [node["CPU"] / max(1, node["memory"] // max(memory_bytes, 1)) for node in able]
    by_runs = sum(node["CPU"] for node in able) / max(n_runs, 1)
    smallest = min(node["CPU"] for node in able)
    # Not more than the smallest able node has, or that node would never be given a task.
    cpus = min(smallest, max(*by_memory, by_runs))
    return TaskShare(max(1, int(cpus)), memory_bytes, gpus)


@dataclass
class RayExecutor:
    """The nodes of a cluster. `load` reads what a stored run found, for the nodes that have no such disk."""

    ray: Any
    maker: Callable[[], Sources] | None
    load: Callable[[StoredRun], Result]
    n_runs: int
    is_ours: bool = False  # whether to leave the cluster in the end
    submitted: dict[Any, tuple[RunName, TaskShare]] = field(default_factory=dict)  # by answer's reference
    lent: dict[int, Any] = field(default_factory=dict)  # references of stored evidence, by run id
    homeless: dict[RunName, float] = field(default_factory=dict)  # since when no node can take it

    def __post_init__(self) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # On this very node: an actor elsewhere would die with its node, and the words of all tasks with it.
        here = NodeAffinitySchedulingStrategy(self.ray.get_runtime_context().get_node_id(), soft=False)
        mailbox = self.ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here)
        self.mailbox = mailbox.remote()
        self.task = self.ray.remote(measure_here)
        # Once for all tasks, and not a copy in each.
        self.lent_maker = self.ray.put(self.maker)
        self.looked = 0.0

    def refusal(self, run: PlannedRun) -> str:
        """Why no node is large enough; empty where one is, or may still come back."""
        nodes = self._alive()
        share = self._share(run)
        if any(share.fits(node) for node in nodes) or self._has_patience(run.name):
            return ""
        return _too_large(share, nodes)

    def has_room(self, run: PlannedRun) -> bool:
        """Whether the queue is short; where a task goes is Ray's business."""
        share = self._share(run)
        able = [node for node in self._alive() if share.fits(node)]
        slots = sum(
            min(node["CPU"] // share.cpus, node["memory"] // max(share.memory_bytes, 1)) for node in able
        )
        return len(self.submitted) < QUEUED * slots

    def resolve(self, task: Task, listen: Listener) -> RunInputs:
        """The inputs as they are: this process loads no model, the node that measures will see its bytes."""
        return task.inputs

    def begin(self, job: Job) -> None:
        """Submit the task with what it uses."""
        share = self._share(job.run)
        results = [self._lent(stored) for stored in job.upstream.values()]
        # A task that raised is not tried again: `measure_here` raises nothing that a second time would mend.
        task = self.task.options(
            **share.options, max_retries=RETRIES, retry_exceptions=False, name=str(job.task.name)
        )
        reference = task.remote(self.lent_maker, job.task, share.cpus, self.mailbox, job.upstream, *results)
        self.submitted[reference] = job.task.name, share

    def wait(self, seconds: float, listen: Listener) -> list[Answer]:
        """Answers that came back, and the end of tasks that no node can take any more."""
        if not self.submitted:
            time.sleep(seconds)
            return []
        done, _ = self.ray.wait(list(self.submitted), num_returns=1, timeout=seconds)
        # The mailbox first: what a task said belongs before its answer. One that is busy or dead can wait.
        with suppress(self.ray.exceptions.RayError):
            for progress in self.ray.get(self.mailbox.emptied.remote(), timeout=TCP_SECONDS):
                listen(progress)
        answers = []
        for reference in done:
            name, _ = self.submitted.pop(reference)
            answers.append(self._answer(reference, name))
        return answers + self._given_up()

    def close(self) -> None:
        """Take back what is still submitted, and leave a cluster that was joined for this."""
        try:
            for reference in self.submitted:
                with suppress(self.ray.exceptions.RayError):
                    self.ray.cancel(reference, force=True)
            with suppress(self.ray.exceptions.RayError):
                self.ray.kill(self.mailbox)
        finally:
            if self.is_ours:
                self.ray.shutdown()

    def _answer(self, reference: Any, name: RunName) -> Answer:
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines()
            first = lines[0] if lines else "no reason"
            why = f"{type(error).__name__} after {RETRIES + 1} attempts: {first}"
            return Answer(name, None, str(error), reason=why, failure=why)

    def _given_up(self) -> list[Answer]:
        """Answers for tasks that have been waiting long for a node that can take them.

        Ray itself waits for ever: a cluster may grow.
        """
        if time.monotonic() - self.looked < LOOK_SECONDS:
            return []
        self.looked = time.monotonic()
        nodes = self._alive()
        answers = []
        for reference, (name, share) in list(self.submitted.items()):
            if any(share.fits(node) for node in nodes):
                self.homeless.pop(name, None)
            elif not self._has_patience(name):
                # Answered for here: what still comes of it is not waited for.
                del self.submitted[reference]
                self.ray.cancel(reference, force=True)
                why = _too_large(share, nodes)
                answers.append(Answer(name, None, why, reason=why, failure=why))
        return answers

    def _has_patience(self, name: RunName) -> bool:
        """Whether a node for this run may still come back; only while others keep the build going."""
        since = self.homeless.setdefault(name, time.monotonic())
        return bool(self.submitted) and time.monotonic() - since < NODE_WAIT_SECONDS

    def _alive(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"] and node["Resources"]]

    def _share(self, run: PlannedRun) -> TaskShare:
        return task_share(run.estimate.memory_bytes, self._alive(), self.n_runs)

    def _lent(self, stored: StoredRun) -> Any:
        """A reference to the evidence of a stored run, which is put into the object store once."""
        if stored.id not in self.lent:
            self.lent[stored.id] = self.ray.put(self.load(stored))
        return self.lent[stored.id]


def _too_large(share: TaskShare, nodes: list[dict[str, float]]) -> str:
    largest = max((node.get("memory", 0) for node in nodes), default=0)
    gpu = " and a GPU" if share.gpus else ""
    asked = f"{share.cpus} CPU and {size_text(share.memory_bytes)} of memory{gpu}"
    return f"no node of the cluster has {asked}; the largest has {size_text(math.floor(largest))}"
