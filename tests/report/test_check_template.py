"""What a template names wrongly is known before anything is measured, and claimed only where it is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.errors import ClaimError, TemplateError
from engine.report.render import asked_for, check_template, render, unprintable
from engine.spec.models import KeyNumber
from tests.report.conftest import entry

TEMPLATE = """Rank {{ lens.final_rank }} and {{ lens.finalrank }}.
{{ lenss.final_rank }}
{% if false %}{{ chart("lens.by_layr") }}{% endif %}
{{ table("lens.per_promt") }}
{% claim "rank-fals" %}It falls.{% endclaim %}
"""


def test_every_wrong_name_is_told_with_its_line_and_the_nearest(ledger) -> None:
    told = [(error.where, error.near[0]) for error in check_template(ledger, TEMPLATE, "report.md")]
    assert sorted(told) == [
        ("report.md:1", "final_rank"),
        ("report.md:2", "lens"),
        ("report.md:3", "by_layer"),
        ("report.md:4", "per_prompt"),
        ("report.md:5", "rank-falls"),
    ]


def test_of_an_experiment_that_was_never_measured_only_its_name_is_known(ledger) -> None:
    never = entry(state="unmeasured", measurements={}, tables={}, figures={}, checks=(), provenance=None)
    entries = tuple(replace(never, model=model) for model in ledger.spec.models)
    unmeasured = replace(ledger, entries=entries)
    told = check_template(unmeasured, TEMPLATE, "report.md")
    assert [error.where for error in told] == ["report.md:2", "report.md:5"]


def test_the_headline_is_looked_at_and_syntax_is_told_alone(ledger) -> None:
    spec = ledger.spec.model_copy(update={"headline": "{{ lens.fnal_rank }}"})
    told = check_template(replace(ledger, spec=spec), "{% claim %}", "report.md")
    assert [error.where for error in told] == ["report.md:1", "spec.yaml (headline):1"]


def test_what_claims_and_key_numbers_name_wrongly_is_told_with_its_place(ledger) -> None:
    key_numbers = [KeyNumber(number="lens.fnal_rank", says="rank", control="lens.othr_rank")]
    spec = ledger.spec.model_copy(update={"key_numbers": key_numbers})
    claim = ClaimError("lens has no number 'rnk'", where="spec.yaml: claims.rank-falls")
    wrong = replace(ledger, spec=spec, wrong_claims=(claim,))
    told = check_template(wrong, "Nothing.", "report.md")
    assert [error.where for error in told] == [
        "spec.yaml: claims.rank-falls",
        "spec.yaml: key_numbers[0].number",
        "spec.yaml: key_numbers[0].control",
    ]
    assert [error.near[0] for error in told[1:]] == ["final_rank", "other_rank"]
    with pytest.raises(ClaimError, match="rnk"):
        render(wrong, "Nothing.", "report.md")
    with pytest.raises(ClaimError, match="rnk"):
        asked_for(wrong, "Nothing.", "report.md")
    with pytest.raises(TemplateError, match="fnal_rank"):
        render(replace(wrong, wrong_claims=()), "Nothing.", "report.md")


def test_a_template_without_mistakes_has_none(ledger) -> None:
    assert check_template(ledger, '{{ lens.final_rank }} {{ chart("lens.by_layer") }}', "report.md") == []


def test_the_place_of_a_wrong_report_tells_the_mistake(ledger) -> None:
    error = TemplateError("no number 'x'", where="report.md:3", near=["y"])
    report = unprintable(error, "report.md")
    assert "report.md:3" in report.markdown and report.error is error
    assert [(concern.kind, concern.where) for concern in report.concerns] == [
        ("broken-template", "report.md:3")
    ]


def test_a_wrong_claim_is_a_concern_of_its_own_kind(ledger) -> None:
    error = ClaimError("lens has no number 'rnk'", where="spec.yaml: claims.rank-falls")
    report = unprintable(error, "report.md")
    assert [(concern.kind, concern.where) for concern in report.concerns] == [
        ("broken-claim", "spec.yaml: claims.rank-falls")
    ]
