"""Pydantic's findings in the words of whoever wrote the file: where, expected, seen, nearest, hint."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator

from engine.spec.document import shown
from engine.spec.models import NAME_PATTERN, CorpusChoice, Date, Name, Text
from engine.spec.problems import EXPECTED, Problem, problems_of, strictly, unknown_key, value_at


class Inner(BaseModel, extra="forbid", use_attribute_docstrings=True):
    rate: float
    """How fast."""
    steps: Annotated[int, Field(ge=1, le=9, multiple_of=2)] = 2


class Whole(BaseModel, extra="forbid"):
    word: str = "w"
    yes: bool = True
    half: Annotated[float, Field(gt=0, lt=1)] = 0.5
    kind: Literal["pairs", "chat"] = "pairs"
    either: int | list[int] = 1
    many: Annotated[list[int], Field(min_length=2, max_length=3)] = [1, 2]
    code: Annotated[str, Field(min_length=2, max_length=3)] = "ab"
    name: Name = "n"
    day: Date = "2026-01-31"
    text: Text = "t"
    corpus: CorpusChoice | None = None
    inner: Inner = Inner(rate=1.0)
    by_name: dict[Name, Inner] = {}
    lucky: int = 7

    @field_validator("lucky")
    @classmethod
    def _lucky(cls, value: int) -> int:
        if value == 13:
            raise ValueError("13 brings bad luck")
        return value


def found(data: dict) -> list[Problem]:
    with pytest.raises(ValidationError) as caught:
        strictly(Whole, data)
    return problems_of(caught.value, Whole, data)


def test_plain_data_that_fits_becomes_the_model_and_nothing_is_coerced():
    assert strictly(Whole, {"half": 0.25, "many": [1, 2, 3], "inner": {"rate": 1}}).inner.rate == 1.0
    for coerced in ({"lucky": "3"}, {"lucky": 3.0}, {"yes": 1}, {"word": 3}, {"half": "0.5"}):
        (problem,) = found(coerced)
        assert problem.error.problem in ("the wrong kind of value", "a value that is not allowed")


@pytest.mark.parametrize(
    ("data", "expected", "seen", "hint"),
    [
        ({"lucky": "3"}, "a whole number", "'3'", "remove the quotes"),
        ({"lucky": "three"}, "a whole number", "'three'", ""),
        ({"lucky": 1.5}, "a whole number", "1.5", ""),
        ({"half": "0.5"}, "a number", "'0.5'", "remove the quotes"),
        ({"half": 1}, "less than 1.0", "1", ""),
        ({"half": 0}, "more than 0.0", "0", ""),
        ({"word": 3}, "text", "3", "put it in quotes"),
        ({"word": True}, "text", "true", "put it in quotes"),
        ({"word": None}, "text", "nothing", "give it a value, or remove the key"),
        ({"yes": "no"}, "true or false", "'no'", "write false: YAML 1.2 reads no as text"),
        ({"yes": "On"}, "true or false", "'On'", "write true: YAML 1.2 reads On as text"),
        ({"many": 3}, "a list", "3", "write [3]"),
        ({"many": [1]}, "2 or more items", "[1]", ""),
        ({"many": [1, 2, 3, 4]}, "3 or fewer items", "[1, 2, 3, 4]", ""),
        ({"code": "a"}, "2 or more characters", "'a'", ""),
        ({"code": "abcd"}, "3 or fewer characters", "'abcd'", ""),
        ({"either": "x"}, "a whole number or a list", "'x'", "write [x]"),
        ({"day": "2026-02-41"}, "a date such as 2026-01-31", "'2026-02-41'", ""),
        ({"text": " "}, "text that is not blank", "' '", ""),
        ({"name": "1st"}, "a name of letters, digits, _ and -, not beginning with a digit", "'1st'", ""),
        ({"corpus": 3}, "a name or a mapping", "3", ""),
        ({"inner": {"rate": 1.0, "steps": 3}}, "a multiple of 2", "3", ""),
        ({"inner": {"rate": 1.0, "steps": 0}}, "1 or more", "0", ""),
        ({"inner": {"rate": 1.0, "steps": 10}}, "9 or less", "10", ""),
        ({"inner": 3}, "a mapping", "3", ""),
    ],
)
def test_a_value_that_does_not_fit_says_what_would_and_how_to_write_it(data, expected, seen, hint):
    (problem,) = found(data)
    assert (problem.error.expected, problem.error.seen) == (expected, seen)
    assert problem.error.hint == hint
    assert shown(value_at(data, problem.loc)) == seen


def test_a_choice_brings_the_nearest_one():
    (problem,) = found({"kind": "pair"})
    assert problem.error.expected == "'pairs' or 'chat'"
    assert problem.error.near == ("pairs",)


def test_a_place_is_the_one_in_the_data_without_pydantics_labels_for_members_and_keys():
    data = {"either": [1, "x"], "by_name": {"a": {"rate": "fast"}}}
    assert [p.loc for p in found(data)] == [("either",), ("either", 1), ("by_name", "a", "rate")]


def test_an_unknown_key_is_told_with_those_of_the_mapping_that_it_stands_in():
    (problem,) = found({"inner": {"rate": 1.0, "step": 2}})
    assert (problem.loc, problem.on_key) == (("inner", "step"), True)
    assert problem.error.problem == "unknown key 'step'"
    assert (problem.error.expected, problem.error.near) == ("one of rate, steps", ("steps", "rate"))
    (inside,) = found({"by_name": {"a": {"rate": 1.0, "rat": 2}}})
    assert (inside.loc, inside.error.near) == (("by_name", "a", "rat"), ("rate",))


def test_where_no_key_is_allowed_that_is_what_is_expected():
    assert unknown_key(("a",), []).error.expected == "no key here"


def test_what_is_missing_is_told_at_the_mapping_with_its_meaning():
    (problem,) = found({"inner": {"steps": 4}})
    assert problem.loc == ("inner",)
    assert (problem.error.problem, problem.error.expected) == ("rate is missing", "rate: How fast.")


def test_a_key_that_cannot_be_one_is_told_at_the_key():
    (problem,) = found({"by_name": {"1st": {"rate": 1.0}}})
    assert (problem.loc, problem.on_key) == (("by_name", "1st"), True)
    assert "not beginning with a digit" in problem.error.expected


def test_a_models_own_refusal_keeps_its_words_and_shows_the_value():
    (problem,) = found({"lucky": 13})
    assert (problem.error.problem, problem.error.seen) == ("13 brings bad luck", "13")


def test_every_problem_of_the_data_is_told_and_each_place_once():
    data = {"word": 3, "either": "x", "inner": {"rate": "fast"}, "colour": "red"}
    assert [p.loc for p in found(data)] == [("word",), ("either",), ("inner", "rate"), ("colour",)]


def test_no_words_of_pydantics_are_left_for_the_kinds_that_a_spec_can_meet():
    assert NAME_PATTERN not in " ".join(EXPECTED.values())
    for data in ({"lucky": None}, {"either": {}}, {"many": ["x", "y"]}, {"kind": 3}, {"by_name": []}):
        for problem in found(data):
            assert "Input should" not in problem.error.expected
