"""What an error says, what crosses to another process, and which names are near."""

from __future__ import annotations

import pickle
import re

import pytest

from engine import errors
from engine.errors import ClaimError, EngineError, SpecError, nearest

WHOLE = {
    "where": "spec.yaml:3:1",
    "expected": "one of a, b",
    "seen": "'c'",
    "near": ("a",),
    "hint": "write a",
}


def kinds(base: type[EngineError] = EngineError) -> list[type[EngineError]]:
    """The tree of errors, a parent before its children."""
    return [base, *(kind for child in base.__subclasses__() for kind in kinds(child))]


def test_a_message_has_the_place_first_and_a_line_for_each_thing_that_is_known() -> None:
    assert str(EngineError("no such name", **WHOLE)).splitlines() == [
        "spec.yaml:3:1: no such name",
        "  expected: one of a, b",
        "  seen: 'c'",
        "  nearest: a",
        "  try: write a",
    ]
    assert str(EngineError("no such name")) == "no such name"


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_crosses_a_process_boundary_whole(kind: type[EngineError]) -> None:
    error = kind("no such name", **WHOLE)
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert (str(back), back.near, back.hint) == (str(error), ("a",), "write a")


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    drawn = re.findall(r"^([|` -]*)(\w+)  ", errors.__doc__ or "", re.MULTILINE)
    ours = [kind for kind in kinds() if kind.__module__ == errors.__name__]
    depth = {kind.__name__: kind.__mro__.index(EngineError) for kind in ours}
    assert {name: len(indent) // 4 for indent, name in drawn} == depth
    assert issubclass(ClaimError, SpecError)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("hook_sit", ("hook_site",)),
        ("Hook_Site", ("hook_site",)),  # another case is that name and no other
        ("parameter", ("parameters",)),
        ("xyz", ()),
        ("", ()),
    ],
)
def test_the_nearest_names_are_those_that_were_probably_meant(name: str, near: tuple[str, ...]) -> None:
    assert nearest(name, ["hook_site", "parameters", "sweep", "hook_site"]) == near


def test_the_best_of_several_near_names_comes_first_and_few_are_named() -> None:
    valid = [f"layer{i}" for i in range(9)]
    assert len(nearest("layer", valid)) == 3
    assert nearest("layer12", [*valid, "layer1", "layer112"])[0] in ("layer1", "layer112")
    assert nearest("seed3", ["seed33", "seed3", "seed"])[0] == "seed3"
