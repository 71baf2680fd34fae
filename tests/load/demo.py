"""`make load`: ten people at once use a running demo for two minutes, while its memory is to stay flat.

Each of them picks an example of some panel, waits for its answer and picks the next, by the requests that the
page itself sends. The demo has one model and a queue, so that each waits for the others. Printed are the
requests, the median and 95 % latency by panel, the errors, and the server's memory at its start, after 30
seconds and at the end.

    python -m tests.load.demo                                   starts a demo of its own
    python -m tests.load.demo --url http://127.0.0.1:7860/      one that runs on this machine

Exit status 1 where a request failed or memory grew by more than a tenth from 30 seconds on.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any

import httpx
import numpy as np
import psutil

SETTLED_SECONDS = 30.0
MOST_GROWTH = 0.1
"""Of the memory after SETTLED_SECONDS, by which each dictionary and lens that is shared has been made."""

START_SECONDS = 600.0
ANSWER_SECONDS = 300.0
MEGABYTE = 2**20


@dataclass(frozen=True)
class Examples:
    """A panel's list of examples: the event that runs one of them, by its number."""

    panel: str
    event: int
    trigger: int
    amount: int


@dataclass(frozen=True)
class Request:
    """One answered request; `problem` says what went wrong, if anything did."""

    panel: str
    seconds: float
    problem: str = ""


def config_of(page: str) -> dict[str, Any]:
    """What the page says of its components and events."""
    place = page.index("window.gradio_config")
    config, _ = json.JSONDecoder().raw_decode(page[page.index("{", place) :])
    return config


def examples_of(config: Mapping[str, Any]) -> list[Examples]:
    """The list of examples of each panel, in the order of the tabs."""
    found: list[Examples] = []
    panel = ""
    for component in config["components"]:
        props = component["props"]
        if component["type"] == "tabitem":
            panel = str(props["id"])
        elif component["type"] == "dropdown" and props.get("label") == "Examples":
            picked = [component["id"], "input"]
            event = next(e for e in config["dependencies"] if picked in e["targets"])
            found.append(Examples(panel, event["id"], component["id"], len(props["choices"])))
    return found


def ask(client: httpx.Client, prefix: str, examples: Examples, number: int) -> str:
    """Run one example as the page does; returns what went wrong, or nothing."""
    session = secrets.token_hex(6)
    body = {
        "data": [number],
        "event_data": None,
        "fn_index": examples.event,
        "trigger_id": examples.trigger,
        "session_hash": session,
    }
    joined = client.post(f"{prefix}/queue/join", json=body)
    if joined.status_code != 200:
        return f"status {joined.status_code}"
    with client.stream("GET", f"{prefix}/queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            if not line.startswith("data:"):
                continue
            message = json.loads(line.removeprefix("data:"))
            if message["msg"] == "process_completed":
                return problem_in(message)
            if message["msg"] in ("unexpected_error", "queue_full"):
                return str(message.get("message") or message["msg"])
    return "the answer ended before it was whole"


def problem_in(message: Mapping[str, Any]) -> str:
    """What a finished request says went wrong: the server's error, or the panel's own message."""
    if not message.get("success"):
        return "the server failed"
    said = re.search(r'class=\\"mech-problem\\"[^>]*>(?:<[^>]*>)*([^<]*)', json.dumps(message["output"]))
    return said[1] if said else ""


def use(
    url: str, prefix: str, panels: Sequence[Examples], seed: int, ends: float, done: list[Request]
) -> None:
    """One person until `ends`, by the clock of `time.monotonic`."""
    choose = random.Random(seed)
    with httpx.Client(base_url=url, timeout=ANSWER_SECONDS) as client:
        while time.monotonic() < ends:
            examples = choose.choice(panels)
            began = time.monotonic()
            try:
                problem = ask(client, prefix, examples, choose.randrange(examples.amount))
            except httpx.HTTPError as error:
                problem = type(error).__name__
            done.append(Request(examples.panel, time.monotonic() - began, problem))
            if problem:
                time.sleep(1.0)  # what is turned away is not asked for again at once


def table(requests: Sequence[Request]) -> Iterator[str]:
    """Requests, latency and errors by panel, and of all together."""
    panels = list(dict.fromkeys(request.panel for request in requests))
    yield f"{'panel':<12}{'requests':>9}{'median s':>10}{'95 % s':>9}{'errors':>8}"
    for name in [*sorted(panels), "all"]:
        chosen = [request for request in requests if name in (request.panel, "all")]
        median, late = np.quantile([request.seconds for request in chosen], (0.5, 0.95))
        errors = sum(bool(request.problem) for request in chosen)
        yield f"{name:<12}{len(chosen):>9}{median:>10.2f}{late:>9.2f}{errors:>8}"


def growth(after_settling: float, at_end: float) -> float:
    """By which share memory grew."""
    return at_end / after_settling - 1.0


def memory(process: psutil.Process) -> float:
    """Bytes that a process and its children have in memory."""
    return sum(each.memory_info().rss for each in [process, *process.children(recursive=True)])


@contextmanager
def running(url: str, port: int) -> Iterator[tuple[str, psutil.Process]]:
    """The demo at `url`, or one that is started and ended; with the process that serves it."""
    if url:
        yield url, server_of(httpx.URL(url).port or 80)
        return
    command = [sys.executable, "-c", "from engine.cli import main; main()", "demo", "--port", str(port)]
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}/", psutil.Process(started.pid)
    finally:
        started.terminate()
        started.wait()


def server_of(port: int) -> psutil.Process:
    """The process of this machine that listens at a port."""
    for connection in psutil.net_connections("tcp"):
        listens = connection.status == psutil.CONN_LISTEN and getattr(connection.laddr, "port", 0) == port
        if listens and connection.pid:
            return psutil.Process(connection.pid)
    raise SystemExit(f"no process of yours listens at port {port}")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def waited_for(url: str, process: psutil.Process) -> dict[str, Any]:
    """What the page says, once there is one; SystemExit where the demo does not start."""
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends and process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        try:
            return config_of(httpx.get(url, timeout=START_SECONDS).text)
        except httpx.TransportError:
            time.sleep(0.5)
    raise SystemExit("the demo did not start: mech demo says why")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", default="", help="of a demo that runs on this machine")
    parser.add_argument("--users", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=120.0)
    asked = parser.parse_args(arguments)
    done: list[Request] = []
    with running(asked.url, free_port()) as (url, process):
        config = waited_for(url, process)
        prefix = config["api_prefix"]
        panels = examples_of(config)
        # The model is loaded, and each panel has answered, before anything is timed.
        with httpx.Client(base_url=url, timeout=START_SECONDS) as client:
            first = [Request(panel.panel, 0.0, ask(client, prefix, panel, 0)) for panel in panels]
        measured = {"at the start": memory(process)}
        ends = time.monotonic() + asked.seconds
        people = [
            Thread(target=use, args=(url, prefix, panels, seed, ends, done)) for seed in range(asked.users)
        ]
        for person in people:
            person.start()
        time.sleep(min(SETTLED_SECONDS, asked.seconds / 2))
        measured[f"after {min(SETTLED_SECONDS, asked.seconds / 2):.0f} s"] = memory(process)
        for person in people:
            person.join()
        measured["at the end"] = memory(process)
    print(f"{asked.users} people for {asked.seconds:.0f} s, {len(panels)} panels\n")
    print("\n".join(table(done)))
    print("\nmemory of the server")
    for when, size in measured.items():
        print(f"  {when:<14}{size / MEGABYTE:>8,.0f} MiB")
    _, settled, end = measured.values()
    grown = growth(settled, end)
    print(f"  from then on {100 * grown:+.1f} %")
    problems = [request for request in [*first, *done] if request.problem]
    for problem in dict.fromkeys(f"{request.panel}: {request.problem}" for request in problems):
        print(f"error in {problem}")
    return 1 if problems or grown > MOST_GROWTH else 0


if __name__ == "__main__":
    sys.exit(main())
