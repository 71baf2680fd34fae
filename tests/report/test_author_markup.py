"""What an author writes is text on the page: read by Markdown as the site has it, no HTML in it runs."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import markdown
import pytest
import yaml

from engine.errors import TemplateError
from engine.report.author_markup import active_part, safe_source
from engine.report.escape import for_site
from engine.report.grammar import rendered
from engine.report.template_source import template_source

REPOSITORY = Path(__file__).parents[2]
BAD = "<img src=x onerror=alert(1)>"


class Seen(HTMLParser):
    """The elements of a page, and the attributes that they have."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: list[str] = []
        self.titles: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]
        self.titles += [value or "" for name, value in attrs if name == "title"]

    def handle_data(self, data: str) -> None:
        self.text += data


def settings() -> tuple[list[str], dict[str, Any]]:
    """The Markdown extensions of the site, and how each is set."""

    class Loader(yaml.SafeLoader):
        """YAML with tags that are of no concern here."""

    Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: None)
    listed = yaml.load((REPOSITORY / "mkdocs.yml").read_text(), Loader)["markdown_extensions"]
    configs = {name: options for each in listed if isinstance(each, dict) for name, options in each.items()}
    return [each if isinstance(each, str) else next(iter(each)) for each in listed], configs


def test_markdown_is_set_as_the_site_has_it() -> None:
    assert "Link to this section" in page("## A heading").titles


def page(text: str, **names: Any) -> Seen:
    """An author's text as it arrives in a browser."""
    source = safe_source(template_source(text, "report.md"), "report.md")
    body = rendered(source, "report.md", names, lambda v: v if hasattr(v, "__html__") else for_site(v))
    extensions, configs = settings()
    return Seen(markdown.markdown(body, extensions=extensions, extension_configs=configs))


HTML = {
    "an element": BAD,
    "a script": "<script>alert(1)</script>",
    "a block": "<div onclick=alert(1)>\nx\n</div>",
    "a block that reads Markdown": f'<div markdown="1">\n{BAD}\n</div>',
    "a comment": f"<!-- {BAD} -->",
    "half of an element": "<img src=x onerror=alert(1)\n\nwords",
    "a declaration": "<!DOCTYPE x [<!ENTITY y 'z'>]>",
    "an instruction": f"<?php {BAD} ?>",
    "in a heading": f"## {BAD}",
    "in a table": f"| a | b |\n|---|---|\n| {BAD} | `{BAD}` |",
    "in an admonition": f"!!! note\n    {BAD}\n\n    `{BAD}`",
    "in the title of an admonition": f'!!! note "{BAD}"\n    words',
    "in a fold": f'??? note "{BAD}"\n    words',
    "in a list": f"- a\n    - {BAD}",
    "in a quotation": f"> {BAD}\n> `{BAD}`",
    "in a footnote": f"a[^1]\n\n[^1]: {BAD}",
    "in a title": f'[a](b.md "{BAD}")',
    "in an image's words": f"![{BAD}](a.png)",
    "in indented code": f"words\n\n    {BAD}\n",
    "in raw text": f"{{% raw %}}{BAD}{{% endraw %}}",
    "in a captured text": f"{{% set a %}}{BAD}{{% endset %}}{{{{ a }}}}",
    "in a macro": f"{{% macro m() %}}{BAD}{{% endmacro %}}{{{{ m() }}}}",
    "in a string": "{{ '" + BAD + "' }}",
    "around a value": "<{{ 'img' }} src=x onerror=alert(1)>",
    "around an empty value": "<{{ '' }}img src=x onerror=alert(1)>",
    "code behind a backslash": f"\\`{BAD}\\`",
    "code over a heading": f"# a ` b\n{BAD} `",
    "code over a list": f"- a ` b\n- {BAD} `",
    "code over a table": f"| a ` |\n|---|\n| {BAD} ` |",
    "code in a link": f"[`](b) {BAD} `",
    "a fence with words after it": f"``` a b c ` d\n{BAD}\n```",
    "a fence with an odd language": f"```a}}b{{c\n{BAD}\n```",
    "a fence within a fence": f"```\na\n````\n```\n{BAD}\n```",
    "fences of two kinds": f"~~~\n```\n~~~\n{BAD}\n```\n",
    "a fence that is never closed": f"```\n{BAD}",
    "a fence in a quotation": f"> ```\n{BAD}\n> ```",
    "a fence in a list": f"- a\n\n    ```\n    {BAD}\n    ```\n{BAD}",
    "a fence behind a tab": f"\t```\n{BAD}\n\t```",
    "entities": "&lt;img src=x onerror=alert(1)&gt;",
}


@pytest.mark.parametrize("case", HTML)
def test_an_authors_html_is_text(case: str) -> None:
    seen = page(f"Words.\n\n{HTML[case]}\n\nWords.\n")
    assert not seen.elements & {"img", "script", "b"} or case == "in an image's words"
    assert not {name for name in seen.attributes if name.startswith("on")}


ADDRESSES = {
    "a script": "[a](javascript:alert(1))",
    "in capitals": "[a](JaVaScRiPt:alert(1))",
    "with an entity": "[a](java&#115;cript:alert(1))",
    "with an entity of an entity": "[a](java&amp;#115;cript:alert(1))",
    "with the name of a sign": "[a](javascript&colon;alert(1))",
    "with a tab": "[a](java\tscript:alert(1))",
    "with a line break": "[a](java&#10;script:alert(1))",
    "in angle brackets": "[a](<javascript:alert(1)>)",
    "behind a space": "[a]( javascript:alert(1))",
    "on the next line": "[a](\njavascript:alert(1))",
    "by a reference": "[a][b]\n\n[b]: javascript:alert(1)",
    "by a reference on the next line": "[a][b]\n\n[b]:\n    javascript:alert(1)",
    "as a value": "[a]({{ 'javascript:alert(1)' }})",
    "with a value in it": "[a](java{{ '' }}script:alert(1))",
    "by a value in a reference": "[a][b]\n\n[b]: {{ 'javascript:alert(1)' }}",
    "as data": "[a](data:text/html,<script>alert(1)</script>)",
    "of another kind": "[a](vbscript:x)",
    "of a file": "[a](file:///etc/passwd)",
    "an image that is a script": "![a](javascript:alert(1))",
    "an image of another host": "![a](https://other.invalid/a.png)",
    "an image of any protocol": "![a](//other.invalid/a.png)",
    "over two lines": "[a](java\nscript:alert(1))",
    "before a space": "[a](javascript: alert(1))",
    "with a backslash": "[a](javascript\\:alert(1))",
}
ATTRIBUTES = {
    "an event": "[a](b.md){: onclick=alert(1) }",
    "an event in quotes": '[a](b.md){: onclick="alert(1)" }',
    "an event in capitals": "## A {#a ONCLICK=alert(1)}",
    "an event behind a space": '## A {: onclick ="alert(1)" }',
    "an event behind another": "## A {: title=x onmouseover=alert(1) }",
    "a style": '## A {: style="position:fixed" }',
    "an address": "[a](b.md){: href=javascript:alert(1) }",
    "an event with a value in it": "## A {: on{{ '' }}click=alert(1) }",
    "an id of the theme's": "## A {: #__config }",
}


@pytest.mark.parametrize("text", [*ADDRESSES.values(), *ATTRIBUTES.values()], ids=[*ADDRESSES, *ATTRIBUTES])
def test_an_address_or_attribute_that_runs_is_an_error_with_its_line(text: str) -> None:
    with pytest.raises(TemplateError) as caught:
        page(f"Words.\n\n{text}\n")
    line = int(caught.value.where.removeprefix("report.md:"))
    assert 3 <= line <= 2 + len(text.split("\n"))
    assert len(str(caught.value)) < 500


def test_what_authors_need_goes_on_as_before() -> None:
    text = (
        "## Found {#found}\n\nIf a < b and c > d, see <https://example.org/a?b=1>, [it](../a.md), "
        '[that](https://example.org/ "there"), ![a chart](a.png){: width=300 }; here is the data: `x <y>`, '
        'and JavaScript: the language.\n\n```python title="a.py"\nif a < b:\n    print(1)\n```\n\n'
        "- `{{ a }}` and `a < b`\n"
    )
    seen = page(text)
    assert "If a < b and c > d, see https://example.org/a?b=1" in seen.text
    assert (
        "if a < b:\n    print(1)" in seen.text and "x <y>" in seen.text and "{{ a }} and a < b" in seen.text
    )
    assert {"h2", "a", "img", "code", "pre", "li"} <= seen.elements
    assert seen.addresses.count("https://example.org/a?b=1") == 1
    assert "width" in seen.attributes and "#found" in seen.addresses


def test_lines_stay_where_they_are() -> None:
    text = f"one\n\n```\n{BAD}\n\n{BAD}\n```\n\n`a\n{BAD}`\n\n{{{{ nope }}}}\n"
    source = safe_source(template_source(text, "report.md"), "report.md")
    assert source.count("\n") == text.count("\n")
    assert source.index("{{ nope }}") and source[: source.index("{{ nope }}")].count("\n") == 11


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>",
        "<g onload='alert(1)'/>",
        "<a xlink:href='javascript:alert(1)'><text>x</text></a>",
        "<image href='https://other.invalid/x.png'/>",
        "<foreignObject><b/></foreignObject>",
        "<set attributeName='href' to='javascript:alert(1)'/>",
        "<style>@import 'https://other.invalid/x.css';</style>",
        "<rect fill='url(https://other.invalid/x)'/>",
        "<svg:script>alert(1)</svg:script>",
        "&#60;script>alert(1)</script>",
    ],
)
def test_an_svg_that_runs_or_fetches_is_told(inside: str) -> None:
    assert active_part(f"<svg xmlns='http://www.w3.org/2000/svg'>{inside}</svg>".encode())
    assert active_part(f"<svg>{inside}</svg>".encode("utf-16"))


def test_a_still_picture_has_nothing_active() -> None:
    still = b"<svg xmlns='http://www.w3.org/2000/svg'><defs><path id='a'/></defs><use xlink:href='#a'/>"
    assert active_part(still + b"<rect fill='url(#b)'/><text>on the = way</text></svg>") == ""
