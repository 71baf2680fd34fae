"""How investigations stand on the home page and in the index."""

import html
import re
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import TemplateError
from engine.publish.overview import REGISTERED, Report, home_page, investigations_page, summarised
from engine.report.render import render, unprintable
from engine.spec.models import KeyNumber
from tests.publish import made_up


def test_panels_show_the_finding_and_key_numbers_beside_their_controls(project: Path) -> None:
    template = "---\ntitle: t\n---\nbefore <!-- headline cards --> after"
    home = home_page(template, [summarised(made_up.report(project))])
    settings, body = home.split("\n---\n")
    body = html.unescape(body)
    first = body.split('class="mech-card"')[1]
    assert body.startswith("before") and body.endswith("after")
    for part in ("rank of the answer", "13", "Control: ", "375", "another answer"):
        assert part in first
    # The interval stands behind the number.
    assert "9 to 16" not in body and "9 to 16" in html.unescape(settings)


def test_every_number_of_a_panel_and_a_row_opens_what_is_there_once(project: Path) -> None:
    reports = [made_up.report(project), made_up.report(project, "a-second-one")]
    summaries = [summarised(report) for report in reports]
    for page in (home_page("---\n---\n<!-- headline cards -->", summaries), investigations_page(summaries)):
        targets = set(re.findall(r'popovertarget="([^"]+)" aria-haspopup', page))
        popovers = re.findall(r'popover id="([^"]+)"', page)
        assert targets and targets <= set(popovers)
        assert len(set(popovers)) == len(popovers)


def test_a_number_is_written_one_way_in_headline_and_card(project: Path) -> None:
    report = made_up.report(project)
    spec = report.ledger.spec.model_copy(update={"headline": "{{ lens.share_known }} are known."})
    template = project / "investigations/fact-recall/report.md"
    found = render(replace(report.ledger, spec=spec), "", template).concerns
    (concern,) = [c for c in found if c.kind == "number-written-two-ways"]
    assert concern.where.endswith("spec.yaml: key_numbers[1]") and "percent" in concern.message


def test_a_key_number_without_a_control_needs_a_person(project: Path) -> None:
    found = made_up.report(project).rendered.concerns
    (concern,) = [c for c in found if c.kind == "key-number-without-control"]
    assert concern.where.endswith("spec.yaml: key_numbers[1]") and "lens.share_known" in concern.message


def _on(report: Report, model: str) -> Report:
    """The report as if `model` were the primary one."""
    spec = report.ledger.spec.model_copy(update={"models": [model]})
    return replace(report, ledger=replace(report.ledger, spec=spec))


def test_what_was_not_measured_says_so_and_why(project: Path) -> None:
    report = made_up.report(project)
    part = [replace(e, model="far-away") if e.label == "patch" else e for e in report.ledger.entries]
    ledger = _on(replace(report, ledger=replace(report.ledger, entries=tuple(part))), "far-away").ledger
    rendered = render(ledger, "", project / "investigations/fact-recall/report.md")
    there = replace(report, ledger=ledger, rendered=rendered)
    page = html.unescape(home_page("---\n---\n<!-- headline cards -->", [summarised(there)]))
    assert "[not measured here]" in page.split("mech-cards")[1]
    assert "the hub cannot be reached" in page.split("\n---\n")[0]


def test_what_has_no_number_yet_comes_last_and_without_cards(project: Path) -> None:
    report = made_up.report(project)
    reports = [replace(_on(report, "far-away"), folder=report.folder), report]
    listed = [summarised(report) for report in reports]
    home, index = home_page("---\n---\n<!-- headline cards -->", listed), investigations_page(listed)
    assert home.index("mech-cards") < home.index(REGISTERED)
    assert home.count('class="mech-cards"') == 1
    assert index.index("1 supported") < index.index(REGISTERED)


def test_a_report_with_a_key_number_that_is_not_there_stands_without_any(project: Path) -> None:
    report = made_up.report(project)
    spec = report.ledger.spec.model_copy(
        update={"key_numbers": [KeyNumber(number="lens.final_rnk", says="rank")]}
    )
    ledger = replace(report.ledger, spec=spec)
    template = project / "investigations/fact-recall/report.md"
    with pytest.raises(TemplateError, match=r"spec.yaml.*\n(.*\n)*.*nearest: final_rank") as caught:
        render(ledger, "Nothing.", template)
    wrong = replace(report, ledger=ledger, rendered=unprintable(caught.value, template))
    listed = [summarised(wrong), summarised(made_up.report(project, "a-second-one"))]
    home = home_page("---\n---\n<!-- headline cards -->", listed)
    assert made_up.TITLE in home
    assert home.count('class="mech-cards"') == 1


def test_the_index_sorts_by_values_not_by_words(project: Path) -> None:
    page = html.unescape(investigations_page([summarised(made_up.report(project))]))
    assert 'data-value="0.5">6 of 12' in page and "1 of 2 drifted" in page
    assert 'data-value="1"><span class="mech-verdict mech-supported">1 supported' in page
    assert "far-away <small>(unmeasured)</small>" in page
