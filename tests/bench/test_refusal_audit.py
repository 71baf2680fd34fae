"""The bench of an audit: each stage is timed, what is stopped early is scaled, the bars stand beside it."""

from __future__ import annotations

import pytest

from engine.lab.planted_gate import gate_lab
from tests.bench.refusal_audit import Stopped, TimedLab, measured, report, tell_progress

FOUND = {
    "model": "tiny",
    "n": 100,
    "dtype": "bfloat16",
    "threads": 2,
    "load_seconds": 3.0,
    "gflops": {"float32": 100.0, "bfloat16": 300.0},
    "seconds": 300.0,
    "measured_share": 0.5,
    "whole_seconds": 600.0,
    "stages": {"screening candidates": 200.0, "answering": 100.0},
    "peak_bytes": 6_000_000_000,
}


def test_an_audit_that_is_stopped_says_what_all_of_it_would_take() -> None:
    lab = gate_lab(gates=True)
    timed = TimedLab(lab.model, lab.prompts, stop_at=0.01)
    found = measured(timed, {"max_new_tokens": 2})
    assert list(found["stages"]) == ["answering training requests for the refusal tokens"]
    assert 0 < found["measured_share"] < 1
    assert found["whole_seconds"] == pytest.approx(found["seconds"] / found["measured_share"])
    assert found["peak_bytes"] > 1_000_000


def test_the_stages_of_one_name_are_one_row_and_a_failed_one_counts() -> None:
    ticks = iter(range(100))
    lab = TimedLab(gate_lab(gates=True).model, clock=lambda: float(next(ticks)))
    for until in (0.2, 0.4):
        with lab.stage(until, "answering"):
            pass
    with pytest.raises(KeyError), lab.stage(0.6, "breaking"):
        raise KeyError
    lab.stop_at = 0.5
    with pytest.raises(Stopped), lab.stage(0.8, "the last"):
        pass
    assert lab.seconds == {"answering": 2.0, "breaking": 1.0, "the last": 1.0}


def test_the_report_names_the_longest_stage_first_and_both_bars() -> None:
    text = report(FOUND)
    assert text.index("screening candidates") < text.index(" answering")
    assert "audit 10.0 min (at the pace of its first 50%) (bar 20), peak memory 6.0 GB (bar 12)" in text
    # Three times as slow a product: three times as long.
    assert "about 30 min in float32" in text


def test_progress_is_told_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, 1.0, 5.0, 30.0])
    progress = tell_progress(lambda: next(times), every=20.0)
    for fraction in (0.1, 0.2, 0.3):
        progress(fraction, "screening")
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "refusal audit, 1 s: 10%, screening",
        "refusal audit, 30 s: 30%, screening",
    ]
