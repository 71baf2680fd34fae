"""What moved between two states: numbers, whether their intervals exclude each other, and verdicts."""

from __future__ import annotations

import pytest

from engine.evidence.result import Measurement
from engine.runs.published.changes import EvidenceState, JudgedClaim, changes_between, exclude


def number(value: float, low: float | None = None, high: float | None = None) -> Measurement:
    return Measurement("x", value, low, high, 9, "prompt")


def state(numbers: dict[str, Measurement] | None = None, **verdicts: str) -> EvidenceState:
    named = {(name, "tiny"): m for name, m in (numbers or {}).items()}
    judged = {(claim, "tiny"): JudgedClaim(word, {"holds": "a.x > 1"}) for claim, word in verdicts.items()}
    return EvidenceState(named, judged)


@pytest.mark.parametrize(
    ("before", "after", "whether"),
    [
        ((1.0, 0.0, 2.0), (3.0, 2.1, 4.0), True),
        ((3.0, 2.1, 4.0), (1.0, 0.0, 2.0), True),
        ((1.0, 0.0, 2.0), (3.0, 2.0, 4.0), False),  # they touch: one value is in both
        ((1.0, 0.0, 2.0), (3.0, None, None), True),
        ((1.0, 0.0, 2.0), (2.0, None, None), False),
        ((1.0, None, None), (2.0, None, None), None),
    ],
)
def test_intervals_exclude_each_other_where_they_have_no_value_in_common(before, after, whether) -> None:
    assert exclude(number(*before), number(*after)) is whether


def test_a_number_published_alike_did_not_move_and_an_interval_may_move_alone() -> None:
    before = {"a.x": number(1.0000001, 0, 2), "a.y": number(1, 0, 2), "a.z": number(1, 0, 2)}
    after = {"a.x": number(1.0000002, 0, 2), "a.y": number(1, 0, 3), "a.z": number(1.5, 0, 2)}
    found = changes_between(state(before), state(after))
    assert [n.name for n in found.numbers] == ["a.z", "a.y"]
    assert [n.name for n in found.moved] == ["a.z"]
    assert (found.same, found.is_empty) == (1, False)
    assert changes_between(state(before), state(before)).is_empty


def test_numbers_whose_intervals_exclude_each_other_come_first() -> None:
    before = {"a.a": number(1, 0, 2), "a.z": number(1, 0, 2)}
    after = {"a.a": number(1.5, 0, 2), "a.z": number(9, 8, 10)}
    found = changes_between(state(before), state(after))
    assert [n.name for n in found.numbers] == ["a.z", "a.a"]
    assert [n.name for n in found.excluding] == ["a.z"]


def test_numbers_that_are_new_or_gone_are_counted_by_entry() -> None:
    found = changes_between(
        state({"a.x": number(1)}), state({"b[k=0.1].x": number(1), "b[k=0.1].y": number(1)})
    )
    assert (found.came, found.went) == ({"b[k=0.1] on tiny": 2}, {"a on tiny": 1})
    assert found.numbers == ()


def test_a_verdict_flipped_where_both_sides_reached_one() -> None:
    found = changes_between(state(a="supported", b="supported"), state(a="contradicted", c="supported"))
    assert [(v.claim, v.before, v.after) for v in found.verdicts] == [
        ("a", "supported", "contradicted"),
        ("b", "supported", ""),
        ("c", "", "supported"),
    ]
    assert [v.claim for v in found.flipped] == ["a"]


def test_the_words_for_a_stand_in_are_no_other_verdict() -> None:
    assert changes_between(state(a="contradicted"), state(a="not found here")).is_empty
    assert not changes_between(state(a="contradicted"), state(a="found here")).is_empty


def test_a_verdict_on_a_reworded_predicate_says_so() -> None:
    after = EvidenceState({}, {("a", "tiny"): JudgedClaim("contradicted", {"holds": "a.x > 2"})})
    (verdict,) = changes_between(state(a="supported"), after).verdicts
    assert verdict.reworded
