r"""Citations in a text, as pandoc has them.

    [@key]   [@key, p. 12]   [see @key; @other, chap. 3]   in brackets, several, with words around them
    [-@key]                                                the year alone
    @key says   @key [p. 3]   -@key                        in a sentence, of which the names are part
    @{a/key?}                                              a key with other signs in it
    me@example.org   \@name   `@name`                      none

What looks like one is one: a key that is not there, or a bracket that mixes keys and other things, is an
error with its line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from engine.errors import TemplateError
from engine.report.prose import line_at, without_addresses, without_code, without_tags

CITE_WORK = "cite_work"
"""The function that a citation calls."""

CitationForm = Literal["bracketed", "year", "narrative", "narrative year", "opened", "opened year"]
"""How a work is cited: in brackets, in a sentence (with its year in brackets), and there with words after the
year, for which the bracket stays open; each with or without the names."""

Brackets = tuple[str, str]

_WORK = re.compile(
    r"(?<![\w@/.])(?P<minus>(?<!-)-)?@(?:\{(?P<braced>[^{}\s]+)\}|(?P<key>\w(?:[\w:.#$%&+?<>~/-]*[\w/])?))"
)
_INNER = r"(?:[^\[\]\n]|\n(?![ \t]*\n))*"
_GROUP = re.compile(rf"\[({_INNER})\](?![\[(])")
_AFTER = re.compile(rf"[ \t]?\[(?!\^)({_INNER})\](?![\[(])")


@dataclass(frozen=True)
class _Edit:
    """A piece of the text, and what is written in its place."""

    start: int
    end: int
    text: str


def with_citations(text: str, where: str, brackets: Brackets = ("(", ")")) -> str:
    """The template with each citation in its prose turned into calls, on the same lines."""
    prose = without_addresses(without_code(without_tags(text, where)))
    if "@" not in prose:
        return text
    edits = _edits(prose, where, brackets)
    # From the last to the first, so that the places of those before it stay right.
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        text = f"{text[: edit.start]}{edit.text}{text[edit.end :]}"
    return text


def _edits(prose: str, where: str, brackets: Brackets) -> list[_Edit]:
    edits: list[_Edit] = []
    taken: list[tuple[int, int]] = []
    for work in _WORK.finditer(prose):
        if any(start <= work.start() < end for start, end in taken):
            continue
        group = _group_around(prose, work)
        if group:
            edits += _of_group(prose, group, where, brackets)
            taken.append(group.span())
            continue
        after = _AFTER.match(prose, work.end())
        if after is None:
            form = "narrative year" if work["minus"] else "narrative"
            edits.append(_Edit(*work.span(), _call(work, form)))
            continue
        form = "opened year" if work["minus"] else "opened"
        edits.append(_Edit(work.start(), after.start(1), _call(work, form)))
        edits.append(_Edit(after.end(1), after.end(), brackets[1]))
        edits += _of_parts(prose, after.start(1), after.end(1), where, first_has_none=True)
        taken.append(after.span())
    return edits


def _group_around(prose: str, work: re.Match[str]) -> re.Match[str] | None:
    """The brackets that a key stands in, if they are no link's."""
    opening = prose.rfind("[", 0, work.start())
    found = _GROUP.match(prose, opening) if opening >= 0 else None
    return found if found and found.end() > work.start() else None


def _of_group(prose: str, group: re.Match[str], where: str, brackets: Brackets) -> list[_Edit]:
    inside = _of_parts(prose, group.start(1), group.end(1), where)
    opened = _Edit(group.start(), group.start(1), brackets[0])
    return [opened, *inside, _Edit(group.end(1), group.end(), brackets[1])]


def _of_parts(prose: str, start: int, end: int, where: str, *, first_has_none: bool = False) -> list[_Edit]:
    """The keys between brackets: one in each part between semicolons."""
    edits: list[_Edit] = []
    at = start
    for number, part in enumerate(prose[start:end].split(";")):
        works = list(_WORK.finditer(prose, at, at + len(part)))
        wanted = 0 if first_has_none and number == 0 else 1
        if len(works) != wanted:
            begins = at + len(part) - len(part.lstrip())
            raise _mixed(part, len(works), wanted, f"{where}:{line_at(prose, begins)}")
        for work in works:
            edits.append(_Edit(*work.span(), _call(work, "year" if work["minus"] else "bracketed")))
        at += len(part) + 1
    return edits


def _mixed(part: str, works: int, wanted: int, where: str) -> TemplateError:
    """What is wrong with a part that has another number of works than it should."""
    problem = f"{works} works in one part of a citation" if works else "a part of a citation without a key"
    if not wanted:
        problem = "a work in the words that follow a citation"
    return TemplateError(
        problem,
        where=where,
        expected="[see @key, p. 12; @other]: a key in each part, semicolons between them",
        seen=part.strip(),
        hint=r"an @ that cites nothing is written \@",
    )


def _call(work: re.Match[str], form: CitationForm) -> str:
    # Any sign may stand in a key between braces.
    key = (work["braced"] or work["key"]).replace("\\", "\\\\").replace('"', '\\"')
    return f'{{{{ {CITE_WORK}("{key}", "{form}") }}}}'


def cited_in_words(names: str, year: str, form: CitationForm) -> tuple[str, str, str]:
    """(before, linked, after) of a citation in words: what of it leads to the list of references."""
    match form:
        case "bracketed":
            return "", f"{names} {year}", ""
        case "year":
            return "", year, ""
        case "narrative":
            return f"{names} (", year, ")"
        case "narrative year":
            return "(", year, ")"
        case "opened":
            return f"{names} (", year, ", "
        case "opened year":
            return "(", year, ", "
