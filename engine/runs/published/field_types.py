"""Whether what a published file says of a record has the types of its fields.

A file that was put together by hand may hold a list where a page expects a word, or markup where it expects
the name of a verdict. Records are dataclasses, so that their own annotations say what is expected.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Test = Callable[[Any], bool]

DATE = re.compile(r"(\d{4}-\d\d-\d\d([T ][\d:.]+(Z|[+-]\d\d:?\d\d)?)?)?")


def checked(record: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """The data of JSON, each of the type of its field in `record`; TypeError names one that is not."""
    simple, tests = _fields(record)
    for name, value in data.items():
        if type(value) not in simple.get(name, ()) and not tests.get(name, _anything)(value):
            raise TypeError(f"{name} is {_told(value)}, which is no {_called(_hints(record)[name])}")
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


@cache
def _fields(record: type) -> tuple[dict[str, set[type]], dict[str, Test]]:
    """By field: the types that are right whatever the value, and a test for what has another type."""
    hints = _hints(record)
    simple = {name: _simple_types(expected) for name, expected in hints.items()}
    return simple, {name: _test_of(expected) for name, expected in hints.items()}


def _simple_types(expected: Any) -> set[type]:
    """The types of which JSON has nothing that would be wrong: `float | None` is a float, an int or None."""
    if get_origin(expected) in (Union, types.UnionType):
        return set().union(*map(_simple_types, get_args(expected)))
    if expected is float:
        return {float, int}
    return {expected} if expected in (str, int, bool, type(None), list, dict) else set()


def _test_of(expected: Any) -> Test:
    simple = _simple_types(expected)
    origin = get_origin(expected)
    arguments = get_args(expected)
    if origin is Literal:
        return lambda value: isinstance(value, str) and value in arguments
    if origin in (Union, types.UnionType):
        tests = [_test_of(one) for one in arguments]
        return lambda value: any(test(value) for test in tests)
    if origin is dict:
        of_value = _test_of(arguments[1])
        return lambda value: isinstance(value, dict) and all(map(of_value, value.values()))
    if origin is list:
        of_item = _test_of(arguments[0])
        return lambda value: isinstance(value, list) and all(map(of_item, value))
    if simple:
        return lambda value: type(value) in simple
    # What has no simple type (arrays, which no published file holds) is not judged here.
    return _anything


def _anything(value: Any) -> bool:
    return True


def _called(expected: Any) -> str:
    if get_origin(expected) is Literal:
        return "one of " + ", ".join(map(str, get_args(expected)))
    return getattr(expected, "__name__", str(expected))


def _told(value: Any) -> str:
    return repr(value)[:80]
