"""Publications in a build: a page each, kept where nothing changed, one that is wrong among sound ones."""

from __future__ import annotations

import html
import json
from typing import Any

import pytest

from engine.commands import publication_site
from engine.commands.publication_site import publication_concerns, publication_pages
from tests.runs.toy import Toy

PAPER = """\
---
title: Words & numbers
author: [{name: Ada Person}]
abstract: The score is {{ sums.count.score }}.
---

# One {#sec-one}

As @sec-one says, it is {{ sums.count.score }}. {% claim "sums.more" %}There are more.{% endclaim %}
"""


@pytest.fixture
def papers(toy: Toy) -> Toy:
    toy.spec("sums", claims={"more": {"holds": "count.score > count.chance"}}, count={})
    toy.write("investigations/sums/report.md", '{% claim "more" %}More.{% endclaim %}\n')
    toy.write("publications/words/paper.qmd", PAPER)
    toy.build()
    return toy


def pages(toy: Toy, **more: Any) -> list:
    with toy.store() as store:
        return publication_pages(toy.root, store, {}, **more)


def test_a_paper_has_a_page_with_its_evidence_its_claims_and_its_pdf(papers: Toy) -> None:
    (page,) = pages(papers)
    text = page.files["publications/words/index.md"]
    assert 'class="mech-number"' in text and "mech-popover" in text
    assert 'data-claim="sums.more"' in text and "Section" in text
    assert "## 1 One {#sec-one}" in text and ">draft<" in text and "Ada Person" in text
    assert page.files["publications/words/paper.pdf"].startswith(b"%PDF")
    assert page.entry.title == "Words & numbers" and page.entry.n_broken == 0
    assert page.entry.about.startswith("The score is 25.5")


def test_a_page_is_kept_until_something_of_it_changes(papers: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    made = pages(papers)
    printed: list[str] = []
    paper_page = publication_site.PRINTERS["paper"]

    def counted(publication: Any, *rest: Any) -> Any:
        printed.append(publication.slug)
        return paper_page(publication, *rest)

    monkeypatch.setitem(publication_site.PRINTERS, "paper", counted)
    assert pages(papers) == made and printed == []
    # With a hash of its investigation, the ledger is not even assembled.
    assert pages(papers, unchanged={"sums": "a"}) == made
    with monkeypatch.context() as without_ledgers:
        without_ledgers.setattr(publication_site, "_library", None)
        assert pages(papers, unchanged={"sums": "a"}) == made and printed == []
    papers.edit("publications/words/paper.qmd", "There are more.", "There are many more.")
    assert "many more" in pages(papers)[0].files["publications/words/index.md"] and printed == ["words"]


def test_one_that_cannot_be_printed_leaves_the_others_standing(papers: Toy) -> None:
    papers.write("publications/broken/paper.qmd", PAPER.replace("sums.count.score", "sums.count.scor"))
    papers.write("publications/headless/paper.qmd", "No header.\n")
    found = {page.entry.slug: page for page in pages(papers)}
    assert "no number 'scor'" in found["broken"].entry.refused
    assert "has no header" in found["headless"].entry.refused
    assert found["words"].entry.refused == ""
    assert [c.kind for c in found["broken"].concerns] == ["broken-template"]
    with papers.store() as store:
        concerns = publication_concerns(papers.root, store, {})
        assert {concern.where.split("/")[-2] for concern in concerns} == {"broken", "headless"}


def test_without_the_extra_the_page_says_what_to_install(
    papers: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.publish.papers.site_page.is_installed", lambda: False)
    (page,) = pages(papers)
    assert "pip install" in page.files["publications/words/index.md"].replace("&#x2D;", "-")
    assert sorted(page.files) == ["publications/words/citation.bib", "publications/words/index.md"]
    assert json.loads(json.dumps(page.entry.place)) == "publications/words/index.md"


def test_a_thread_has_a_page_beside_the_paper_and_a_broken_one_is_told(papers: Toy) -> None:
    head = "---\ntitle: Posts\ndraft: false\n---\n"
    sound = '{% claim "sums.more" %}There are more.{% endclaim %}\n\nData: <investigations/sums/>\n'
    papers.write("publications/words/thread.md", head + sound)
    papers.write("publications/wrong/thread.md", head + sound.replace('more"', 'more", "contradicted"'))
    _, thread, wrong = pages(papers)
    shown = html.unescape(str(thread.files["publications/words/thread.md"]))
    assert "Data: investigations/sums/" in shown
    assert not thread.entry.is_draft and not thread.entry.refused
    assert "post 1 says what the evidence does not" in wrong.entry.refused
    assert "measured supported" in str(wrong.files["publications/wrong/thread.md"])
    with papers.store() as store:
        (told,) = publication_concerns(papers.root, store, {}, ["sums"])
    assert told.where.endswith("publications/wrong/thread.md:5") and told.message.startswith("post 1 says")


def test_the_address_of_the_site_makes_another_page(papers: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    papers.write("publications/words/thread.md", "---\ntitle: Posts\n---\nData: <investigations/sums/>\n")
    papers.write("mkdocs.yml", "site_name: x\nsite_url: https://example.org/\n")
    (page,) = [each for each in pages(papers) if each.entry.kind == "thread"]
    assert "https://example.org/investigations/sums/" in str(page.files["publications/words/thread.md"])
    papers.write("mkdocs.yml", "site_name: x\nsite_url: https://example.com/\n")
    (page,) = [each for each in pages(papers) if each.entry.kind == "thread"]
    assert "https://example.com/investigations/sums/" in str(page.files["publications/words/thread.md"])
