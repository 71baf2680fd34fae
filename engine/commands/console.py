"""What the command line prints: a command returns an `Output`, and `show` alone writes it."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Control characters but line ends and tabs, marks of writing direction, halves of characters.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class TextTable:
    """Rows under headers in aligned columns; the last one takes the rest of the line and is never cut."""

    headers: Sequence[str]
    rows: Sequence[Sequence[object]]

    def __str__(self) -> str:
        lines = [list(self.headers), *([str(cell) for cell in row] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)][:-1]
        return "\n".join(_aligned(line, widths) for line in lines)


@dataclass(frozen=True)
class Output:
    """What a command has to say: lines and tables for a person, `data` for a program, and the exit status.

    `as_json` is the command's --json, which decides between the two. Exit status 0: done; 1: done, and
    something needs a person.
    """

    text: Sequence[str | TextTable] = ()
    data: Any = None
    as_json: bool = False
    exit_status: int = 0


def show(output: Output) -> None:
    """Print what a command returned."""
    if output.as_json:
        text = json.dumps(plain(output.data), indent=2, ensure_ascii=False)
        # JSON leaves some of them as they are, and has a way to write each.
        say(_UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))
        return
    for block in output.text:
        say(str(block))


def say(text: str = "") -> None:
    """One line for a person; on stdout, flushed so that a pipe sees it at once."""
    print(terminal_text(text), flush=True)


def terminal_text(text: str) -> str:
    """A text in which nothing commands a terminal.

    What models answer, and what titles and errors hold, is anybody's writing: an escape sequence in it would
    clear the screen, rewrite what stands there or change the terminal's title, and a mark of direction would
    turn round what is read.
    """
    return _UNPRINTABLE.sub("\ufffd", text)


def plain(value: Any) -> Any:
    """The value as JSON has it: dataclasses as objects, NaN and infinity as null, all else by its text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has neither, and a strict reader refuses the whole file
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def measurement_fields(measurement: Any) -> dict[str, Any]:
    """A measurement's fields without its samples and replicates, which no person and few programs read."""
    return {k: v for k, v in vars(measurement).items() if not k.endswith(("samples", "replicates"))}


def near_here(path: Path) -> Path:
    """The path as seen from the working directory, where it lies below it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


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


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    # The last cell has no width (`strict=False`): a reason of any length is neither padded nor cut.
    left = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False))
    return f"{left}  {cells[-1]}".rstrip()
