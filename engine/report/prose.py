"""Which characters of a template are prose: everything else is blanked, so that places stay the same."""

from __future__ import annotations

import re

from jinja2 import TemplateSyntaxError

from engine.report.grammar import Grammar, syntax_error

VALUE = "\ufffc"
"""Stands where a template prints a value."""

_FRONT_MATTER = re.compile(r"\A---\n.*?\n---(?:\n|\Z)", re.S)
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n]*\n.*?(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.S | re.M)
_CODE = re.compile(r"(?<!`)(`+)(?!`)(?:(?!\n[ \t]*\n).)+?(?<!`)\1(?!`)", re.S)


def without_tags(text: str, where: str) -> str:
    """The template with front matter, comments and tags blanked, and a sign where a value is printed."""
    kept = [" " if c != "\n" else c for c in text]
    at = 0
    try:
        tokens = list(Grammar().lex(text))
    except TemplateSyntaxError as error:
        raise syntax_error(error, where) from error
    # The lexer tells no positions and drops the white space that `{%-` strips, so that each piece is looked
    # for from where the one before it ended.
    for _, kind, value in tokens:
        start = text.index(value, at)
        at = start + len(value)
        if kind == "data":
            kept[start:at] = value
        elif kind == "variable_begin":
            kept[start] = VALUE
    return blanked("".join(kept), _FRONT_MATTER)


def code_of(tagless: str) -> list[re.Match[str]]:
    """The code spans and fences of a template without tags."""
    # Fences first: what looks like a code span inside of one is none.
    fences = list(_FENCE.finditer(tagless))
    return fences + list(_CODE.finditer(blanked(tagless, _FENCE)))


def without_code(tagless: str) -> str:
    return blanked(blanked(tagless, _FENCE), _CODE)


def blanked(text: str, pattern: re.Pattern[str]) -> str:
    """The text with every match turned into spaces; lines stay where they are."""
    return pattern.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def line_at(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
