"""Text from data, whatever it holds."""

from __future__ import annotations

import html

import pytest

from engine.report.escape import for_site, for_text, one_line, preformatted, sentence_for_site

from .conftest import NASTY


def test_a_browser_reads_back_what_was_written() -> None:
    assert html.unescape(for_site(NASTY)) == one_line(NASTY)


@pytest.mark.parametrize(
    "hazard", list("<>&\"'`*_[]{}|\\$~^=@#") + ["---", ":smile:", "1. x", "(c)", "- x", ": x"]
)
def test_hazards_do_not_survive(hazard: str) -> None:
    assert hazard not in for_site(hazard) or for_site(hazard).startswith("&#x")
    assert html.unescape(for_site(hazard)) == hazard


@pytest.mark.parametrize("text", ["12.8", "0.50 to 0.52", "smollm2-135m-instruct", "Fact: x, y; more of it?"])
def test_plain_text_stays_readable(text: str) -> None:
    assert for_site(text) == text and for_text(text) == text


@pytest.mark.parametrize(
    ("text", "shown"), [("a\r\nb\nc", "a⏎b⏎c"), ("\x00\x02\x1b", "\ufffd" * 3), ("\u202ex", "\ufffdx")]
)
def test_what_cannot_be_seen_is_made_visible(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_preformatted_text_keeps_its_lines() -> None:
    assert preformatted("a <b>\n\n  c\x02") == "a &lt;b&gt;\n\n  c\ufffd"


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("stays at `commit_rank` or better", "stays at <code>commit&#x5F;rank</code> or better"),
        ("`a` and `<b>`", "<code>a</code> and <code>&#x3C;b&#x3E;</code>"),
        ("one ` alone", "one &#x60; alone"),
        ("", ""),
    ],
)
def test_what_stands_in_backticks_in_a_sentence_is_code(sentence: str, shown: str) -> None:
    assert sentence_for_site(sentence) == shown


def test_a_sign_of_percent_never_begins_a_line() -> None:
    assert for_site("95 % of it, a % b") == "95\u00a0% of it, a % b"
