"""Lengths of posts as X counts them, with what is easily counted wrongly."""

from __future__ import annotations

import pytest

from engine.publish.threads.post_length import LIMIT, LINK, post_length


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("", 0),
        ("a plain sentence", 16),
        ("é and e\u0301 are one character each", 30),
        ("0.43 – 0.57 ‘quoted’", 20),
        ("line\n\nline", 10),
        ("日本語", 6),
        ("한국어 and 汉字", 6 + 5 + 4),
        ("α β γ Ж ע ع", 11),
        ("x ≥ y → z", 5 + 2 * 2 + 2),
        ("😀", 2),
        ("👍🏽", 2),
        ("👩‍👩‍👧‍👦", 2),
        ("🇫🇷🇩🇪", 4),
        ("🏴󠁧󠁢󠁷󠁬󠁳󠁿", 2),
        ("1️⃣", 2),
        ("☀️ and ☀", 2 + 5 + 2),
        ("© 2026", 6),
        ("𝑥", 2),
    ],
)
def test_characters_count_by_their_range(text: str, length: int) -> None:
    assert post_length(text) == length


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("https://example.org/a/very/long/path?with=a&query=of#more-than-twenty-three", LINK),
        ("https://x.co", LINK),
        ("See https://example.org.", 4 + LINK + 1),
        ("(https://example.org/a_(b))", 1 + LINK + 2),
        ("https://a.org and https://b.org", 2 * LINK + 5),
        ("example.org/paper", LINK),
        ("github.com", LINK),
        ("a-host-with-a-very-long-name.example.org", 40),
        ("spec.yaml", 9),
        ("report.md", 9),
        ("lens.commit_depth", 17),
        ("someone@example.org", 19),
        ("0.43 vs. 0.57", 13),
    ],
)
def test_links_count_the_same_however_long_they_are(text: str, length: int) -> None:
    assert post_length(text) == length


def test_the_limit_is_that_of_the_post_and_not_of_bytes() -> None:
    assert post_length("a" * LIMIT) == LIMIT
    assert post_length("漢" * (LIMIT // 2)) == LIMIT
