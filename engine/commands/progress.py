"""What a person sees of long work: a bar for each part of it, plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from engine.commands.console import human_seconds, say, terminal_text
from engine.runs.execution.events import Event

LINE_SECONDS = 10  # between two lines of progress where there is no terminal


class Bars:
    """Long tasks that go on at once: a bar each with time left on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self.tasks: dict[str, Any] = {}
        self.started: dict[str, tuple[float, float]] = {}  # when, and at which fraction
        self.last_line = time.monotonic()
        self.bars: RichProgress | None = None

    def update(
        self, title: str, fraction: float, message: str = "", seconds_left: float | None = None
    ) -> None:
        """Show that `fraction` (0 to 1) of a task is done; the first word of a title begins it.

        `seconds_left` is what the caller knows; else it is judged by what was done since the first word.
        """
        self.started.setdefault(title, (time.monotonic(), fraction))
        if sys.stdout.isatty():
            # Not before there is something to show: while they are up, the cursor is hidden.
            self.bars = self.bars or _terminal_bars()
            if title not in self.tasks:
                self.tasks[title] = self.bars.add_task(_as_it_is(title), total=1.0, message="")
            self.bars.update(self.tasks[title], completed=fraction, message=_as_it_is(message))
        elif time.monotonic() - self.last_line >= LINE_SECONDS:
            # One clock for all tasks: several runs at once must not fill a log several times as fast.
            self.last_line = time.monotonic()
            left = self._seconds_left(title, fraction) if seconds_left is None else seconds_left
            told = f"  {title}: {fraction:.0%} {message}".rstrip()
            say(told if left is None else f"{told}, {human_seconds(left)} left")

    def _seconds_left(self, title: str, fraction: float) -> float | None:
        """None until something was done since the first word, which may come when much is done already."""
        began, begun_at = self.started[title]
        done = fraction - begun_at
        return (time.monotonic() - began) * (1 - fraction) / done if done > 0 else None

    def end(self, title: str) -> None:
        """Take a task off the screen."""
        self.started.pop(title, None)
        if self.bars is not None and title in self.tasks:
            self.bars.remove_task(self.tasks.pop(title))
        if not self.started:
            self.close()

    def close(self) -> None:
        """Take everything off the screen."""
        self.tasks.clear()
        self.started.clear()
        if self.bars is not None:
            self.bars.stop()
            self.bars = None


def _as_it_is(text: str) -> str:
    """A text in which neither a terminal nor rich finds a command."""
    return escape(terminal_text(text))


def _terminal_bars() -> RichProgress:
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[message]}"),
    )
    bars = RichProgress(*columns, transient=True)
    bars.start()
    return bars


class Progress:
    """One long task."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.bars = Bars()

    def update(self, fraction: float, message: str = "") -> None:
        """Show that `fraction` (0 to 1) of the task is done."""
        self.bars.update(self.title, fraction, message)

    def close(self) -> None:
        self.bars.close()


@contextmanager
def progress(title: str) -> Iterator[Progress]:
    """A Progress that is taken off the screen whatever happens."""
    shown = Progress(title)
    try:
        yield shown
    finally:
        shown.close()


class RunProgress:
    """The events of `execute` as lines and bars, several runs at once if need be."""

    def __init__(self) -> None:
        self.bars = Bars()

    def __call__(self, event: Event) -> None:
        title = f"[{event.index}/{event.total}] {event.run.name}"
        if event.kind == "progress":
            self.bars.update(title, event.fraction, event.message, event.seconds_left)
        elif event.kind == "fetch":
            self.bars.update(f"{title}: fetching", event.fraction, event.message)
        else:
            # Both, since a model may have been fetched for it, and before the line, which they would hide.
            self.bars.end(title)
            self.bars.end(f"{title}: fetching")
            say(f"{title}: {_event_text(event)}")


@contextmanager
def run_progress(*, quiet: bool) -> Iterator[Callable[[Event], None]]:
    """A listener for the events of `execute`, taken off the screen whatever happens; mute where `quiet`."""
    if quiet:
        yield lambda event: None
        return
    shown = RunProgress()
    try:
        yield shown
    finally:
        shown.bars.close()


def _event_text(event: Event) -> str:
    if event.kind == "start":
        return f"measuring, about {human_seconds(event.seconds_left)}"
    if event.kind == "wait":
        who = f"another build (process {event.message})" if event.message else "another build or run"
        return f"{who} is measuring this; waiting for it"
    if event.kind == "done":
        return f"done, {event.message}"
    if event.kind == "reused":
        return f"another build measured it meanwhile, {event.message}"
    return f"{'failed' if event.kind == 'failed' else 'not measured'}: {event.message}"
