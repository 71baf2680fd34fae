"""Memory, cores and sizes of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.models import machine


def test_a_container_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "CGROUP_LIMITS", (limit, tmp_path / "absent"))
    limit.write_text("max\n")
    assert machine.memory_bytes() > 1_000_000
    limit.write_text("1000000\n")
    assert machine.memory_bytes() == 1_000_000
    assert machine.cores() >= 1


@pytest.mark.parametrize(
    ("count", "text"),
    [(5, "5 B"), (999_400, "999 kB"), (999_600, "1 MB"), (92_871_040, "93 MB"), (3.1e9, "3.1 GB")],
)
def test_sizes_read_well(count: float, text: str) -> None:
    assert machine.size_text(count) == text


def test_a_limit_above_the_machines_own_memory_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.limit_in_bytes"
    limit.write_text(f"{2**62}\n")  # how cgroup v1 says that there is none
    monkeypatch.setattr(machine, "CGROUP_LIMITS", (tmp_path / "absent",))
    unlimited = machine.memory_bytes()
    monkeypatch.setattr(machine, "CGROUP_LIMITS", (tmp_path / "absent", limit))
    assert machine.memory_bytes() == unlimited


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda process: {3, 5, 7}, raising=False)
    assert machine.cores() == 3
    monkeypatch.delattr(machine.os, "sched_getaffinity")
    monkeypatch.setattr(machine.os, "cpu_count", lambda: None)
    assert machine.cores() == 1
