import html
import json
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import SiteError
from engine.publish.pages import _own_documents, _without_paths, report_page
from engine.report.charts.pictures import PictureCache
from tests.publish import made_up


def test_a_report_brings_its_spec_charts_and_tables(project: Path) -> None:
    files = made_up.files(project, made_up.report(project))
    here = "investigations/fact-recall"
    assert files[f"{here}/spec.yaml"] == (project / here / "spec.yaml").read_bytes()
    assert json.loads(files[f"{here}/charts/lens.by_layer.json"])["data"]["values"]
    assert str(files[f"{here}/tables/lens.per_prompt.csv"]).count("\n") == 26
    assert "charts/lens.by_layer.json" in str(files[f"{here}/index.md"])
    assert not [name for name in files if name.startswith(here) and name.endswith(".svg")]


def test_a_report_brings_the_pictures_of_its_charts(project: Path) -> None:
    files = made_up.files(project, made_up.report(project, pictures=PictureCache()))
    here = "investigations/fact-recall"
    for chart in ("lens.by_layer", "patch.grid"):
        assert str(files[f"{here}/charts/{chart}.svg"]).startswith("<svg")
        assert f'src="charts/{chart}.svg"' in str(files[f"{here}/index.md"])


def test_a_page_tells_how_the_report_stands(project: Path) -> None:
    page = str(made_up.files(project, made_up.report(project))["investigations/fact-recall/index.md"])
    masthead = page[page.index('<ul class="mech-masthead">') : page.index("## Hypotheses and verdicts")]
    assert page.startswith("---\ntitle:")
    for fact in (
        "1 supported",
        "1 contradicted",
        "1 undetermined",
        "Measured here: 6 of 12, 1 of 2 compared drifted; the rest from 2026-01-31.",
        "last measured 2026-01-31",
        "spec.yaml",
    ):
        assert fact in masthead
    assert "calibration failed: circuit_patching" in html.unescape(masthead)
    assert "logit" not in masthead


def test_a_page_opens_with_its_finding_then_claims_then_the_text(project: Path) -> None:
    page = report_page(made_up.report(project))
    order = [
        f"# {made_up.TITLE}",
        'class="mech-question"',
        'class="mech-headline"',
        'class="mech-cards"',
        'class="mech-masthead"',
        "## Hypotheses and verdicts",
        "The rank of the answer falls from",
        "## How this was measured",
    ]
    places = [page.index(part) for part in order]
    assert places == sorted(places)


def test_a_page_warns_of_numbers_that_came_from_other_code(project: Path) -> None:
    report = made_up.report(project)
    assert "mech-other-than-here" not in report_page(report)
    old = [
        replace(e, changed=("published with other code",)) if e.model == "tiny-gpt2" else e
        for e in report.ledger.entries
    ]
    older = replace(report, ledger=replace(report.ledger, entries=tuple(old)))
    (warning,) = [line for line in report_page(older).splitlines() if "mech-other-than-here" in line]
    assert "6 were published with other code than this checkout's" in html.unescape(warning)


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


def test_no_page_names_a_folder_of_the_machine(tmp_path: Path) -> None:
    text = f"refused: {tmp_path}/investigations/words/spec.yaml:3 and {Path.home()}/models/x"
    page = _without_paths("investigations/words/index.md", text, tmp_path)
    assert page == "refused: investigations/words/spec.yaml:3 and ~/models/x"
    data = text.encode()
    assert _without_paths("investigations/words/spec.yaml", data, tmp_path) is data


def test_the_repositorys_own_documents_are_pages(tmp_path: Path) -> None:
    assert _own_documents(tmp_path) == {}
    (tmp_path / "SECURITY.md").write_text("# Security")
    assert _own_documents(tmp_path) == {"reference/security.md": b"# Security"}
