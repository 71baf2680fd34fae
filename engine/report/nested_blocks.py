"""Charts, tables and other blocks that a template prints inside of a list, a note or a quotation stay in it.

A block is printed without knowing where it stands: it is marked, and put into its place once all the text
around it is there. In a container every line of it must be indented as the call was; for the site, where
Markdown reads no HTML in an indented place, it is one line.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from functools import wraps
from typing import Any

from markupsafe import Markup

from engine.errors import TemplateError
from engine.report.containers import LineContext, line_contexts
from engine.report.escape import for_site

# No text that is printed can hold them: templates refuse control characters, and data has them replaced.
BEGIN = "\x0e"
END = "\x0f"
_BLOCK = re.compile(f"{BEGIN}([^{BEGIN}{END}]*){END}")
_QUOTE = re.compile(r"[ ]*(?:>[ ]?)+")
_OPENER = re.compile(r"[ ]*(?:[*+-]|\d+[.)]|\[\^[^\]\n]+\]:)[ ]+")
_ONE_LINE = re.compile(r"[ ]*(?:\||#{1,6}[ ])")
_TAG = re.compile(r"(<[^<>]*>)")


def marked(printed: str) -> Markup:
    """A block that is put into its place by `placed`."""
    return Markup(f"{BEGIN}{printed}{END}")


def in_its_place(function: Callable[..., Markup]) -> Callable[..., Markup]:
    """A template's function whose block is marked."""

    @wraps(function)
    def called(*arguments: Any, **named: Any) -> Markup:
        return marked(function(*arguments, **named))

    return called


def placed(body: str, where: str, in_container: Callable[[str], str]) -> str:
    """The text with each marked block in its place; `in_container` writes one for a place inside another.

    TemplateError for a block in a heading or in a row of a table, which hold one line.
    """
    if BEGIN not in body:
        return body
    blocks: list[str] = []

    def kept(found: re.Match[str]) -> str:
        blocks.append(found[1])
        return f"{BEGIN}{len(blocks) - 1}{END}"

    skeleton = _BLOCK.sub(kept, body)
    lines = skeleton.split("\n")
    contexts = line_contexts(skeleton)
    around = ["", *lines, ""]
    for at, line in enumerate(lines):
        if BEGIN in line:
            written = _with_blocks(line, contexts[at], blocks, where, in_container)
            # Two empty lines would end a footnote.
            first = 1 if _is_empty(written[0]) and _is_empty(around[at]) else 0
            last = -1 if _is_empty(written[-1]) and _is_empty(around[at + 2]) else None
            lines[at] = "\n".join(written[first:last])
    return "\n".join(lines)


def _is_empty(line: str) -> bool:
    return not line.strip(" >")


def _with_blocks(
    line: str, context: LineContext, blocks: list[str], where: str, in_container: Callable[[str], str]
) -> list[str]:
    """The lines that a line with marked blocks in it becomes."""
    if _ONE_LINE.match(line):
        raise TemplateError(
            "a chart or table where there is one line only",
            where=where,
            expected="it on a line of its own, outside of a heading or a row of a table",
            seen=_BLOCK.sub("...", line).strip(),
        )
    prefix = _prefix(line, context)
    if not prefix:
        return [_BLOCK.sub(lambda found: blocks[int(found[1])], line)]
    opener = (_QUOTE.match(line) or _OPENER.match(line)) if prefix.strip() or _OPENER.match(line) else None
    first = opener[0] if opener else prefix
    pieces = _BLOCK.split(line[len(first) :] if opener else line)
    # Split at a group, every second piece is the number of a block.
    written = [in_container(blocks[int(p)]) if at % 2 else p.strip() for at, p in enumerate(pieces)]
    paragraphs = [piece.split("\n") for piece in written if piece]
    told = [first + paragraphs[0][0], *(prefix + each for each in paragraphs[0][1:])]
    for paragraph in paragraphs[1:]:
        told += [prefix.rstrip(), *(prefix + each for each in paragraph)]
    # With empty lines around it, so that it is a paragraph of its own there too.
    around = prefix.rstrip()
    before = [] if opener and not prefix.strip() else [around]
    return [*before, *told, around]


def _prefix(line: str, context: LineContext) -> str:
    """What stands before each line of the container that a block is in; empty outside of all."""
    if quote := _QUOTE.match(line):
        return quote[0] if quote[0].endswith(" ") else f"{quote[0]} "
    indent = len(line) - len(line.lstrip(" "))
    column = context.content if context.content > context.column else context.column
    return " " * column if context.content > context.column or indent >= context.column else ""


def one_line_of_html(block: str) -> str:
    """A block of Markdown as HTML in one line, in which Markdown finds nothing more to read."""
    # Loaded where the first block stands in a container.
    from markdown import markdown

    written = markdown(block, extensions=["attr_list", "md_in_html", "tables"])
    pieces = _TAG.split(written)
    return "".join(
        " ".join(piece.split()) if piece.startswith("<") else _text(piece) for piece in pieces if piece
    )


def _text(piece: str) -> str:
    """Text between tags, its line breaks as entities: they count in code."""
    lines = html.unescape(piece).split("\n")
    return "&#10;".join(for_site(line) if line else "" for line in lines)
