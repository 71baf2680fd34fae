"""What passes between the scheduler and those who measure."""

from __future__ import annotations

from typing import Any, cast

import pytest

from engine.evidence.result import Result
from engine.runs.execution import executor
from engine.runs.execution.executor import TaskProgress, seldom, used_runs
from engine.runs.planning.keys import RunInputs
from engine.runs.store.record import RunName, RunRecord, StoredRun

NAME = RunName("words", "count", (), "tiny")


def test_words_of_progress_are_thinned_and_no_start_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 5.0
    monkeypatch.setattr(executor.time, "monotonic", lambda: now)
    heard: list[tuple[str, float]] = []
    listen = seldom(lambda progress: heard.append((progress.phase, progress.fraction)), seconds=1.0)
    for phase, fraction, at in [
        ("fetch", 0.1, 5.0),
        ("fetch", 0.2, 5.5),
        ("start", 0.0, 5.6),
        ("progress", 0.1, 5.6),
        ("progress", 0.2, 6.5),
        ("progress", 0.3, 6.7),
    ]:
        now = at
        listen(TaskProgress(NAME, cast(Any, phase), fraction))
    assert heard == [("fetch", 0.1), ("start", 0.0), ("progress", 0.1), ("progress", 0.3)]


def test_used_runs_are_by_role_and_point_with_what_they_were_measured_as() -> None:
    def stored(seed: int) -> StoredRun:
        name = RunName("words", "layer", (("seed", seed),), "tiny")
        inputs = RunInputs({"family": "count_words", "parameters": {"seed": seed}}, {}, "aa", {}, {})
        return StoredRun(seed, RunRecord(name, "count_words", inputs, {}), {})

    upstream = {f"saes: layer[seed={seed}]": stored(seed) for seed in (4, 2)} | {"one: layer": stored(7)}
    found = {seed: Result() for seed in (4, 2, 7)}
    used = used_runs(upstream, lambda run: found[run.id])
    assert {role: [dict(point)["seed"] for point in runs] for role, runs in used.items()} == {
        "saes": [4, 2],
        "one": [7],
    }
    run = used["saes"][("seed", 2),]
    assert run.result is found[2]
    assert run.experiment == {"family": "count_words", "parameters": {"seed": 2}}
