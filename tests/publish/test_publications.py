"""Publications are found, their headers read, and their text printed from several investigations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import EngineError, TemplateError
from engine.publish.publications import (
    Author,
    find_publication,
    find_publications,
    investigations_of,
    print_publication,
    read_publication,
)
from engine.report.printers.text import TextPrinter
from engine.runs.library import Library
from tests.publish import made_up

HEADER = """\
---
title: Facts, twice
author:
  - {name: Ada Person, affiliation: Somewhere}
  - Ben Other
abstract: |
  The rank falls to {{ made-up.lens.final_rank }}.
investigations: [made-up]
---

"""


def written(root: Path, text: str, slug: str = "facts", file: str = "paper.qmd") -> Path:
    path = root / "publications" / slug / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def library() -> Library:
    ledger = made_up.ledger()
    return Library({"made-up": ledger, "again": replace(ledger, slug="again")})


def test_a_paper_and_a_thread_of_one_folder_are_two_publications(tmp_path: Path) -> None:
    written(tmp_path, HEADER)
    written(tmp_path, HEADER, file="thread.md")
    written(tmp_path, HEADER, slug="other", file="thread.md")
    found = [(p.slug, p.kind) for p in find_publications(tmp_path)]
    assert found == [("facts", "paper"), ("facts", "thread"), ("other", "thread")]
    assert [p.slug for p in find_publications(tmp_path, "paper")] == ["facts"]
    with pytest.raises(TemplateError, match="no paper 'fact'") as caught:
        find_publication(tmp_path, "fact", "paper")
    assert caught.value.near == ("facts",)


def test_the_header_is_read_and_a_publication_is_a_draft_until_it_says_otherwise(tmp_path: Path) -> None:
    paper = read_publication(written(tmp_path, HEADER), "paper")
    assert paper.title == "Facts, twice"
    assert paper.authors == (Author("Ada Person", "Somewhere"), Author("Ben Other"))
    assert paper.is_draft
    final = HEADER.replace("investigations:", "draft: false\ninvestigations:")
    assert not read_publication(written(tmp_path, final), "paper").is_draft


def test_the_text_and_the_header_are_printed_with_the_lines_of_the_file(
    tmp_path: Path, library: Library
) -> None:
    claim = '{% claim "made-up.mostly-known" %}It is known.{% endclaim %}'
    text = "The rank is {{ again.lens.final_rank }}. " + claim
    paper = read_publication(written(tmp_path, HEADER + text), "paper")
    printed = print_publication(paper, library, TextPrinter())
    assert printed.header["abstract"].startswith("The rank falls to 13 (95 % CI")
    assert printed.text.startswith("The rank is 13 (95 % CI")
    broken = [c for c in printed.concerns if c.kind == "broken-sentence"]
    assert [c.where for c in broken] == [f"{paper.path}:11"]


@pytest.mark.parametrize(("text", "line"), [("\n{{ again.lens.final_rnk }}", 12), ("", 7)])
def test_a_wrong_name_is_told_with_the_line_of_the_file(
    tmp_path: Path, library: Library, text: str, line: int
) -> None:
    header = HEADER if text else HEADER.replace("final_rank", "final_rnk")
    paper = read_publication(written(tmp_path, header + text), "paper")
    with pytest.raises(EngineError, match="final_rnk") as caught:
        print_publication(paper, library, TextPrinter())
    assert caught.value.where == f"{paper.path}:{line}"


def test_citations_are_left_to_pandoc_where_that_is_asked_for(tmp_path: Path, library: Library) -> None:
    path = written(tmp_path, HEADER + "As found [@paulo2025, p. 3; @song2025].")
    paper = read_publication(path, "paper")
    printed = print_publication(paper, library, TextPrinter(), cite=False)
    assert printed.text == "As found [@paulo2025, p. 3; @song2025].\n"


def test_the_investigations_of_the_header_and_of_the_text(tmp_path: Path) -> None:
    paper = read_publication(written(tmp_path, HEADER + "{{ fact_recall.lens.x }}"), "paper")
    assert investigations_of(paper, ["fact-recall", "made-up", "unused"]) == ["made-up", "fact-recall"]
    with pytest.raises(TemplateError, match="no investigation 'made-up'") as caught:
        investigations_of(paper, ["made-upp"])
    assert caught.value.where.startswith(f"{paper.path}:8:")
    assert caught.value.near == ("made-upp",)


@pytest.mark.parametrize(
    ("header", "said", "line"),
    [
        ("No header", "has no header", 1),
        ("---\ntitle: x\n", "never closed", 1),
        ("---\n---\n", "says nothing", 1),
        ("---\ntitle: [a]\n---\n", "title is no text", 2),
        ("---\ntitle: a\ndraft: maybe\n---\n", "draft is yes or no", 3),
        ("---\ntitle: a\ninvestigations: all\n---\n", "no list of slugs", 3),
        ("---\ntitle: a\nauthor: [{email: x}]\n---\n", "without a name", 3),
        ("---\ntitle: a\n b: [\n---\n", "mapping|indent|YAML|key", 3),
    ],
)
def test_a_header_that_cannot_be_read_is_told_with_its_line(
    tmp_path: Path, header: str, said: str, line: int
) -> None:
    path = written(tmp_path, header)
    with pytest.raises(EngineError, match=said) as caught:
        read_publication(path, "paper")
    assert caught.value.where.startswith(f"{path}:{line}")
