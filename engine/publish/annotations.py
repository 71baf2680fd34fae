"""Types and defaults of pydantic fields as a person would write them."""

from __future__ import annotations

import json
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined


def field_type(field: FieldInfo) -> str:
    """What may be written into a field: `list[str] | None`, less the conditions that its docstring tells."""
    return type_text(_input_type(field.annotation, field.metadata))


def type_text(annotation: Any) -> str:
    """A type as written in source, each alias by what it stands for."""
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if origin is Annotated:
        return type_text(_input_type(arguments[0], arguments[1:]))
    if origin in (Union, UnionType):
        return " | ".join(type_text(part) for part in arguments)
    if origin is Literal:
        return f"Literal[{', '.join(map(value_text, arguments))}]"
    if origin is not None:
        return f"{type_text(origin)}[{', '.join(map(type_text, arguments))}]"
    if annotation in (None, NoneType):
        return "None"
    if annotation is Ellipsis:
        return "..."
    return getattr(annotation, "__name__", str(annotation))


def value_text(value: Any) -> str:
    """A default or an alternative; strings in the quotes that YAML and JSON have in common."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{value_text(k)}: {value_text(v)}' for k, v in value.items())}}}"
    return str(value)


def _input_type(annotation: Any, conditions: Any) -> Any:
    """The type that a person may write: a validator may take more than the field holds.

    Such a validator names the wider type for the JSON Schema, so that editors and this page agree.
    """
    for condition in conditions:
        wider = getattr(condition, "json_schema_input_type", PydanticUndefined)
        if wider is not PydanticUndefined:
            return wider
    return annotation
