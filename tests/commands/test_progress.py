"""Progress of long work where there is no terminal: plain lines, with the time left once it is known."""

from __future__ import annotations

import pytest

from engine.commands import progress
from engine.commands.progress import Bars, _as_it_is


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the bars read, in seconds; a line is due at once."""
    now = [100.0]
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_is_judged_by_what_was_done_since_the_first_word(
    clock: list[float], capsys: pytest.CaptureFixture
) -> None:
    bars = Bars()
    bars.update("training", 0.42, "step 420")  # never "0.0 s left": nothing is known yet
    clock[0] += 10
    bars.update("training", 0.52, "step 520")
    assert capsys.readouterr().out.splitlines() == [
        "  training: 42% step 420",
        "  training: 52% step 520, 48 s left",
    ]


def test_what_the_scheduler_knows_of_the_time_left_is_shown(
    clock: list[float], capsys: pytest.CaptureFixture
) -> None:
    Bars().update("training", 0.5, seconds_left=75)
    assert capsys.readouterr().out == "  training: 50%, 1 min 15 s left\n"


def test_a_title_is_no_command_to_terminal_or_rich() -> None:
    assert _as_it_is("[1/2] [/b] [bold]x[/] \x1b[2J") == r"[1/2] \[/b] \[bold]x\[/] " + "\ufffd[2J"
