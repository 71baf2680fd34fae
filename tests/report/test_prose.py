"""What is prose in a template; all else is blanked, and every character keeps its place."""

from __future__ import annotations

import pytest

from engine.errors import TemplateError
from engine.report.prose import VALUE, code_of, line_at, without_addresses, without_code, without_tags

TEMPLATE = """---
title: 12
---
Rank {{ lens.final_rank }} of {#- a 7 in a comment -#} all.
{%- if lens.n_kept.value > 100 -%}
More than enough: `x = 3`.
{%- endif %}

```python
y = 4  # {{ lens.n_kept }} and `z`
```
The end.
"""


def test_tags_comments_and_front_matter_are_blanked_in_their_places() -> None:
    prose = without_tags(TEMPLATE, "report.md")
    assert len(prose) == len(TEMPLATE)
    assert [at for at, c in enumerate(prose) if c == "\n"] == [
        at for at, c in enumerate(TEMPLATE) if c == "\n"
    ]
    assert prose.index("The end.") == TEMPLATE.index("The end.")
    assert prose.index(VALUE) == TEMPLATE.index("{{")
    for gone in ("12", "7", "100"):
        assert gone not in prose


def test_code_is_blanked_in_its_place_and_found_once() -> None:
    tagless = without_tags(TEMPLATE, "report.md")
    prose = without_code(tagless)
    assert len(prose) == len(TEMPLATE)
    assert "x = 3" not in prose and "y = 4" not in prose
    assert "More than enough" in prose and "The end." in prose
    assert [found[0].strip("`")[:6] for found in code_of(tagless)] == ["python", "x = 3"]


def test_a_fence_that_is_never_closed_reaches_to_the_end() -> None:
    assert without_code("a\n~~~\n5\nb").split() == ["a"]


def test_a_code_span_ends_with_its_paragraph() -> None:
    assert "12" in without_code("an ` alone\n\n12 ` there")


def test_a_template_that_cannot_be_read_is_told_with_its_line() -> None:
    with pytest.raises(TemplateError) as caught:
        without_tags("a\n{{ 'b }}", "report.md")
    assert caught.value.where == "report.md:2"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a <!-- 1 --> b <img alt='2'> c <https://x.org/3> d <me4@x.org> e", "a b c d e"),
        ('[a](b5 "6") ![c](d_(7).png) https://x.org/8 www.x.org/9', "[a ![c"),
        ("[a]: https://x.org/1", ""),
        ("[^1]: A footnote", "[^1]: A footnote"),
        ("[@a]: a citation before a colon", "[@a]: a citation before a colon"),
        ("@{https://x.org/a} is a key", "@{https://x.org/a} is a key"),
    ],
)
def test_what_leads_elsewhere_is_blanked_and_what_is_read_stays(text: str, left: str) -> None:
    prose = without_addresses(text)
    assert len(prose) == len(text)
    assert " ".join(prose.split()) == left


def test_lines_are_counted_from_one() -> None:
    assert [line_at("a\nb", at) for at in (0, 1, 2)] == [1, 1, 2]
