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
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from engine.errors import EngineError
from engine.runs.execution.parallel import Order, Told, execute_with
from engine.runs.execution.ray_node import Mailbox, measure_here
from engine.runs.execution.scheduler import Execution, Outcome
from engine.runs.execution.workbench import Answer
from engine.runs.planning.plan import PlannedRun
from engine.runs.store.record import RunName

RETRIES = 2
TCP_SECONDS, PROBE_SECONDS = 5.0, 45.0  # for an address to answer at all, and as Ray
NODE_WAIT_SECONDS = 60.0  # for a node large enough to come back, before a run is given up
LOOK_SECONDS = 5.0  # between two looks at which nodes are alive
QUEUED = 2  # runs out for each that the cluster has room for
PROBE = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False, logging_level=40)"


def on_cluster(execution: Execution, address: str) -> dict[RunName, Outcome]:
    """Carry out the plan on the cluster at `address`, HOST:PORT of its head or "auto".

    Raises EngineError where Ray is not installed or nothing answers there; nothing was begun then.
    """
    ray = imported_ray()
    ours = not ray.is_initialized()
    if ours:
        connect(ray, address)
    try:
        return execute_with(execution, Nodes(ray, execution))
    finally:
        if ours:
            ray.shutdown()


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
    return lines[-1] if done.returncode else ""


@dataclass(frozen=True)
class Needs:
    """What a task asks Ray for."""

    cpus: int
    memory_bytes: int
    gpus: int

    def fit(self, node: dict[str, float]) -> bool:
        """Whether a node with these resources in all could ever take the task."""
        enough = node.get("CPU", 0) >= self.cpus and node.get("memory", 0) >= self.memory_bytes
        return enough and node.get("GPU", 0) >= self.gpus

    @property
    def options(self) -> dict[str, float]:
        """As Ray's keywords."""
        gpus = {"num_gpus": self.gpus} if self.gpus else {}
        return {"num_cpus": self.cpus, "memory": self.memory_bytes, **gpus}


def needs(memory_bytes: int, nodes: list[dict[str, float]], n_runs: int) -> Needs:
    """A task's share of the cluster: the memory it was estimated to take, and the cores that go with it.

    Where memory lets few tasks onto a node, or there are few runs, each gets more of the cores; never more
    than the smallest node that can hold it has. Where there are GPUs, each task has one to itself.
    """
    gpus = 1 if any(node.get("GPU", 0) >= 1 for node in nodes) else 0
    able = [node for node in nodes if Needs(1, memory_bytes, gpus).fit(node)]
    if not able:
        return Needs(1, memory_bytes, gpus)
    shares = [node["CPU"] / max(1, node["memory"] // max(memory_bytes, 1)) for node in able]
    spread = sum(node["CPU"] for node in able) / max(n_runs, 1)
    most = min(node["CPU"] for node in able)
    return Needs(max(1, int(min(most, max(*shares, spread)))), memory_bytes, gpus)


@dataclass
class Nodes:
    """The cluster as `parallel.Hands`."""

    ray: Any
    execution: Execution
    out: dict[Any, tuple[RunName, Needs]] = field(default_factory=dict)  # by the reference of its answer
    lent: dict[int, Any] = field(default_factory=dict)  # references of stored evidence, by run id
    homeless: dict[RunName, float] = field(default_factory=dict)  # since when no node can take it

    def __post_init__(self) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(self.ray.get_runtime_context().get_node_id(), soft=False)
        mailbox = self.ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here)
        self.mailbox = mailbox.remote()
        self.task = self.ray.remote(measure_here)
        self.maker = self.ray.put(self.execution.sources.maker)
        self.looked = 0.0

    def refusal(self, run: PlannedRun) -> str:
        """Why no node is large enough; empty where one is, or may still come back."""
        nodes, wanted = self._alive(), self._needs(run)
        if any(wanted.fit(node) for node in nodes) or self._patience(run.name):
            return ""
        return _too_large(wanted, nodes)

    def room(self, run: PlannedRun) -> bool:
        """Whether the queue is short; where a task goes is Ray's business."""
        nodes, wanted = self._alive(), self._needs(run)
        slots = sum(
            min(node["CPU"] // wanted.cpus, node["memory"] // max(wanted.memory_bytes, 1))
            for node in nodes
            if wanted.fit(node)
        )
        return len(self.out) < QUEUED * slots

    def take(self, order: Order) -> None:
        """Submit the task with what it uses."""
        wanted = self._needs(order.run)
        upstream = list(order.upstream.items())
        evidence = [self._lent(stored) for stored in order.upstream.values()]
        task = self.task.options(
            **wanted.options, max_retries=RETRIES, retry_exceptions=False, name=str(order.task.name)
        )
        reference = task.remote(self.maker, order.task, wanted.cpus, self.mailbox, upstream, *evidence)
        self.out[reference] = order.task.name, wanted

    def news(self, seconds: float) -> Iterator[Told | Answer]:
        """What tasks said, answers that came back, and the end of those that no node can take any more."""
        if not self.out:
            time.sleep(seconds)
            return
        done, _ = self.ray.wait(list(self.out), num_returns=1, timeout=seconds)
        with suppress(self.ray.exceptions.RayError):
            yield from self.ray.get(self.mailbox.emptied.remote(), timeout=TCP_SECONDS)
        for reference in done:
            name, _ = self.out.pop(reference)
            yield self._answer(reference, name)
        yield from self._given_up()

    def close(self) -> None:
        """Take back what is still out."""
        for reference in self.out:
            with suppress(self.ray.exceptions.RayError):
                self.ray.cancel(reference, force=True)
        with suppress(self.ray.exceptions.RayError):
            self.ray.kill(self.mailbox)

    def _answer(self, reference: Any, name: RunName) -> Answer:
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            said = str(error).strip().splitlines()
            why = f"{type(error).__name__} after {RETRIES + 1} attempts: {said[0] if said else 'no reason'}"
            return Answer(name, None, str(error), why, why)

    def _given_up(self) -> Iterator[Answer]:
        """Answers for tasks that have been waiting long for a node that can take them."""
        if time.monotonic() - self.looked < LOOK_SECONDS:
            return
        self.looked, nodes = time.monotonic(), self._alive()
        for reference, (name, wanted) in list(self.out.items()):
            if any(wanted.fit(node) for node in nodes):
                self.homeless.pop(name, None)
            elif not self._patience(name):
                del self.out[reference]
                self.ray.cancel(reference, force=True)
                why = _too_large(wanted, nodes)
                yield Answer(name, None, why, why, why)

    def _patience(self, name: RunName) -> bool:
        """Whether a node for this run may still come back."""
        since = self.homeless.setdefault(name, time.monotonic())
        return bool(self.out) and time.monotonic() - since < NODE_WAIT_SECONDS

    def _alive(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"] and node["Resources"]]

    def _needs(self, run: PlannedRun) -> Needs:
        return needs(run.estimate.memory_bytes, self._alive(), len(self.execution.plan.order))

    def _lent(self, stored: Any) -> Any:
        """A reference to the evidence of a stored run, which is put into the object store once."""
        if stored.id not in self.lent:
            self.lent[stored.id] = self.ray.put(self.execution.store.load(stored))
        return self.lent[stored.id]


def _too_large(wanted: Needs, nodes: list[dict[str, float]]) -> str:
    from engine.models.machine import size_text

    largest = max((node.get("memory", 0) for node in nodes), default=0)
    gpu = " and a GPU" if wanted.gpus else ""
    asked = f"{wanted.cpus} CPU and {size_text(wanted.memory_bytes)} of memory{gpu}"
    return f"no node of the cluster has {asked}; the largest has {size_text(math.floor(largest))}"
