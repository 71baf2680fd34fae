"""How investigations stand on the home page and in the index."""

import html
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import TemplateError
from engine.publish.overview import REGISTERED, Report, home_page, investigations_page, summarised
from engine.report.render import render, unprintable
from tests.publish import made_up


def test_cards_show_value_interval_verdict_model_and_date(project: Path) -> None:
    home = home_page("before <!-- headline cards --> after", [summarised(made_up.report(project))])
    first = html.unescape(home.split('class="mech-card"')[1])
    assert home.startswith("before") and home.endswith("after")
    for part in ("Rank of the answer", "13", "9 to 16, n = 120 prompts", "supported", 'datetime="2026-01-31'):
        assert part in first


def _on(report: Report, model: str) -> Report:
    """The report as if `model` were the primary one."""
    spec = report.ledger.spec.model_copy(update={"models": [model]})
    return replace(report, ledger=replace(report.ledger, spec=spec))


def test_cards_say_what_was_published_and_what_was_not_measured(project: Path) -> None:
    report = made_up.report(project)
    published = summarised(_on(report, "tiny-gpt2"))
    assert "published, not measured here" in home_page("<!-- headline cards -->", [published])
    part = [replace(e, model="far-away") if e.label == "patch" else e for e in report.ledger.entries]
    there = _on(replace(report, ledger=replace(report.ledger, entries=tuple(part))), "far-away")
    gone = html.unescape(home_page("<!-- headline cards -->", [summarised(there)]))
    assert "the hub cannot be reached" in gone and "9 to 16" not in gone.split("mech-cards")[1]


def test_what_has_no_number_yet_comes_last_and_without_cards(project: Path) -> None:
    report = made_up.report(project)
    reports = [replace(_on(report, "far-away"), folder=report.folder), report]
    listed = [summarised(report) for report in reports]
    home, index = home_page("<!-- headline cards -->", listed), investigations_page(listed)
    assert home.index("mech-cards") < home.index(REGISTERED)
    assert home.count('class="mech-cards"') == 1
    assert index.index("1 supported") < index.index(REGISTERED)


def test_a_report_with_a_card_of_an_unknown_number_stands_without_cards(project: Path) -> None:
    report = made_up.report(project)
    spec = report.ledger.spec.model_copy(update={"cards": {"lens.final_rnk": "Rank"}})
    ledger = replace(report.ledger, spec=spec)
    template = project / "investigations/fact-recall/report.md"
    with pytest.raises(TemplateError, match=r"spec.yaml.*\n(.*\n)*.*nearest: final_rank") as caught:
        render(ledger, "Nothing.", template)
    wrong = replace(report, ledger=ledger, rendered=unprintable(caught.value, template))
    listed = [summarised(wrong), summarised(made_up.report(project, "a-second-one"))]
    home = home_page("<!-- headline cards -->", listed)
    assert made_up.TITLE in home
    assert home.count('class="mech-cards"') == 1


def test_the_index_sorts_by_values_not_by_words(project: Path) -> None:
    page = html.unescape(investigations_page([summarised(made_up.report(project))]))
    assert 'data-value="0.5">1 of 2' in page
    assert 'data-value="1"><span class="mech-verdict mech-supported">1 supported' in page
    assert "far-away <small>(unmeasured)</small>" in page
