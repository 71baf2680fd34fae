"""What a report opens with: the same sentence everywhere, then the claims."""

from __future__ import annotations

from dataclasses import replace

from engine.report.escape import for_site
from engine.report.opening import escaped_prose, on_one_line
from engine.report.render import render
from engine.runs.ledger import Ledger
from tests.report.test_render import PATH


def test_the_words_of_a_headline_are_text_and_its_tags_stay() -> None:
    escaped = escaped_prose('A <b>"{{ number("a.b") }}"</b>\n{% if x %}*y*{% endif %}', for_site)
    assert '{{ number("a.b") }}' in escaped and "{% if x %}" in escaped and "\n" in escaped
    assert "<b>" not in escaped and "*" not in escaped


def test_a_line_break_is_a_space_and_one_that_does_not_break_stays() -> None:
    assert on_one_line(" a\n  b 5\u00a0% ") == "a b 5\u00a0%"


def test_a_headline_with_markup_is_shown_as_it_is_typed(ledger: Ledger) -> None:
    spec = ledger.spec.model_copy(update={"headline": "<script>x</script> {{ lens.n_kept }}\nprompts."})
    rendered = render(replace(ledger, spec=spec), "", PATH)
    assert rendered.headline == "<script>x</script> 120 prompts."
    for html in (rendered.opening, rendered.listing.headline):
        assert "<script>" not in html and ">120</button>" in html and "prompts" in html


def test_as_text_the_finding_comes_first_and_then_each_hypothesis_with_its_verdict(ledger: Ledger) -> None:
    rendered = render(ledger, "", PATH, target="text")
    assert rendered.opening.strip().startswith("The rank falls to 13 (")
    rows = [line for line in rendered.claims.splitlines() if line.startswith("|")]
    assert rows[0] == "| Hypothesis | On tiny-llama |"
    assert rows[-1] == "| The model knows most facts | contradicted, 0.1 % |"


def test_without_claims_there_is_no_table(ledger: Ledger) -> None:
    spec = ledger.spec.model_copy(update={"claims": {}})
    assert render(replace(ledger, spec=spec), "", PATH).claims == ""
