from enum import StrEnum
from typing import Annotated, Any, Literal, Optional

import pytest
from pydantic import BaseModel, BeforeValidator, Field

from engine.publish.annotations import field_type, type_text, value_text

Positive = Annotated[int, Field(gt=0)]


class Colour(StrEnum):
    RED = "red"


class Named(BaseModel):
    name: str


class Choice(BaseModel):
    named: Annotated[Named | None, BeforeValidator(str, json_schema_input_type=str | Named | None)] = None
    checked: Annotated[int, BeforeValidator(int)] = 1
    several: list[Positive] = Field(default_factory=list)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "int"),
        (None, "None"),
        (Any, "Any"),
        (int | None, "int | None"),
        (Optional[float], "float | None"),  # noqa: UP045 - the old spelling is what is tested
        (list[str], "list[str]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (dict[str, list[Positive]], "dict[str, list[int]]"),
        (Positive | None, "int | None"),
        (Literal["topk", "batchtopk"], 'Literal["topk", "batchtopk"]'),
        (Literal[1, None], "Literal[1, None]"),
        (Named, "Named"),
        (Colour, "Colour"),
    ],
)
def test_a_type_reads_as_a_person_would_write_it(annotation: Any, text: str) -> None:
    assert type_text(annotation) == text


def test_a_field_that_takes_more_than_it_holds_says_so() -> None:
    types = {name: field_type(field) for name, field in Choice.model_fields.items()}
    assert types == {"named": "str | Named | None", "checked": "int", "several": "list[int]"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.001, "0.001"),
        (None, "None"),
        (False, "False"),
        ("", '""'),
        ("d\u00e9j\u00e0", '"d\u00e9j\u00e0"'),
        (["a", 1], '["a", 1]'),
        ({"k": (2,)}, '{"k": [2]}'),
        ({}, "{}"),
    ],
)
def test_a_default_reads_as_it_would_be_written(value: Any, text: str) -> None:
    assert value_text(value) == text
