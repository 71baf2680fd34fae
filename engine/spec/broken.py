"""What is wrong with broken YAML, in the words of the person who wrote it."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from engine.errors import SpecError


@dataclass(frozen=True)
class Slip:
    """A common way to break YAML: PyYAML's words for it, and ours."""

    sign: str
    problem: str
    expected: str
    hint: str = ""
    at_opening: bool = False  # the place to mend is where the bracket or quote was opened


SLIPS = [
    Slip(r"'\t' that cannot start", "a tab where YAML takes only spaces", "spaces", "indent with spaces"),
    Slip("cannot start any token", "a character that cannot begin a value", "text in quotes"),
    Slip(
        "mapping values are not allowed",
        "a second key on one line, or a line indented too far",
        "one `key: value` a line",
        "put text that contains ': ' in quotes, and a space after each key's colon",
    ),
    Slip("could not find expected ':'", "a line without `key: value`", "a colon and a space after the key"),
    Slip(
        "expected ',' or ']'",
        "a list opened with [ that does not close",
        "a ] on a line below, or commas between its items",
        "put an item that contains [ ] { } or ': ' in quotes",
        at_opening=True,
    ),
    Slip(
        "expected ',' or '}'",
        "a mapping opened with { that does not close",
        "a } on a line below, or commas between its items",
        "put text that contains { or } in quotes",
        at_opening=True,
    ),
    Slip("unexpected end of stream", "a quote that does not close", "a closing quote", at_opening=True),
    Slip(
        "expected <block end>",
        "a line that does not fit those above it",
        "the same indentation as its siblings, and one kind of entry",
        "quote the whole of a text that begins with a quote",
    ),
    Slip("expected '<document start>'", "a line that does not fit those above it", "the same indentation"),
    Slip("duplicate anchor", "an anchor that is already taken", "another name after the &"),
    Slip("undefined alias", "an alias without its anchor", "an anchor `&name` above it"),
    Slip("nested too deeply", "brackets or lines nested too deeply", "fewer levels"),
    Slip("found another document", "a second document in one file", "one spec a file", "remove the line ---"),
]


def broken_yaml(error: yaml.MarkedYAMLError, text: str, file: str) -> SpecError:
    """The error for text that PyYAML could not parse, at the line to mend."""
    message = f"{error.context or ''} {error.problem or ''}"
    plain = Slip("", f"this is not YAML: {(error.problem or error.context or '').strip()}", "")
    # PyYAML has one class for all of these: only its words tell them apart, the more special ones first.
    slip = next((s for s in SLIPS if s.sign in message), plain)
    mark = error.context_mark if slip.at_opening else error.problem_mark
    mark = mark or error.problem_mark or error.context_mark
    # Some errors have no mark at all: the beginning of the file is the best that is known.
    line, column = (mark.line, mark.column) if mark else (0, 0)
    lines = text.splitlines()
    return SpecError(
        slip.problem,
        where=f"{file}:{line + 1}:{column + 1}",
        expected=slip.expected,
        seen=one_line(lines[line]) if line < len(lines) else "the end of the file",
        hint=slip.hint,
    )


def one_line(text: str, limit: int = 80) -> str:
    """Text as it is shown in a message: spaces closed up, cut where it is long."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 3] + "..."
