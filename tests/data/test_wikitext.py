"""Wikitext as prose: what is taken out, what stays, and which pages of a dump are articles."""

from __future__ import annotations

import io

import pytest

from engine.data.wikitext import articles, plain

NS = "http://www.mediawiki.org/xml/export-0.10/"


def page(text: str, ns: str = "0", more: str = "") -> str:
    return f"<page><title>T</title><ns>{ns}</ns>{more}<revision><text>{text}</text></revision></page>"


@pytest.mark.parametrize(
    ("wikitext", "prose"),
    [
        ("'''Ada''' was a [[mathematician|writer of programs]].", "Ada was a writer of programs."),
        ("A [[cat]] sat.{{citation needed|date={{month}}}}", "A cat sat."),
        ("One.<ref name=a>Book</ref> Two.<ref name=a /> Three.", "One. Two. Three."),
        ("Before\n{| class=x\n|-\n| {{a|b}} || c\n|}\nafter", "Before\n\nafter"),
        ("[[File:Map.png|thumb|A map of [[Rome]]]]Rome is old.", "Rome is old."),
        ("== History ==\n* first\n## second", "History\nfirst\nsecond"),
        ("See [http://example.org the page] and [[fr:Rome]]", "See the page and"),
        ("2 &lt; 3<!-- note -->", "2 < 3"),
    ],
)
def test_markup_is_taken_out_and_prose_stays(wikitext, prose):
    assert plain(wikitext) == prose


def test_articles_are_pages_that_are_no_redirect_and_in_the_main_space():
    pages = [
        page("First."),
        page("#REDIRECT [[x]]"),
        page("Talk.", ns="1"),
        page("Moved.", more="<redirect/>"),
    ]
    dump = f'<mediawiki xmlns="{NS}">{"".join(pages)}{page("Last.")}</mediawiki>'
    assert list(articles(io.BytesIO(dump.encode()))) == ["First.", "Last."]
