"""The page shows what makes the step from number to sentence valid."""

from dataclasses import replace

import pytest

from engine.report.render import render
from engine.spec.models import Assumption

GIVEN = {
    "evidence": "causal",
    "assumptions": [
        Assumption(
            text="The lens reads what is used.", kind="construct", stressed_by=["mostly-known", "lens"]
        ),
        Assumption(text="Prompts are like others.", stressed_by=[]),
    ],
}


@pytest.fixture
def stated(ledger):
    return replace(ledger, spec=ledger.spec.model_copy(update=GIVEN))


def test_each_assumption_is_shown_with_what_stresses_it(stated):
    said = render(stated, "{{ assumptions() }}", "report.md", target="text").markdown
    assert "The evidence is causal" in said
    assert "The lens reads what is used." in said and "from the number to the notion" in said
    assert "mostly-known (contradicted), the experiment lens" in said
    assert "nothing here" in said


def test_they_stand_before_how_it_was_measured_where_the_text_does_not_show_them(stated):
    once = render(stated, "{{ how_measured() }}", "report.md", target="text").markdown
    assert once.index("The lens reads") < once.index("Experiment")
    twice = render(stated, "{{ assumptions() }}\n\n{{ how_measured() }}", "report.md", target="text").markdown
    assert twice.count("The lens reads what is used.") == 1


def test_nothing_is_shown_where_none_is_stated(ledger):
    assert render(ledger, "{{ assumptions() }}", "report.md", target="text").markdown.strip() == ""
