"""A report that would say the same is read from disk; whatever it is printed from prints it anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import TemplateError
from engine.report.charts.pictures import PictureCache
from engine.report.render import RenderedReport, render
from engine.report.report_cache import ReportCache, report_hash
from engine.runs.ledger import Ledger

TEMPLATE = """\
{{ lens.final_rank }} at 12 [@a]. {% claim "rank-falls" %}It falls.{% endclaim %}

{{ chart("lens.by_layer") }} {{ table("lens.per_prompt") }}
"""
REFERENCES = "@article{a, author = {Doe, Jane}, title = {On ranks}, year = {2024}}\n"


@pytest.fixture
def template(tmp_path: Path) -> Path:
    folder = tmp_path / "investigations/fact-recall"
    (folder / "published").mkdir(parents=True)
    (folder / "references.bib").write_text(REFERENCES)
    (folder / "published/m.json").write_text("{}")
    return folder / "report.md"


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The text of every template that was printed anew."""
    texts: list[str] = []

    def noted(ledger: Ledger, text: str, path: Path, **more) -> RenderedReport:
        texts.append(text)
        return render(ledger, text, path, **more)

    monkeypatch.setattr("engine.report.report_cache.render", noted)
    return texts


def test_a_report_is_read_as_it_was_printed(ledger, template: Path, tmp_path: Path, printed) -> None:
    first = ReportCache(tmp_path / ".engine").render(ledger, TEMPLATE, template)
    again = ReportCache(tmp_path / ".engine").render(ledger, TEMPLATE, template)
    anew = render(ledger, TEMPLATE, template, pictures=PictureCache())
    assert first == again == anew and len(printed) == 1
    assert again.pictures and again.charts and again.tables and again.headline
    assert [call.name for call in again.chart_calls] == ["lens.by_layer"]
    assert [concern.kind for concern in again.concerns].count("typed-number") == 1


def test_the_charts_of_an_edited_text_are_not_drawn_again(
    ledger, template: Path, tmp_path: Path, printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ReportCache(tmp_path / ".engine").render(ledger, TEMPLATE, template)
    monkeypatch.setattr("engine.report.charts.pictures._drawn", None)
    edited = ReportCache(tmp_path / ".engine").render(ledger, TEMPLATE + "More.", template)
    assert len(printed) == 2 and edited.pictures == first.pictures


def test_a_wrong_template_is_told_each_time(ledger, template: Path, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(TemplateError, match="final_rnk"):
            ReportCache(tmp_path / ".engine").render(ledger, "{{ lens.final_rnk }}", template)


def test_without_a_folder_nothing_is_kept(ledger, template: Path, printed) -> None:
    for _ in range(2):
        ReportCache().render(ledger, TEMPLATE, template)
    ReportCache().prune()
    assert len(printed) == 2


def test_whatever_it_is_printed_from_makes_another_report(ledger, template: Path) -> None:
    first, *rest = ledger.entries
    number = next(iter(first.measurements.values()))
    provenance = first.provenance
    others = [
        replace(ledger, slug="another"),
        replace(ledger, comparisons=()),
        replace(ledger, verdicts={}),
        replace(ledger, spec=ledger.spec.model_copy(update={"headline": "Another."})),
        *(
            replace(ledger, entries=(entry, *rest))
            for entry in (
                replace(first, reason="another reason"),
                replace(first, measurements={number.name: replace(number, value=1e-9)}),
                replace(first, figures={}),
                replace(first, provenance=replace(provenance, run_id=99)),
                replace(first, left_out={("tables", "t"): "why"}),
            )
        ),
    ]
    hashes = [report_hash(other, TEMPLATE, template) for other in (ledger, *others)]
    hashes.append(report_hash(ledger, TEMPLATE + "More.\n", template))
    for name in ("references.bib", "published/m.json", "published/t.csv", "spec.yaml"):
        with (template.parent / name).open("a") as file:
            file.write("more")
        hashes.append(report_hash(ledger, TEMPLATE, template))
    assert len(set(hashes)) == len(hashes)
    assert hashes[-1] == report_hash(ledger, TEMPLATE, template)
