"""A state as an address and back: nothing is lost, and whatever is wrong is one message."""

from __future__ import annotations

import pytest

from engine.demo.address import EMPTY, chosen_panel, from_query, to_query
from engine.demo.panels.logit_lens import PANEL, LensState
from engine.errors import DemoError


def test_the_default_state_needs_no_more_than_the_panel() -> None:
    assert to_query(PANEL, LensState()) == "?panel=lens"
    assert from_query("?panel=lens", PANEL) == LensState()


@pytest.mark.parametrize(
    "prompt", ["a & b = c?", "<script>alert(1)</script>", "ä ☃ 𝕏\n\ttwo", "+%20 #x", EMPTY]
)
def test_whatever_is_typed_comes_back_as_it_was(prompt: str) -> None:
    state = LensState(prompt=prompt, answer="", lens="tuned", show="probability")
    assert from_query(to_query(PANEL, state), PANEL) == state


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?panel=lens&lens=untuned", "lens: input should be 'plain' or 'tuned'"),
        ("?panel=lens&promt=x", "'promt'"),
        ("?panel=lens&prompt=", "at least 1 character"),
        ("?panel=lens&prompt=" + "x" * 3000, "at most 2000 characters"),
        ("?" + "x" * 20_000, "too long"),
        ("?" + "&".join("a=1" for _ in range(300)), "cannot be read"),
    ],
)
def test_what_is_no_state_is_one_message(query: str, said: str) -> None:
    with pytest.raises(DemoError) as error:
        from_query(query, PANEL)
    assert said in str(error.value)
    assert len(str(error.value)) < 400


def test_an_unknown_panel_names_the_nearest() -> None:
    with pytest.raises(DemoError, match="nearest: lens"):
        chosen_panel("?panel=lense", [PANEL])
    assert chosen_panel("", [PANEL]) is PANEL
