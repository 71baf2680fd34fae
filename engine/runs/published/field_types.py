"""Whether what a published file says of a record has the types of its fields.

A file that was put together by hand may hold a list where a page expects a word, or markup where it expects
the name of a verdict. Records are dataclasses, so that their own annotations say what is expected.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

DATE = re.compile(r"(\d{4}-\d\d-\d\d([T ][\d:.]+(Z|[+-]\d\d:?\d\d)?)?)?")


def checked(record: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """The data, each of them of the type of its field in `record`; TypeError names one that is not."""
    hints = _hints(record)
    for name, value in data.items():
        if name in hints and not _is_a(value, hints[name]):
            raise TypeError(f"{name} is {_told(value)}, which is no {_called(hints[name])}")
    return dict(data)


def checked_date(text: str) -> str:
    """A date, with or without a time, or nothing; ValueError where it is something else."""
    if not DATE.fullmatch(text):
        raise ValueError(f"date is {_told(text)}, which is no date as 2026-01-31T12:00:00+00:00")
    return text


@cache
def _hints(record: type) -> dict[str, Any]:
    try:
        return get_type_hints(record)
    except NameError:  # annotated with what is imported for type checkers alone
        return {}


def _is_a(value: Any, expected: Any) -> bool:
    origin = get_origin(expected)
    arguments = get_args(expected)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin in (Union, types.UnionType):
        return any(_is_a(value, one) for one in arguments)
    if origin is dict:
        return isinstance(value, dict) and all(_is_a(each, arguments[1]) for each in value.values())
    if origin is list:
        return isinstance(value, list) and all(_is_a(each, arguments[0]) for each in value)
    if expected is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if expected is int:
        return isinstance(value, int) and not isinstance(value, bool)
    # What has no simple type (arrays, which no published file holds) is not judged here.
    return isinstance(value, expected) if expected in (str, bool, type(None), list, dict) else True


def _called(expected: Any) -> str:
    if get_origin(expected) is Literal:
        return "one of " + ", ".join(map(str, get_args(expected)))
    return getattr(expected, "__name__", str(expected))


def _told(value: Any) -> str:
    return repr(value)[:80]
