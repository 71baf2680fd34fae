import html
import json
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import SiteError, TemplateError
from engine.publish.overview import REGISTERED, Report, home_page, investigations_page
from engine.publish.pages import report_page
from engine.report.render import render, unprintable
from tests.publish import made_up


def test_a_report_brings_its_spec_charts_and_tables(project: Path) -> None:
    files = made_up.files(project, made_up.report(project))
    here = "investigations/fact-recall"
    assert files[f"{here}/spec.yaml"] == (project / here / "spec.yaml").read_bytes()
    assert json.loads(files[f"{here}/charts/lens.by_layer.json"])["data"]["values"]
    assert str(files[f"{here}/tables/lens.per_prompt.csv"]).count("\n") == 26
    assert "charts/lens.by_layer.json" in str(files[f"{here}/index.md"])


def test_a_page_tells_how_the_report_stands(project: Path) -> None:
    page = str(made_up.files(project, made_up.report(project))["investigations/fact-recall/index.md"])
    masthead = page.split("\n\n")[2]
    assert page.startswith("---\ntitle:")
    for fact in (
        "1 supported",
        "1 contradicted",
        "1 undetermined",
        "replicated 1 of 2",
        "2026-01-31",
        "spec.yaml",
    ):
        assert fact in masthead
    assert "calibration failed: circuit_patching" in html.unescape(masthead)
    assert "logit" not in masthead


def test_a_heading_of_the_template_is_not_repeated(project: Path) -> None:
    own = made_up.report(project, text="# My own heading\n\nProse.\n")
    assert [line for line in report_page(own).splitlines() if line.startswith("# ")] == ["# My own heading"]
    without = made_up.report(project, text="Prose.\n")
    assert f"# {made_up.TITLE}" in report_page(without).splitlines()


def test_text_from_data_is_never_markup(project: Path) -> None:
    hostile = made_up.report(project, title="<script>alert(1)</script>")
    for name, content in made_up.files(project, hostile).items():
        if name.endswith(".md"):
            body = str(content).split("\n---\n", 1)[-1]
            assert "<script" not in body, name
            assert "--8<--" not in body, name


def test_cards_show_value_interval_verdict_model_and_date(project: Path) -> None:
    home = home_page("before <!-- headline cards --> after", [made_up.report(project)])
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
    assert "published, not measured here" in home_page("<!-- headline cards -->", [_on(report, "tiny-gpt2")])
    part = [replace(e, model="far-away") if e.label == "patch" else e for e in report.ledger.entries]
    there = _on(replace(report, ledger=replace(report.ledger, entries=tuple(part))), "far-away")
    gone = html.unescape(home_page("<!-- headline cards -->", [there]))
    assert "the hub cannot be reached" in gone and "9 to 16" not in gone.split("mech-cards")[1]


def test_what_has_no_number_yet_comes_last_and_without_cards(project: Path) -> None:
    report = made_up.report(project)
    reports = [replace(_on(report, "far-away"), folder=report.folder), report]
    home, index = home_page("<!-- headline cards -->", reports), investigations_page(reports)
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
    wrong = replace(report, ledger=ledger, rendered=unprintable(ledger, caught.value, template))
    home = home_page("<!-- headline cards -->", [wrong, made_up.report(project, "a-second-one")])
    assert made_up.TITLE in home
    assert home.count('class="mech-cards"') == 1


def test_the_index_sorts_by_values_not_by_words(project: Path) -> None:
    page = html.unescape(investigations_page([made_up.report(project)]))
    assert 'data-value="0.5">1 of 2' in page
    assert 'data-value="1"><span class="mech-verdict mech-supported">1 supported' in page
    assert "far-away <small>(unmeasured)</small>" in page


def test_without_investigations_the_pages_say_so(project: Path) -> None:
    files = made_up.files(project)
    for name in ("index.md", "investigations/index.md"):
        assert "No investigation has been built yet." in str(files[name])


def test_the_chart_library_is_made_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = str(made_up.files(project)["javascripts/vega.js"])
    (project / "site/javascripts/vega.js").write_text(made)
    monkeypatch.setattr("engine.publish.pages.vega_bundle", lambda: pytest.fail("made again"))
    assert made_up.files(project)["javascripts/vega.js"] == made


def test_a_missing_home_page_is_a_clear_error(project: Path) -> None:
    (project / "site/home.md").unlink()
    with pytest.raises(SiteError, match="home page"):
        made_up.files(project)
