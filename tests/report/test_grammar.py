"""The template language is small and closed; whatever is not in it is an error with its line."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest
from jinja2 import nodes

from engine.errors import TemplateError
from engine.report.grammar import (
    ALL_FILTERS,
    CITE_CLAIM,
    TESTS,
    Grammar,
    keep_compiled,
    named_outright,
    parsed,
    percent,
    rendered,
    wrong_names,
)


def printed(template: str, **context: object) -> str:
    return rendered(template, "report.md", context, lambda value: value)


def test_there_is_nothing_in_it_but_what_is_listed() -> None:
    grammar = Grammar()
    # Those with a space in their name are for the sandbox: no template can write them.
    assert {name for name in grammar.filters if " " not in name} == set(ALL_FILTERS)
    assert set(grammar.tests) == set(TESTS)
    assert set(grammar.globals) == {"range"}


def test_what_is_not_markup_is_escaped_without_anyone_asking() -> None:
    assert printed("{{ text }}", text="<b>") == "&lt;b&gt;"


def test_a_mistake_inside_of_a_macro_is_told_at_its_own_line() -> None:
    template = "{% macro share(n) %}\n{{ 1 / n }}\n{% endmacro %}\n\n\n{{ share(0) }}"
    with pytest.raises(TemplateError) as caught:
        printed(template)
    assert caught.value.where == "report.md:2"


def test_a_macro_that_calls_itself_without_end_is_an_error() -> None:
    with pytest.raises(TemplateError, match="cannot be rendered"):
        printed("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}")


def test_claims_and_names_are_found_where_they_are_named_outright() -> None:
    tree = parsed('{{ chart("lens.x") }}\n{% claim "falls" %}It falls.{% endclaim %}\n{{ lens.y }}', "r.md")
    assert sorted(named_outright(tree.find_all((nodes.Call, nodes.Getattr)))) == [
        (1, "chart", "lens.x"),
        (2, CITE_CLAIM, "falls"),
        (3, "lens", "y"),
    ]


def test_what_is_asked_of_another_model_is_left_to_rendering() -> None:
    tree = parsed('{{ number("lens.x", model=other) }}', "r.md")
    assert list(named_outright(tree.find_all((nodes.Call, nodes.Getattr)))) == []


def test_a_name_that_the_template_sets_itself_is_not_looked_up() -> None:
    def find(name: str) -> None:
        raise TemplateError(f"no {name!r}")

    context = {"lens": None}
    assert [e.problem for e in wrong_names(parsed("\n{{ lens.x }}", "r.md"), context, {"lens": find}, "r.md")]
    own = parsed("{% set lens = ['a'] %}{{ lens.x }}", "r.md")
    assert wrong_names(own, context, {"lens": find}, "r.md") == []


def test_percent_takes_numbers_only() -> None:
    assert percent(0.1234) == "12.3 %"
    with pytest.raises(TemplateError, match="percent takes a number"):
        percent("much")


def test_compiled_templates_are_taken_from_where_they_are_kept(tmp_path: Path) -> None:
    kept = tmp_path / "templates"
    for _ in range(2):
        environment = jinja2.Environment(loader=jinja2.DictLoader({"page": "{{ 1 + 1 }}"}))
        keep_compiled(environment, kept)
        assert environment.get_template("page").render() == "2"
        assert len(list(kept.iterdir())) == 1
