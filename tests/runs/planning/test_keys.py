"""A run's key: equal for what is measured alike, and what a difference is called."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from engine.runs.planning.keys import RunInputs, asked_otherwise, explain, inputs_from

ASKED = {"hook_site": "blocks.2.hook_resid_pre", "parameters": {"k": 8}, "prompts": {"name": "facts"}}
INPUTS = RunInputs(
    ASKED, {"engine/lab/lab.py": "aa"}, "bb", {"prompts": "cc"}, {"saes: layer0[seed=3]": "dd"}
)


def test_a_key_is_that_of_the_parts_and_of_nothing_else() -> None:
    key = INPUTS.key
    assert INPUTS.short.keys() == {"experiment", "code", "model", "data", "uses"}
    assert inputs_from(INPUTS.parts).key == key  # what was computed on the way is no part
    assert pickle.loads(pickle.dumps(INPUTS)).key == key
    assert replace(INPUTS, second={"other": "ee"}).key != key
    assert replace(INPUTS, second={}).key == key


@pytest.mark.parametrize("unknown", [{"model": None}, {"uses": {"saes: a": None}}, {"second": {"b": None}}])
def test_there_is_no_key_while_the_bytes_of_a_model_are_unknown(unknown: dict) -> None:
    assert replace(INPUTS, **unknown).key is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, []),
        ({"experiment": ASKED | {"parameters": {"k": 16}}}, ["parameter k: 8 -> 16"]),
        ({"experiment": ASKED | {"hook_site": None}}, ["hook_site: blocks.2.hook_resid_pre -> null"]),
        ({"code": {}}, ["code: engine/lab/lab.py is no longer used"]),
        ({"model": "b2"}, ["model bytes changed"]),
        ({"model": None}, []),  # not known is no difference
        ({"data": {"prompts": "c2"}}, ["prompts facts changed"]),
        ({"uses": {"saes: layer0[seed=3]": "d2"}}, ["uses layer0[seed=3], which is stale"]),
        ({"uses": {}}, ["uses layer0[seed=3] no longer"]),
    ],
)
def test_what_changed_is_told_in_words(change: dict, told: list[str]) -> None:
    assert list(explain(INPUTS, replace(INPUTS, **change))) == told


def test_a_published_number_answers_what_the_spec_asks_now_or_says_what_differs() -> None:
    gained = ASKED | {"parameters": {"k": 8, "new": 1}}
    assert asked_otherwise(ASKED, gained, written={"k"}) == []
    assert asked_otherwise(ASKED, gained, written={"k", "new"}) == ["parameter new: nothing -> 1"]
    relative = ASKED | {"hook_site": "blocks.50%.hook_resid_pre"}  # depth not known here
    assert asked_otherwise(ASKED, relative, written=set()) == []
