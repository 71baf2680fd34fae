"""Names with a dash: which ones are names, which are differences, and what each is called instead."""

import pytest

from engine.report.dashed_names import identifiers, without_dashes

SPELLINGS = {
    "fact-recall": "fact_recall",
    "fact-recall.patch-heads": "fact_recall.patch_heads",
    "recall-2": "recall_2",
}


@pytest.mark.parametrize(
    ("template", "rewritten"),
    [
        ("{{ fact-recall.lens.depth }}", "{{ fact_recall.lens.depth }}"),
        ("{{fact-recall.patch-heads.n}}", "{{fact_recall.patch_heads.n}}"),
        ("{% if fact-recall.lens.n > 1 %}x{% endif %}", "{% if fact_recall.lens.n > 1 %}x{% endif %}"),
        ("{{ recall-2.lens.n }}", "{{ recall_2.lens.n }}"),
        ("{{ -fact-recall.lens.n.value }}", "{{ -fact_recall.lens.n.value }}"),
        ("{{ a - fact-recall.lens.n.value }}", "{{ a - fact_recall.lens.n.value }}"),
    ],
)
def test_a_known_name_is_spelled_with_underscores(template: str, rewritten: str) -> None:
    assert without_dashes(template, "report.md", SPELLINGS) == rewritten


@pytest.mark.parametrize(
    "template",
    [
        "{{ fact - recall }}",
        "{{ the-fact-recall.lens.n }}",
        "{{ fact-recall-3.lens.n }}",
        "{{ old.fact-recall.lens.n }}",
        '{{ number("fact-recall.lens.n") }}',
        "prose of fact-recall {# fact-recall #}",
        "{% raw %}{{ fact-recall.lens.n }}{% endraw %}",
    ],
)
def test_what_is_no_name_in_code_is_left_as_it_is(template: str) -> None:
    assert without_dashes(template, "report.md", SPELLINGS) == template


def test_lines_and_columns_of_all_else_stay() -> None:
    template = "one\n{%- if fact-recall.lens.n -%}\ntwo\n{%- endif %}\nthree fact-recall"
    assert without_dashes(template, "report.md", SPELLINGS) == template.replace("t-recall.", "t_recall.")


def test_no_name_is_called_as_another() -> None:
    found = identifiers(["a-b", "a_b", "a--b", "2x"], {"a__b", "_2x"})
    assert found == {"a-b": "a_b_", "a--b": "a__b_", "2x": "_2x_"}
