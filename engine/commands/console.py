"""What the command line prints: progress on a terminal, plain lines elsewhere, tables, JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

LINE_SECONDS = 10  # between two lines of progress where there is no terminal


def say(text: str = "") -> None:
    """One line for a person; on stdout, flushed so that a pipe sees it at once."""
    print(text, flush=True)


def warn(text: str) -> None:
    """One line for a person, on stderr."""
    print(text, file=sys.stderr, flush=True)


def emit_json(value: Any) -> None:
    """Print what a program may read: dataclasses as objects, NaN as null."""
    print(json.dumps(_plain(value), indent=2, ensure_ascii=False), flush=True)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def told_number(measurement: Any) -> dict[str, Any]:
    """A measurement's fields without its samples and replicates, which no person and few programs read."""
    return {k: v for k, v in vars(measurement).items() if k not in ("samples", "replicates")}


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Aligned columns; the last one takes the rest of the line and is never cut."""
    cells = [[str(c) for c in row] for row in rows]
    widths = [max(len(r[i]) for r in [list(headers), *cells]) for i in range(len(headers) - 1)]
    for row in [list(headers), *cells]:
        left = "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=False))
        say(f"{left}  {row[-1]}".rstrip())


def human_bytes(count: float) -> str:
    """`98 MB`: three significant digits, decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def human_seconds(seconds: float | None) -> str:
    """`8 s`, `3 min 20 s`, `2 h 5 min`; a dash where nothing is known."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


class Bars:
    """Long tasks that go on at once: a bar each with time left on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self.tasks: dict[str, Any] = {}
        self.started: dict[str, float] = {}
        self.last_line = time.monotonic()
        self.bars = None

    def update(self, title: str, fraction: float, message: str = "") -> None:
        """Show that `fraction` (0 to 1) of a task is done; the first word of a title begins it."""
        began = self.started.setdefault(title, time.monotonic())
        if sys.stdout.isatty():
            self.bars = self.bars or _terminal_bars()
            if title not in self.tasks:
                self.tasks[title] = self.bars.add_task(title, total=1.0, message="")
            self.bars.update(self.tasks[title], completed=fraction, message=message)
        elif time.monotonic() - self.last_line >= LINE_SECONDS:
            self.last_line = time.monotonic()
            left = (self.last_line - began) * (1 - fraction) / fraction if fraction > 0 else None
            say(f"  {title}: {fraction:.0%} {message}, {human_seconds(left)} left".replace(" ,", ","))

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


class Progress:
    """One long task."""

    def __init__(self, title: str) -> None:
        self.title, self.bars = title, Bars()

    def update(self, fraction: float, message: str = "") -> None:
        """Show that `fraction` (0 to 1) of the task is done."""
        self.bars.update(self.title, fraction, message)

    def close(self) -> None:
        self.bars.close()


def _terminal_bars():
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

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


@contextmanager
def progress(title: str) -> Iterator[Progress]:
    """A Progress that is taken off the screen whatever happens."""
    shown = Progress(title)
    try:
        yield shown
    finally:
        shown.close()
