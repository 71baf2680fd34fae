"""What is a citation in a text and what is none, as pandoc has it."""

from __future__ import annotations

import re

import pytest

from engine.errors import TemplateError
from engine.report.citations import cited_in_words, with_citations


def printed(text: str) -> str:
    """The text with each call as its key and its form between angle brackets."""
    called = with_citations(text, "r.md")
    return re.sub(r'\{\{ cite_work\("(.*?)", "(.*?)"\) \}\}', r"<\1 \2>", called)


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("So [@a2020].", "So (<a2020 bracketed>)."),
        ("So [@a; @b:c/d.e_f].", "So (<a bracketed>; <b:c/d.e_f bracketed>)."),
        ("[@a, p. 12]", "(<a bracketed>, p. 12)"),
        (
            "[see @a, pp. 3-4; also -@b; @c *chap.* 2]",
            "(see <a bracketed>, pp. 3-4; also <b year>; <c bracketed> *chap.* 2)",
        ),
        ("[@a;\n@b]", "(<a bracketed>;\n<b bracketed>)"),
        ("[-@a]", "(<a year>)"),
        ("@a says, and @b.", "<a narrative> says, and <b narrative>."),
        ("@a's and (@b)", "<a narrative>'s and (<b narrative>)"),
        ("@a [p. 3] says", "<a opened>p. 3) says"),
        ("@a [p. 3; see @b] says", "<a opened>p. 3; see <b bracketed>) says"),
        ("-@a and -@b [p. 2]", "<a narrative year> and <b opened year>p. 2)"),
        ("@{https://x.org/a?b} ends", "<https://x.org/a?b narrative> ends"),
        ("[@a]: a colon", "(<a bracketed>): a colon"),
        ("*[@a]* **@b**", "*(<a bracketed>)* **<b narrative>**"),
        ("| [@a] | @b |", "| (<a bracketed>) | <b narrative> |"),
        ("> @a [^1]\n\n[^1]: See [@b].", "> <a narrative> [^1]\n\n[^1]: See (<b bracketed>)."),
        ("@a [^1]\n\n[^1]: @b says.", "<a narrative> [^1]\n\n[^1]: <b narrative> says."),
        ("[@a, p. {{ literal('3') }}]", "(<a bracketed>, p. {{ literal('3') }})"),
        ("{% claim 'x' %}As @a found.{% endclaim %}", "{% claim 'x' %}As <a narrative> found.{% endclaim %}"),
    ],
)
def test_what_looks_like_a_citation_is_one(text: str, cited: str) -> None:
    assert printed(text) == cited


@pytest.mark.parametrize(
    "text",
    [
        "me@example.org and <me@example.org> and top@5",
        "`[@a]` and ``@b``",
        "```\n[@a] @b\n```",
        "[a page](https://x.org/@a) https://x.org/@b <https://x.org/@c>",
        "[ref]: https://x.org/@a",
        '<a href="@x">at @ 5 %</a>',
        "{{ literal('@a') }} {# [@a] #} {% raw %}{% endraw %}",
        "a lone @ and @.",
    ],
)
def test_what_is_none_stays_as_it_is(text: str) -> None:
    assert printed(text) == text


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a\n[@a and @b]", 2, "2 works in one part"),
        ("a\n\n[@a;\nand others]", 4, "without a key"),
        ("[see; @a]", 1, "without a key"),
        ("@a [@b]", 1, "in the words that follow"),
    ],
)
def test_what_mixes_keys_and_other_things_is_an_error_with_its_line(text, line, problem) -> None:
    with pytest.raises(TemplateError, match=problem) as caught:
        with_citations(text, "r.md")
    assert caught.value.where == f"r.md:{line}"


def test_the_brackets_are_the_printer_s() -> None:
    assert with_citations("[@a] @b [p. 1]", "r.md", ("[", "]")) == (
        '[{{ cite_work("a", "bracketed") }}] {{ cite_work("b", "opened") }}p. 1]'
    )


def test_each_form_in_words() -> None:
    forms = ("bracketed", "year", "narrative", "narrative year", "opened", "opened year")
    assert ["".join(cited_in_words("Abe", "2019", form)) for form in forms] == [
        "Abe 2019",
        "2019",
        "Abe (2019)",
        "(2019)",
        "Abe (2019, ",
        "(2019, ",
    ]
