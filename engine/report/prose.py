"""Which characters of a template are prose: everything else is blanked, so that places stay the same."""

from __future__ import annotations

import re

from engine.report.grammar import placed_tokens

VALUE = "\ufffc"
"""Stands where a template prints a value."""

_FRONT_MATTER = re.compile(r"\A---\n.*?\n---(?:\n|\Z)", re.S)
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n]*\n.*?(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.S | re.M)
_CODE = re.compile(r"(?<!`)(`+)(?!`)(?:(?!\n[ \t]*\n).)+?(?<!`)\1(?!`)", re.S)
# What a bracket with a citation or a footnote in it defines is words, and no address.
_ADDRESSES = [
    re.compile(pattern, re.S | re.M)
    for pattern in (
        r"<!--.*?-->",
        r"</?[a-zA-Z][^<>]*>|<[a-z][\w+.-]*:[^<>\s]*>|<[^<>\s@]+@[^<>\s@]+>",
        r"^[ ]{0,3}\[(?!-?@|\^)[^\]\n]+\]:[ \t]*\S+",
        r"\]\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*(?:\s+\"[^\"\n]*\")?\)",
        r"(?<!@\{)(?:https?://|www\.)[^\s<>]+",
    )
]


def without_tags(text: str, where: str) -> str:
    """The template with front matter, comments and tags blanked, and a sign where a value is printed."""
    kept = [" " if c != "\n" else c for c in text]
    for kind, value, start in placed_tokens(text, where):
        if kind == "data":
            kept[start : start + len(value)] = value
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


def without_addresses(prose: str) -> str:
    """Prose without HTML, comments and whatever a link or an image leads to."""
    for pattern in _ADDRESSES:
        prose = blanked(prose, pattern)
    return prose


def blanked(text: str, pattern: re.Pattern[str]) -> str:
    """The text with every match turned into spaces; lines stay where they are."""
    return pattern.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def line_at(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
