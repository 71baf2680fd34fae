"""What of a template is read, and what is left as it is typed; nothing is lost between the two."""

from __future__ import annotations

import pytest

from engine.errors import TemplateError
from engine.report.grammar import rendered
from engine.report.mathml import mathml
from engine.report.template_source import refuse_header, template_source, values_in_code


def printed(template: str) -> str:
    """The template printed, a formula as its TeX between angle brackets."""
    context = {
        "formula": lambda tex, display=False: f"<<{tex}>>" if display else f"<{tex}>",
        "literal": lambda text: text,
        "x": "value",
    }
    return rendered(template_source(template, "r.md"), "r.md", context, lambda value: _Plain(str(value)))


class _Plain(str):
    def __html__(self) -> str:
        return self


SAME = [
    "## What we found {#found}\n\nText.\n\n## Afterwards {#after .wide key=1}",
    "`{{ x }}` and ``{% if ` %}``",
    "```python\nf'{{x}}' {# no comment #} {%\n$a$\n```",
    "> ```\n> {{ x }}\n> ```",
    "```{python}\nprint(f'{x}')\n```\n",
    'echo `${#array[@]}`',
    "It costs $5 and $6, and 7 $ each.",
    "costs $5-$6, $ 5 and $\n\n$",
    "a `$x$` and\n\n    $y_{i}$ in code ${#a}\n\nb",
    "a \\` tick and \\* star",
    "[text]{#anchor}",
]  # fmt: skip


@pytest.mark.parametrize("text", SAME, ids=[text[:30] for text in SAME])
def test_text_that_is_none_of_the_engine_s_stays_as_it_is(text: str) -> None:
    assert printed(text) == text
    assert template_source(text, "r.md").count("\n") == text.count("\n")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("a{# left out #}b", "ab"),
        ("a {#- left\nout -#} b", "ab"),
        ("{##}a", "a"),
        ("## A {#a}\n{# a comment with {#id} in it #}\nB", "## A {#a}\n\nB"),
        ("$x_{i} = a_i * b$ and $$\n\\sum_i {{a}}\n$$", "<x_{i} = a_i * b> and <<\n\\sum_i {{a}}\n>>"),
        ('$\\text{"q"} \\} \\# 50\\%$', '<\\text{"q"} \\} \\# 50\\%>'),
        ("$\\$5$ \\$5 and \\@name", "<\\$5> $5 and @name"),
        ("$a$, {{ x }} and $b$ {{ '$c$' }}", "<a>, value and <b> $c$"),
        ("{% raw %}{{ x }} $a_{i}$ {#b}{% endraw %}", "{{ x }} <a_{i}> {#b}"),
        ("`{% raw %}{{ x }}{% endraw %}` {{ x }}", "`{{ x }}` value"),
        ("{% if x %}$a${% else %}$b${% endif %}", "<a>"),
        ("- a\n\n    $x$ in a list", "- a\n\n    <x> in a list"),
        ("\ufeffText\r\n{{ x }}\r", "Text\nvalue\n"),
        ("$𝛽 ≤ é$", "<𝛽 ≤ é>"),
        ("$|x|$ | $y$", "<|x|> | <y>"),
        ("\\{{ x }}", "\\value"),
    ],
)
def test_what_is_read_is_read_in_its_place(template: str, text: str) -> None:
    assert printed(template) == text


@pytest.mark.parametrize(
    ("template", "line", "problem"),
    [
        ("a\n{# never closed", 2, "never closed"),
        ("a\n\n## B {# b }\n\nLost?\n{# a comment #}\nC", 3, "another comment begins in"),
        ("{# one {# two #}", 1, "another comment begins in"),
        ("a\n{#TODO: say more#}", 2, "neither a comment nor a list"),
        ("a\n\n$$\nx\n\ny", 3, "never closed"),
        ("a\n$$x$$ and $$", 2, "never closed"),
        ("a $y\n= {{ lens.x }}$", 2, "a tag inside of a formula"),
        ("$y = {{lens.x}}$", 1, "a tag inside of a formula"),
        ("$y = {% if a %}$", 1, "a tag inside of a formula"),
        ("a\nb\x02c", 2, "a control character"),
    ],
)
def test_what_would_take_text_with_it_is_an_error_with_its_line(template, line, problem) -> None:
    with pytest.raises(TemplateError, match=problem) as caught:
        template_source(template, "r.md")
    assert caught.value.where == f"r.md:{line}"


def test_a_tag_that_is_never_closed_is_given_up_at_once() -> None:
    text = "{{ 'a " * 200 + '" ' * 20_000
    assert template_source(text, "r.md") == text


def test_lines_stay_where_they_are() -> None:
    template = "$$\na\n$$\n`{{\n}}`\n{{ y }}"
    with pytest.raises(TemplateError) as caught:
        printed(template)
    assert caught.value.where == "r.md:6"


@pytest.mark.parametrize("text", ["---\ntitle: T\n---\nText", "\ufeff---\r\ntitle: T\r\n# c\r\n...\r\nText"])
def test_front_matter_is_refused(text: str) -> None:
    with pytest.raises(TemplateError, match="no front matter") as caught:
        refuse_header(text, "report.md")
    assert caught.value.where == "report.md:1"


@pytest.mark.parametrize(
    "text", ["Text\n---\na: b\n---\n", "---\n\nText after a line.\n\nAnd more.\n", "----\na\n"]
)
def test_a_line_across_the_page_is_no_front_matter(text: str) -> None:
    refuse_header(text, "report.md")


def test_values_in_code_are_told_by_line_unless_they_are_raw_or_a_cell_s() -> None:
    text = "`{{ a }}`\n\n```\nb\n{{ c }}\n```\n`{% raw %}{{ d }}{% endraw %}`\n\n```{python}\nf'{{e}}'\n```\n"
    assert list(values_in_code(text)) == [1, 5]


def test_formulas_are_never_read_by_the_template() -> None:
    source = template_source("$\\frac{{a}}{{b}}$", "r.md")
    assert "{{a" not in source.removeprefix("{{ formula(")
    assert mathml("\\frac{{a}}{{b}}") in rendered(
        source, "r.md", {"formula": lambda tex: mathml(tex)}, lambda value: value
    )
