"""What a run takes and may take of the machine."""

from __future__ import annotations

import os

import pytest

from engine.runs.execution.resources import device_name, limit_threads, peak_bytes, start_peak


def test_a_device_is_named_with_its_processor() -> None:
    kind, _, processor = device_name("cpu").partition(": ")
    assert kind == "cpu"
    assert processor


def test_the_peak_remembers_memory_that_was_let_go_of() -> None:
    size = 200_000_000
    start_peak()
    before = peak_bytes()
    block = bytearray(size)
    block[::4096] = b"x" * len(block[::4096])  # touched, or the system would not have given it
    del block
    assert peak_bytes() >= before + size * 0.5


def test_threads_are_limited_and_never_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("MKL_NUM_THREADS", "8")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    limit_threads(4)
    found = [os.environ[f"{name}_NUM_THREADS"] for name in ("OMP", "MKL", "OPENBLAS")]
    assert found == ["2", "4", "4"]
    del os.environ["OPENBLAS_NUM_THREADS"]
