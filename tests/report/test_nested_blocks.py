"""Blocks stay in the container that they are called in."""

from __future__ import annotations

import pytest
from markdown import markdown

from engine.errors import TemplateError
from engine.report.nested_blocks import marked, one_line_of_html, placed

FIGURE = '\n\n<figure class="f">\n<p>a_b &#x2A;c&#x2A;</p>\n</figure>\n\n'
EXTENSIONS = ["admonition", "attr_list", "footnotes", "md_in_html", "tables", "pymdownx.details"]


def site(text: str) -> str:
    """The page's HTML without line breaks and the empty paragraphs that a browser makes of torn ones."""
    body = placed(text.replace("{{ chart }}", marked(FIGURE)), "r.md", one_line_of_html)
    return markdown(body, extensions=EXTENSIONS).replace("\n", "")


@pytest.mark.parametrize(
    ("text", "inside", "after"),
    [
        ('!!! note "In"\n    Before.\n\n    {{ chart }}\n\n    Still in.\n\nOut.', "admonition", "Still in."),
        ('??? note "In"\n\n    {{ chart }}\n\n    Still in.\n\nOut.', "details", "Still in."),
        ("> Before.\n>\n> {{ chart }}\n>\n> Still in.\n\nOut.", "blockquote", "Still in."),
        ("- Before.\n\n    {{ chart }}\n\n    Still in.\n\nOut.", "<li>", "Still in."),
        ("- {{ chart }}\n\n    Still in.\n\nOut.", "<li>", "Still in."),
        ("1. Before {{ chart }} Still in.\n\nOut.", "<li>", "Still in."),
        ("!!! note\n\n    - Before.\n\n        {{ chart }}\n\n    Still in.\n\nOut.", "<li>", "Still in."),
        ("x[^1]\n\n[^1]: Before.\n\n    {{ chart }}\n\n    Still in.\n", "footnote", "Still in."),
    ],
)
def test_a_block_in_a_container_stays_in_it_and_so_does_what_follows(text, inside, after) -> None:
    page = site(text)
    figure = page.index('<figure class="f">')
    assert page.index(inside) < figure < page.index(after)
    assert "a&#x5F;b &#x2A;c&#x2A;</p>" in page or "a_b *c*</p>" in page
    assert "<pre>" not in page and "&lt;figure" not in page and "<em>" not in page
    if "Out." in text:
        assert page.endswith("<p>Out.</p>")


def test_outside_of_a_container_a_block_is_as_it_was_printed() -> None:
    text = f"Before {marked(FIGURE)} after.\n    {marked(FIGURE)}"
    assert placed(text, "r.md", one_line_of_html) == f"Before {FIGURE} after.\n    {FIGURE}"
    assert placed("nothing", "r.md", one_line_of_html) == "nothing"


def test_text_keeps_the_indentation_of_the_call() -> None:
    table = marked("| x |\n|---|\n| 1 |")
    body = f"- a\n\n    {table}\n\n    b"
    assert placed(body, "r.md", str) == "- a\n\n    | x |\n    |---|\n    | 1 |\n\n    b"


@pytest.mark.parametrize("line", ["| a | {} |", "## {}", "> ok\n\n| {} |"])
def test_a_block_where_one_line_is_held_is_an_error(line: str) -> None:
    with pytest.raises(TemplateError, match="one line only") as caught:
        placed(line.format(marked(FIGURE)), "r.md", one_line_of_html)
    assert "..." in caught.value.seen


def test_code_keeps_its_lines_and_tables_their_cells() -> None:
    line = one_line_of_html("<pre><code>a_b\n\n  c*d*\n</code></pre>\n\n| a |\n|---|\n| 1 |\n")
    assert "\n" not in line and "&#10;&#10;  c&#x2A;d&#x2A;" in line and "<td>1</td>" in line
