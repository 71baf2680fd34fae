"""A run's log is there as it is written, with what libraries warned of."""

from __future__ import annotations

import warnings
from pathlib import Path

from engine.runs.store.journal import journal
from engine.runs.store.record import RunName

NAME = RunName("words", "count", (("seed", 3),), "tiny")


def test_a_log_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    with journal(tmp_path / "log.txt", NAME) as log:
        log.write("so far")
        assert (tmp_path / "log.txt").read_text().splitlines()[-1].endswith("s  so far")
        assert log.text().splitlines()[0].endswith("words/count[seed=3] on tiny")


def test_progress_is_told_when_its_message_changes_and_else_seldom(tmp_path: Path) -> None:
    with journal(tmp_path / "log.txt", NAME) as log:
        for fraction in (0.1, 0.2, 0.3):
            log.progress(fraction, "training")
        log.progress(0.4, "matching")
    lines = (tmp_path / "log.txt").read_text().splitlines()[1:]
    assert [line.partition("s  ")[2] for line in lines] == [" 10% training", " 40% matching"]


def test_warnings_go_to_the_log_and_are_as_before_afterwards(tmp_path: Path) -> None:
    before = warnings.showwarning
    with journal(tmp_path / "log.txt", NAME) as log:
        warnings.simplefilter("always")
        warnings.warn("odd input", UserWarning, stacklevel=1)
        assert "UserWarning: odd input" in log.text()
    assert warnings.showwarning is before
