"""`engine paper` on toys: drafted, built, listed; what cannot be done is one message and exit 2."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runs.toy import Toy

PAPER = """\
---
title: Words
draft: false
---

The score is {{ sums.count.score }}. {% claim "sums.more" %}There are more.{% endclaim %}
"""


@pytest.fixture
def papers(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Toy:
    toy.spec("sums", claims={"more": {"holds": "count.score > count.chance"}}, count={})
    toy.write("investigations/sums/report.md", '{% claim "more" %}More.{% endclaim %}\n')
    toy.write("publications/words/paper.qmd", PAPER)
    toy.build()
    monkeypatch.setenv("PATH", "")
    return toy


def test_papers_are_listed_and_built(engine: Any, papers: Toy) -> None:
    listed = engine("paper", "--json")
    assert [(p["slug"], p["draft"]) for p in listed.json] == [("words", False)]
    answer = engine("paper", "build", "words", "--to", "html,tex", "--out", "made")
    assert answer.code == 0, answer.out + answer.err
    html = (papers.root / "made/paper.html").read_text(encoding="utf-8")
    assert "The score is" in html and "DRAFT" not in html
    assert (papers.root / "made/paper.tex").is_file()
    assert "2 numbers" in answer.out or "1 number" in answer.out


def test_a_broken_sentence_of_a_paper_is_reported(engine: Any, papers: Toy) -> None:
    papers.edit("publications/words/paper.qmd", '"sums.more"', '"sums.more", "contradicted"')
    answer = engine("paper", "build", "words", "--to", "html", "--out", "made")
    assert answer.code == 0 and "broken-sentence" in answer.out
    assert engine("paper", "build", "words", "--to", "html", "--out", "made", "--strict").code == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("build", "word"), "nearest: words"),
        (("build", "words", "--to", "pdf,word"), "no format 'word'"),
        (("new", "--from", "sum"), "nearest: sums"),
        (("new", "--from", "sums", "--slug", "../x"), "is no name of a folder"),
        (("new", "--from", "sums", "--slug", "words"), "there is a paper of this name"),
    ],
)
def test_what_cannot_be_done_is_told(
    engine: Any, papers: Toy, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    declared = type("Declared", (), {"about": "Counting.", "method": "1. Count."})
    monkeypatch.setattr("engine.families.declaration", lambda name: declared)
    answer = engine("paper", *arguments)
    assert answer.code == 2 and said in answer.err


def test_a_draft_is_written_and_builds(engine: Any, papers: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = type("Declared", (), {"about": "Counting.", "method": "1. Count."})
    monkeypatch.setattr("engine.families.declaration", lambda name: declared)
    answer = engine("paper", "new", "--from", "sums")
    assert answer.code == 0, answer.out + answer.err
    assert "wrote publications/sums/paper.qmd" in answer.out
    assert engine("paper", "build", "sums", "--to", "html", "--out", "made").code == 0
