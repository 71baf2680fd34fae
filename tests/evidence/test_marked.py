"""Tokens marked in a text: what is written is read back, whatever the text itself holds."""

from __future__ import annotations

import pytest

from engine.evidence.marked import TextSegment, is_marked, marked, segments_of


def test_tokens_without_strength_are_plain_text() -> None:
    assert marked(["a", " b", "|c"], [0, 0, -1.0]) == "a b|c"
    assert list(segments_of("a b|c")) == [TextSegment("a b|c", 0.0)]
    assert list(segments_of("")) == []


@pytest.mark.parametrize("strength", [3.41, 1e-7, 2.5e9, 1234.0])
def test_a_strength_is_read_back_to_three_digits(strength: float) -> None:
    text = marked(["to ", "Paris", "."], [0, strength, 0])
    before, token, after = segments_of(text)
    assert token == TextSegment("Paris", float(f"{strength:.3g}"))
    assert (before.text, after.text) == ("to ", ".")
    assert is_marked(text)


def test_a_bar_in_a_marked_token_belongs_to_its_text() -> None:
    assert list(segments_of(marked(["a|2", "|"], [1.5, 2]))) == [
        TextSegment("a|2", 1.5),
        TextSegment("|", 2.0),
    ]


def test_a_marked_token_of_no_text_is_kept() -> None:
    assert list(segments_of(marked(["", "x"], [1, 0]))) == [TextSegment("", 1.0), TextSegment("x", 0.0)]


def test_what_looks_like_a_strength_and_is_none_counts_nothing() -> None:
    assert list(segments_of("⟪x|1.2.3⟫")) == [TextSegment("x", 0.0)]


def test_each_token_needs_its_strength() -> None:
    with pytest.raises(ValueError, match="zip"):
        marked(["a", "b"], [1.0])
