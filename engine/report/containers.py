"""Where a line of Markdown stands: inside which containers, and whether it is indented code.

A container (an admonition, a fold, a list item, a footnote) holds the lines below it that are indented by
four columns more, as Python-Markdown has it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

STEP = 4
_OPENER = re.compile(r"(?:!!!|\?\?\?\+?|===\+?!?|[*+-]|\d+[.)]|\[\^[^\]\n]+\]:)(?=[ \t]|$)")


@dataclass(frozen=True)
class LineContext:
    """Of a line: the column at which the text of its container begins, and that of what it opens itself."""

    column: int
    content: int
    is_code: bool = False


def line_contexts(text: str) -> list[LineContext]:
    """The context of each line, from the first to the last."""
    found: list[LineContext] = []
    columns = [0]
    after_blank = True
    in_code = False
    for line in text.split("\n"):
        words = line.strip()
        if not words:
            found.append(LineContext(columns[-1], columns[-1], in_code))
            after_blank = True
            continue
        indent = _columns(line)
        # Without an empty line before it, a line goes on with the paragraph above, however it is indented.
        while after_blank and indent < columns[-1]:
            columns.pop()
        column = columns[-1]
        in_code = indent >= column + STEP and (after_blank or in_code)
        after_blank = False
        if not in_code and _OPENER.match(words):
            columns.append(_level(columns, indent) + STEP)
        found.append(LineContext(column, columns[-1], in_code))
    return found


def _level(columns: list[int], indent: int) -> int:
    """The column of the container in which an opener stands; those further in are left by it."""
    while indent < columns[-1]:
        columns.pop()
    return columns[-1]


def _columns(line: str) -> int:
    expanded = line.expandtabs(STEP)
    return len(expanded) - len(expanded.lstrip(" "))
