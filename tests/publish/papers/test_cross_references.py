"""Figures, tables, sections and equations are numbered, and what refers to them is put in words."""

from __future__ import annotations

import pytest

from engine.errors import TemplateError
from engine.publish.papers.cross_references import PaperText, with_cross_references
from engine.publish.papers.document_tree import elements, plain_text
from engine.publish.papers.pandoc import read_markdown

PAPER = """\
## First {#sec-first}

See @fig-a, @fig-b, [@tbl-c; @tbl-d], [-@fig-b], [Fig. @fig-a], @sec-deep, @eq-e and [@kuhn1955, p. 3].

![Words](a.svg){#fig-a}

::: {#fig-b}
![](b.svg)

Words below.
:::

| a | b |
|---|--:|
| 1 | 2 |

: A table {#tbl-c}

::: {#tbl-d}
| a |
|---|
| 1 |

Another.
:::

$$ x^2 $$ {#eq-e}

### Not counted {.unnumbered}

### Deep {#sec-deep}
"""


def resolved(text: str, keys: tuple[str, ...] = ("kuhn1955",)) -> dict:
    sources = PaperText("paper.qmd", text, keys)
    return with_cross_references(read_markdown(text, sources), sources)


def captions(document: dict) -> list[str]:
    return [plain_text(e["c"][1]) for e in elements(document) if e["t"] in ("Figure", "Table")]


def test_references_are_words_and_captions_have_the_numbers() -> None:
    document = resolved(PAPER)
    said = plain_text(document["blocks"][1]).replace("\u00a0", " ")
    assert said.startswith("See Figure 1, Figure 2, Table 1, Table 2, 2, Fig. 1, Section 1.1, Equation 1 and")
    assert [c.replace("\u00a0", " ") for c in captions(document)] == [
        "Figure 1. Words",
        "Figure 2. Words below.",
        "Table 1. A table",
        "Table 2. Another.",
    ]
    cited = [c["citationId"] for e in elements(document) if e["t"] == "Cite" for c in e["c"][0]]
    assert cited == ["kuhn1955"]


def test_the_highest_heading_is_the_first_level() -> None:
    levels = [e["c"][0] for e in elements(resolved(PAPER)) if e["t"] == "Header"]
    assert levels == [1, 2, 2]


@pytest.mark.parametrize(
    ("text", "said", "near", "line"),
    [
        ("One.\n\nSee @fig-aa.\n\n![x](a.svg){#fig-a}\n", "no label 'fig-aa'", "fig-a", 3),
        ("As [@kuhn1956] says.\n", "no reference 'kuhn1956'", "kuhn1955", 1),
        ("![x](a.svg){#fig-a}\n\n![x](b.svg){#fig-a}\n", "two things are labelled 'fig-a'", "", 1),
        ("One.\n\n<script>alert(1)</script>\n", "raw html is not printed", "", 3),
        ("One.\n\n```{=typst}\n#read(1)\n```\n", "raw typst is not printed", "", 4),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, said: str, near: str, line: int) -> None:
    with pytest.raises(TemplateError, match=said) as caught:
        resolved(text)
    assert caught.value.where == f"paper.qmd:{line}"
    assert near == "" or near in caught.value.near


def test_a_comment_is_left_out() -> None:
    assert plain_text(resolved("One <!-- two --> three.\n\n<!-- four -->\n")).split() == ["One", "three."]


@pytest.mark.parametrize(
    "text",
    [
        "[a](javascript:alert(1))",
        "[a](java&#115;cript:alert(1))",
        "![a](data:text/html,x)",
        '[a]{onclick="alert(1)"}',
        "::: {onmouseover=alert(1)}\na\n:::",
        "## A {#__config}",
        '[a]{style="position:fixed"}',
    ],
)
def test_a_paper_has_no_address_or_attribute_that_runs(text: str) -> None:
    sources = PaperText("paper.qmd", f"First.\n\n{text}\n", [])
    with pytest.raises(TemplateError, match=r"paper may not|theme keeps"):
        read_markdown(f"First.\n\n{text}\n", sources)
