"""What is wrong with plain data, in words: pydantic's findings retold for the person who wrote the file."""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from engine.errors import SpecError, nearest
from engine.spec.document import Loc, shown
from engine.spec.models import CHOICE_PATTERN, DATE_PATTERN, NAME_PATTERN, TEXT_PATTERN

A_LIST = "a list"
A_MAPPING = "a mapping"
EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": A_LIST,
    "tuple_type": A_LIST,
    "set_type": A_LIST,
    "frozen_set_type": A_LIST,
    "dict_type": A_MAPPING,
    "model_type": A_MAPPING,
    "none_required": "nothing",
    "finite_number": "a finite number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "multiple_of": "a multiple of {multiple_of}",
    "too_short": "{min_length} or more items",
    "too_long": "{max_length} or fewer items",
    "string_too_short": "{min_length} or more characters",
    "string_too_long": "{max_length} or fewer characters",
    "literal_error": "{expected}",
    "enum": "{expected}",
}
PATTERNS = {
    NAME_PATTERN: "a name of letters, digits, _ and -, not beginning with a digit",
    CHOICE_PATTERN: "experiment.parameter, as in patching.metric",
    DATE_PATTERN: "a date such as 2026-01-31",
    TEXT_PATTERN: "text that is not blank",
}
NAMED = {"PromptChoice", "CorpusChoice", "Contributor"}  # for which a bare name may stand


Model = typing.TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Problem:
    """An error that knows where in the data it is, and not yet where in the file."""

    loc: Loc
    error: SpecError
    on_key: bool = False


def problems_of(error: ValidationError, model: type[BaseModel], data: Any) -> list[Problem]:
    """Pydantic's findings about `data`, one problem a place, alternatives of a union joined by 'or'."""
    groups: dict[Loc, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        # A union reports one finding for each of its members, all at the same place.
        groups.setdefault(_loc_in(data, details), []).append(details)
    return [_problem(loc, group, model, data) for loc, group in groups.items()]


def strictly(model: type[Model], data: Any) -> Model:
    """`data` as a model, nothing coerced: `"3"` and 3.0 are no whole numbers, 1 is not true."""
    # Through JSON, where pydantic's strict mode lets a list stand for a tuple and a text for a date or a
    # choice.
    return model.model_validate_json(json.dumps(data), strict=True)


def unknown_key(loc: Loc, valid: list[str]) -> Problem:
    key = str(loc[-1])
    expected = "one of " + ", ".join(valid) if valid else "no key here"
    return Problem(loc, SpecError(f"unknown key {key!r}", expected=expected, near=nearest(key, valid)), True)


def _loc_in(data: Any, details: ErrorDetails) -> Loc:
    """Pydantic's location without its labels for union members and keys."""
    loc: list[str | int] = []
    for step in details["loc"]:
        # Keys of a document are always text; pydantic may report one as a number.
        key: Any = step if isinstance(data, list) else str(step)
        inside = key in data if isinstance(data, dict) else isinstance(key, int) and key < len(data)
        # A step that leads nowhere in the data is a label of pydantic's: a union member, `[key]`.
        if inside:
            loc.append(key)
            data = data[key]
    return tuple(loc)


def value_at(data: Any, loc: Loc) -> Any:
    """What stands at a place in plain data."""
    for step in loc:
        data = data[step]
    return data


def _problem(loc: Loc, group: list[ErrorDetails], model: type[BaseModel], data: Any) -> Problem:
    first = group[0]
    kind = first["type"]
    context = first.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown_key(loc, list(_fields_at(model, loc[:-1])))
    if kind == "missing":
        return _missing(loc, [str(d["loc"][-1]) for d in group], _fields_at(model, loc))
    if kind in ("value_error", "assertion_error"):
        seen = shown(value_at(data, loc)) if loc else ""
        return Problem(loc, SpecError(str(context["error"]), seen=seen))
    # pydantic's mark for a key that does not fit, where its value would be meant otherwise.
    if first["loc"][-1] == "[key]":
        expected = _expected(first)
        return Problem(loc, SpecError(f"{loc[-1]!r} cannot be a key here", expected=expected), True)
    return _unfit(loc, group, value_at(data, loc))


def _missing(loc: Loc, names: list[str], fields: Mapping[str, FieldInfo]) -> Problem:
    meanings = [f"{name}: {fields[name].description or 'a value, for it has no default'}" for name in names]
    verb = "is" if len(names) == 1 else "are"
    return Problem(loc, SpecError(f"{', '.join(names)} {verb} missing", expected=" ".join(meanings)))


def _unfit(loc: Loc, group: list[ErrorDetails], value: Any) -> Problem:
    # Members of a union often expect the same: said once, in their order.
    expected = list(dict.fromkeys(_expected(d) for d in group))
    wrong_kind = all(d["type"].endswith("_type") for d in group)
    # pydantic lists the values of a Literal in quotes, in a sentence and not as data.
    choices = re.findall(r"'([^']*)'", " ".join(d.get("ctx", {}).get("expected", "") for d in group))
    error = SpecError(
        "the wrong kind of value" if wrong_kind else "a value that is not allowed",
        expected=_either(expected),
        seen=shown(value),
        near=nearest(value, choices) if isinstance(value, str) else (),
        hint=_hint(value, expected),
    )
    return Problem(loc, error)


def _either(choices: list[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return " or ".join(filter(None, [", ".join(choices[:-1]), choices[-1]]))


def _expected(details: ErrorDetails) -> str:
    kind = details["type"]
    context = details.get("ctx", {})
    if kind == "string_pattern_mismatch":
        return PATTERNS.get(context["pattern"], f"text that matches {context['pattern']}")
    if kind == "model_type":
        return "a name or a mapping" if context.get("class_name") in NAMED else A_MAPPING
    if kind in EXPECTED:
        return EXPECTED[kind].format(**context)
    # Kinds that are not in the table: pydantic's own words, without its opening.
    return details["msg"].removeprefix("Input should be ").removeprefix("Value error, ")


def _hint(value: Any, expected: list[str]) -> str:
    wants = set(expected)
    if value is None:
        return "give it a value, or remove the key"
    if isinstance(value, str) and "true or false" in wants and value.lower() in BOOLEANS_OF_YAML_1_1:
        return f"write {BOOLEANS_OF_YAML_1_1[value.lower()]}: YAML 1.2 reads {value} as text"
    if isinstance(value, str) and wants & {"a number", "a whole number"} and _is_numeral(value):
        return "remove the quotes"
    if isinstance(value, bool | int | float) and "text" in wants:
        return "put it in quotes"
    if isinstance(value, str | int | float) and A_LIST in wants:
        return f"write [{value}]"
    return ""


BOOLEANS_OF_YAML_1_1 = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def _is_numeral(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _fields_at(model: type[BaseModel], loc: Loc) -> dict[str, FieldInfo]:
    """The fields of whichever models stand at a location."""
    here: list[Any] = [model]
    for step in loc:
        here = [child for annotation in here for child in _children(annotation, step)]
    models = [m for annotation in here for m in _alternatives(annotation) if _is_model(m)]
    return {name: field for m in models for name, field in m.model_fields.items()}


def _children(annotation: Any, step: str | int) -> Iterator[Any]:
    for plain in _alternatives(annotation):
        if _is_model(plain) and step in plain.model_fields:
            yield plain.model_fields[step].annotation
        arguments = typing.get_args(plain)
        # Of a mapping only the values: its keys have no fields.
        yield from arguments[1:] if typing.get_origin(plain) is dict else arguments


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The members of a union, `Annotated` taken off."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _alternatives(typing.get_args(annotation)[0])
    elif origin in (typing.Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _alternatives(member)
    else:
        yield annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
