"""A report that prints another investigation's numbers: checked alone, published, and printed anew."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.commands.reports import assemble_library, print_reports, wrong_templates
from tests.runs.toy import Toy

NAMING = (
    "# Sums\n\n{{ count.score }} and {{ two-words.count.score }}. "
    '{{ table("two-words.count.words", rows=3) }}\n\n'
    '{% claim "two-words.more" %}There are more.{% endclaim %}\n'
)


@pytest.fixture
def both(toy: Toy) -> Toy:
    """`sums` names the numbers of `two-words`, which names nothing."""
    toy.spec("two-words", claims={"more": {"holds": "count.score > count.chance"}}, count={})
    toy.write("investigations/two-words/report.md", '{% claim "more" %}More.{% endclaim %}\n')
    toy.spec("sums", count={"parameters": {"k": 1}})
    toy.write("investigations/sums/report.md", NAMING)
    toy.build()
    return toy


def printed(toy: Toy, slug: str) -> str:
    with toy.store() as store:
        reports = {report.slug: report for report in print_reports(toy.plan(), store)}
    return reports[slug].rendered.markdown


def test_one_report_alone_has_the_numbers_that_it_names(engine: Any, both: Toy) -> None:
    answer = engine("check", "sums")
    assert answer.code == 0, answer.out + answer.err
    assert ">11.5<" in printed(both, "sums") and ">25.5<" in printed(both, "sums")
    with both.store() as store:
        assert wrong_templates(both.plan(), store) == []


def test_it_is_printed_anew_when_the_other_changes(both: Toy) -> None:
    assert ">25.5<" in printed(both, "sums")
    both.spec(
        "two-words", claims={"more": {"holds": "count.score > count.chance"}}, count={"parameters": {"k": 2}}
    )
    both.build()
    assert ">13.5<" in printed(both, "sums")


def test_a_wrong_name_of_another_needs_a_person(engine: Any, both: Toy) -> None:
    both.edit("investigations/sums/report.md", "two-words.count.score", "two-words.count.scor")
    answer = engine("check", "sums", "--json")
    assert answer.code == 1
    assert [c["kind"] for c in answer.json] == ["broken-template"]
    assert "no number 'scor'" in answer.json[0]["message"]


def test_a_table_that_another_report_shows_is_published(engine: Any, both: Toy) -> None:
    assert engine("publish", "two-words").code == 0
    folder = both.root / "investigations/two-words/published"
    assert [path.name for path in folder.glob("*.csv")] == ["tiny.count.words.csv"]


def test_the_library_has_what_the_plan_and_its_reports_name(both: Toy) -> None:
    with both.store() as store:
        plan = both.plan()
        alone = replace(plan, investigations={"two-words": plan.investigations["two-words"]})
        assert set(assemble_library(alone, store).ledgers) == {"two-words"}
        assert set(assemble_library(alone, store, citing=True).ledgers) >= {"two-words", "sums"}
