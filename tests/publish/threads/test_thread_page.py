"""A thread on the site: cards that can be copied as they are, with pictures and verdicts."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import TemplateError
from engine.publish.publication_pages import PublicationPage
from engine.publish.publications import read_publication
from engine.publish.threads.thread_page import thread_concerns, thread_page
from engine.runs.library import Library
from tests.publish import made_up

TEXT = """\
---
title: Facts
---
The rank falls to {{ made-up.lens.final_rank }}.

See https://example.org/a?b=1&c=2.

---

{% claim "made-up.rank-falls" %}It rises < all.{% endclaim %}
{% claim "made-up.mostly-known", "contradicted" %}It does not know them all.{% endclaim %}
{{ chart("made-up.lens.by_layer") }}
"""


@pytest.fixture
def made(tmp_path: Path) -> PublicationPage:
    path = tmp_path / "publications/facts/thread.md"
    path.parent.mkdir(parents=True)
    path.write_text(TEXT, encoding="utf-8")
    library = Library({"made-up": replace(made_up.ledger(), slug="made-up")})
    return thread_page(read_publication(path, "thread"), library, tmp_path, ["made-up"])


def test_each_post_is_a_card_with_its_text_to_copy(made: PublicationPage) -> None:
    text = str(made.files["publications/facts/thread.md"])
    assert text.count('<li class="mech-post"') == 2
    shown = re.findall(r'<div class="mech-copyable"><p class="mech-post-text">(.*?)</p>', text)
    plain = [html.unescape(re.sub(r"<[^>]*>", "", piece)) for piece in shown]
    assert plain[0] == "The rank falls to 13.\n\nSee https://example.org/a?b=1&c=2.\n\n1/2"
    assert plain[1] == "It rises < all. It does not know them all.\n\n2/2"
    assert 'href="https://example.org/a?b=1&amp;c=2"' in shown[0]
    assert "\n\n" not in text[text.index("<ol") : text.index("</ol>")]  # which Markdown would read
    for words in ("Copy post 1", "Copy post 2", "Copy these words"):
        assert f'<button type="button" class="mech-copy" hidden>{words}</button>' in text


def test_it_says_how_it_is_cited_and_the_entry_lies_beside_it(made: PublicationPage) -> None:
    text = str(made.files["publications/facts/thread.md"])
    entry = str(made.files["publications/facts/thread/citation.bib"])
    assert entry.startswith("@misc{") and "facts-thread" in entry
    assert text.index("</ol>") < text.index('class="mech-cite')
    assert "citation_title" in text[: text.index("# ")] and "og:title" in text[: text.index("# ")]


def test_pictures_lie_beside_the_page_with_their_words(made: PublicationPage) -> None:
    text = str(made.files["publications/facts/thread.md"])
    picture = made.files["publications/facts/thread/02-1.png"]
    assert isinstance(picture, bytes) and picture.startswith(b"\x89PNG")
    (alt,) = re.findall(r'<img src="02-1.png" alt="([^"]*)" width="\d+" height="\d+"', text)
    assert html.unescape(alt).startswith("Rank of the answer by layer.")


def test_claims_stand_below_their_post_with_a_link_to_their_evidence(made: PublicationPage) -> None:
    text = str(made.files["publications/facts/thread.md"])
    link = '<a href="../../../investigations/made-up/#claim.mostly-known">'
    assert f"{link}mostly-known</a>" in html.unescape(text)
    assert '<span class="mech-verdict mech-contradicted">contradicted</span>' in text
    assert '<a href="../../../investigations/made-up/">' in text


def test_it_is_listed_with_its_first_words(made: PublicationPage) -> None:
    entry = made.entry
    assert (entry.slug, entry.kind, entry.title, entry.is_draft) == ("facts", "thread", "Facts", True)
    assert entry.about == "The rank falls to 13." and not made.concerns


def test_a_broken_sentence_makes_no_page(tmp_path: Path) -> None:
    path = tmp_path / "publications/facts/thread.md"
    path.parent.mkdir(parents=True)
    path.write_text(TEXT.replace(', "contradicted"', ""), encoding="utf-8")
    library = Library({"made-up": replace(made_up.ledger(), slug="made-up")})
    for made_by in (thread_page, thread_concerns):
        with pytest.raises(TemplateError, match="post 2 says what the evidence does not"):
            made_by(read_publication(path, "thread"), library, tmp_path, ["made-up"])
