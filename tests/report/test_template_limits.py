"""Texts that parsers and regular expressions would take for ever over are refused, with their line."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from engine.errors import TemplateError
from engine.report.author_markup import safe_source
from engine.report.citations import with_citations
from engine.report.lint import lint, numerals
from engine.report.number_lint import superlatives
from engine.report.template_limits import (
    MOST_BRACES,
    MOST_IN_A_PARAGRAPH,
    MOST_MARKS,
    MOST_SIGNS,
    MOST_UNCLOSED,
    check_size,
)
from engine.report.template_source import template_source

HOSTILE = {
    "backticks": "`a " * 50_000,
    "one run of backticks": "`" * 100_000,
    "runs of other lengths": " ".join("`" * length for length in range(1, 400)),
    "dollars": "$a " * 30_000,
    "brackets": "[" * 5_000,
    "emphasis": "*a _b " * 5_000,
    "angles": "<a " * 5_000,
    "strikes": "~~a " * 5_000,
    "escapes": "\\" * 5_000,
    "tags without end": "{{ " * 60_000,
    "quotes": "> " * 3_000 + "a",
    "quotes without spaces": ">" * 3_000,
    "lists": "- " * 3_000 + "a",
    "numbered lists": "1. " * 3_000 + "a",
    "digits": "9" * 5_000,
    "a word": "Aa9-" * 10_000,
    "hexadecimal digits": "0x" + "f" * 5_000,
    "a paragraph": "word " * 20_000,
    "a text": "word word word\n\n" * 20_000,
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_text_that_would_take_for_ever_is_refused_at_once(case: str) -> None:
    began = time.thread_time()
    with pytest.raises(TemplateError) as caught:
        template_source(f"First.\n\n{HOSTILE[case]}", "report.md")
    assert time.thread_time() - began < 1
    line = 1 if case == "a text" else 3
    assert caught.value.where == f"report.md:{line}"
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(("sign", "most"), [("{", MOST_BRACES), ("_", MOST_SIGNS)])
def test_as_many_signs_are_let_through_as_the_message_tells(sign: str, most: int) -> None:
    check_size(f"{sign} " * most, "report.md")
    with pytest.raises(TemplateError) as caught:
        check_size(f"{sign} " * (most + 1), "report.md")
    assert caught.value.expected == f"at most {most:,}"
    assert caught.value.seen == f"{most + 1:,} of {sign}"


SIZE = MOST_IN_A_PARAGRAPH - 10
# As much as is let through, of what is worst for each of the expressions that read a text.
WORST = {
    "backticks": "`a " * MOST_SIGNS,
    "runs of other lengths": " ".join("`" * length for length in range(1, 44)),
    "dollars": "$a " * MOST_SIGNS,
    "dollars and words": ("$a" + " b" * 20) * 999,
    "brackets": "[ " * MOST_SIGNS,
    "links": "[a]( " * MOST_SIGNS,
    "citations": "[@a; " * MOST_SIGNS,
    "angles": "<a " * MOST_SIGNS,
    "attributes": "{: #a " * MOST_BRACES,
    "tags": "{{ " * MOST_UNCLOSED,
    "quoted tags": "{{ '" * MOST_UNCLOSED,
    "sentences": "best. most " * (SIZE // 11),
    "full stops": ". " * (SIZE // 2),
    "digits and commas": ("1," * 499 + " ") * (SIZE // 1000),
    "capitals": ("Aa9-" * 249 + " ") * (SIZE // 1000),
    "years": "(A 2019 " * (SIZE // 8),
    "spaces": (" " * 500 + "a\n") * 90,
    "quotes": (">" * (MOST_MARKS - 1) + "\n") * 50,
    "fences": "```a\n" * (MOST_SIGNS // 3),
}


@pytest.mark.parametrize("case", WORST)
def test_the_worst_that_is_let_through_is_read_within_seconds(case: str) -> None:
    paragraph = WORST[case]
    # In several paragraphs, since a text has more than one.
    text = "\n\n".join([paragraph] * (1 if "tags" in case else 3))
    check_size(text, "report.md")
    began = time.thread_time()
    source = template_source(text, "report.md")
    # Each reads all of it by itself: the tags alone are no template, which only a parser can tell.
    with pytest.raises(TemplateError, match=r"report\.md:1") if "tags" in case else nullcontext():
        lint(source, Path("report.md"))
    superlatives(source, "report.md", lambda template: [])
    with_citations(source, "report.md")
    safe_source(source, "report.md")
    list(numerals(source))  # as lint does, where it can parse the text
    assert time.thread_time() - began < 5


@pytest.mark.parametrize("case", WORST)
def test_twice_as_much_of_the_worst_is_refused(case: str) -> None:
    with pytest.raises(TemplateError, match=r"report\.md:1"):
        check_size(WORST[case] * 2, "report.md")
