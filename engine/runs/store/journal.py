"""A run's log: its progress, and the warnings that libraries gave while it was measured."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from engine.runs.store.record import RunName

PROGRESS_SECONDS = 5  # at most one line of progress in this time, unless the message changed


@dataclass
class Journal:
    """Lines with the seconds since the run began, written at once so that a killed run's are there."""

    file: IO[str]
    started: float = field(default_factory=time.monotonic)
    told: tuple[float, str] = (-PROGRESS_SECONDS, "")

    def write(self, text: str) -> None:
        """One entry."""
        self.file.write(f"{time.monotonic() - self.started:8.1f} s  {text.rstrip()}\n")
        # At once: of a killed run the log is what is left, and the parent reads it.
        self.file.flush()

    def progress(self, fraction: float, message: str) -> None:
        """How far the run is, unless that was told a moment ago."""
        elapsed = time.monotonic() - self.started
        if message != self.told[1] or elapsed - self.told[0] >= PROGRESS_SECONDS:
            self.told = (elapsed, message)
            self.write(f"{fraction:4.0%} {message}")

    def text(self) -> str:
        """All that was written so far."""
        return Path(self.file.name).read_text(encoding="utf-8")


@contextmanager
def journal(path: Path, name: RunName) -> Iterator[Journal]:
    """The log at `path`; warnings given meanwhile go there and not to the screen."""
    with path.open("w", encoding="utf-8") as file, warnings.catch_warnings():
        log = Journal(file)
        # Put back by `catch_warnings`. A warning belongs to its run, not among a build's lines of progress.
        warnings.showwarning = lambda message, category, *_, **__: log.write(
            f"{category.__name__}: {message}"
        )
        log.write(str(name))
        yield log
