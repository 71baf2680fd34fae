"""Text from code, specs and data in a Markdown page."""

from __future__ import annotations

import html

import pytest
import yaml

from engine.publish.markdown import code, front_matter, page, plain, row


def test_angle_brackets_are_text_outside_of_code() -> None:
    assert plain("a <b> & `<c>`") == "a &lt;b&gt; &amp; `<c>`"


@pytest.mark.parametrize(("text", "span"), [("", ""), ("x | y", "`x | y`"), ("a ` b", "`` a ` b ``")])
def test_a_code_span_holds_whatever_it_is_given(text: str, span: str) -> None:
    assert code(text) == span


def test_a_bar_ends_no_cell_and_a_line_break_no_row() -> None:
    assert row("a | b", "`int | None`", "one\n  two") == "| a \\| b | `int | None` | one two |"


def test_front_matter_is_yaml_whatever_the_title_holds() -> None:
    title = 'A "title": with # signs, \\ and é 😀 \x85\ufeff'
    popovers = "<div>\n<p>é 😀 ---</p>\n</div>\n"
    text = front_matter(title, about="what\nfor", hide="toc", popovers=popovers)
    _, meta, _ = text.split("---\n", 2)
    for loader in (yaml.SafeLoader, yaml.CSafeLoader):
        read = yaml.load(meta, loader)
        assert html.unescape(read.pop("popovers")) == html.unescape(popovers)
        assert html.unescape(read.pop("title")) == title
        assert read == {"description": "what\nfor", "hide": ["toc"]}


def test_a_page_is_front_matter_heading_and_body() -> None:
    whole = page("T <b>", "\nbody\n\n", about="a")
    assert whole.endswith("\n\n# T &lt;b&gt;\n\nbody\n")


def test_a_title_reaches_the_theme_as_text() -> None:
    title = '"><script>alert(1)</script> & <b>'
    meta = yaml.safe_load(front_matter(title, about=title).split("---")[1])
    for said in (meta["title"], meta["description"]):
        assert not set(said) & set("<>\"'")
        assert html.unescape(said) == title
