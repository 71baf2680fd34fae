"""Texts that print from several investigations: a report that names another's numbers, a publication."""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import EngineError, TemplateError
from engine.evidence.result import Measurement
from engine.evidence.verdicts import Verdict
from engine.report.render import asked_for, check_template, render
from engine.report.report_cache import ReportCache, report_hash
from engine.runs.ledger import DisplayItem, Ledger
from engine.runs.library import Library

PATH = "report.md"


@pytest.fixture
def library(ledger: Ledger) -> Library:
    """The report of `seeds-of-saes`, whose numbers are other ones than those of `fact-recall`."""
    first, *rest = ledger.entries
    rank = first.measurements["final_rank"]
    measured = {**first.measurements, "final_rank": replace(rank, value=77.0, low=76.0, high=78.0)}
    provenance = first.provenance and replace(first.provenance, command="mech run --name seeds-of-saes/lens")
    entry = replace(first, measurements=measured, provenance=provenance)
    verdicts = {"tiny-llama": {"rank-falls": Verdict("rank-falls", "contradicted", 0.0)}}
    own = Ledger("seeds-of-saes", ledger.spec, (entry, *rest), verdicts)
    return Library({"fact-recall": ledger, "seeds-of-saes": own}, own="seeds-of-saes")


def text(library: Library, template: str) -> str:
    return render(library, template, PATH, target="text").markdown


@pytest.mark.parametrize(
    "named",
    [
        "{{ fact-recall.lens.final_rank }}",
        "{{ fact_recall.lens.final_rank }}",
        '{{ number("fact-recall.lens.final_rank") }}',
        '{{ fact-recall["lens"].final_rank }}',
        "{{ fact-recall.patch-heads.final_rank }}",
        '{{ number("fact-recall.sweep[seed=3].final_rank") }}',
        '{{ fact-recall.sweep["seed=3"].final_rank }}',
    ],
)
def test_another_investigations_number_is_named_with_its_slug(library: Library, named: str) -> None:
    assert text(library, named).startswith("13 (")
    assert text(library, "{{ lens.final_rank }}").startswith("77.0")


def test_a_number_of_another_has_its_control_and_models_there(library: Library) -> None:
    assert text(library, "{{ fact-recall.lens.final_rank.control }}").startswith("375")
    assert text(library, '{{ fact-recall.lens.final_rank.on("tiny-gpt2") }}').startswith("10 (")
    with pytest.raises(TemplateError, match="the spec of fact-recall: its models"):
        text(library, '{{ number("fact-recall.lens.final_rank", model="tiny") }}')


def test_the_popover_of_anothers_number_tells_whose_it_is(library: Library) -> None:
    popovers = render(library, "{{ lens.final_rank }} {{ fact-recall.lens.final_rank }}", PATH).popovers
    told = [line for line in html.unescape(popovers).splitlines() if "lens.final_rank<" in line]
    own, other = told
    assert "mech run --name seeds-of-saes/lens" in own
    assert ">fact-recall.lens.final_rank<" in other
    assert "mech run --name fact-recall/lens" in other
    assert "Replicated" in other and "Replicated" not in own  # only that ledger has a published number


def test_claims_charts_and_tables_of_another(library: Library) -> None:
    template = (
        '{% claim "fact-recall.rank-falls" %}It falls there.{% endclaim %} '
        '{% claim "rank-falls", "contradicted" %}Here it does not.{% endclaim %}\n\n'
        '{{ chart("fact-recall.lens.by_layer") }} {{ chart("lens.by_layer") }} '
        '{{ table("fact-recall.lens.per_prompt") }} {{ where_it_holds("fact-recall") }}'
    )
    page = render(library, template, PATH)
    assert set(page.charts) == {"fact-recall.lens.by_layer", "lens.by_layer"}
    assert set(page.tables) == {
        "fact-recall.lens.by_layer",
        "lens.by_layer",
        "fact-recall.lens.per_prompt",
    }
    assert 'data-claim="fact-recall.rank-falls" data-verdict="supported"' in page.markdown
    assert 'data-claim="rank-falls" data-verdict="contradicted"' in page.markdown
    assert [c.kind for c in page.concerns if c.kind == "broken-sentence"] == []
    assert [c.message for c in page.concerns if c.kind == "uncited-claim"] == [
        "claim 'mostly-known' is registered, and no sentence cites it"
    ]


@pytest.mark.parametrize(
    ("template", "said", "near"),
    [
        ("{{ fact-recal.lens.final_rank }}", "'fact' is not defined", ""),
        ("{{ fact_recal.lens.final_rank }}", "'fact_recal' is not defined", "fact-recall"),
        ('{{ number("fact-recal.lens.final_rank") }}', "no investigation 'fact-recal'", "fact-recall"),
        ("{{ fact-recall.lense.final_rank }}", "the investigation fact-recall has no 'lense'", "lens"),
        ("{% if 1 > 2 %}{{ fact-recall.lens.final_rnk }}{% endif %}", "no number 'final_rnk'", "final_rank"),
        (
            '{% claim "fact-recall.rank-fals" %}It falls.{% endclaim %}',
            "the spec of fact-recall",
            "rank-falls",
        ),
        ('{{ chart("fact-recall.lens.by_layr") }}', "the figures of lens has no", "by_layer"),
        ('{{ where_it_holds("fact-recal") }}', "no investigation 'fact-recal'", "fact-recall"),
        ("{{ fact-recall }}", "is an investigation, not a number", ""),
    ],
)
def test_what_is_not_there_is_told_with_its_line_and_the_nearest_name(
    library: Library, template: str, said: str, near: str
) -> None:
    with pytest.raises(EngineError, match=said) as caught:
        render(library, f"One.\n\n{template}\n", PATH)
    assert caught.value.where == "report.md:3"
    assert near == "" or near in caught.value.near


def test_a_slug_that_is_put_together_is_refused(library: Library) -> None:
    with pytest.raises(TemplateError, match="not named in this text"):
        text(library, '{{ number("fact" ~ "-" ~ "recall.lens.final_rank") }}')


def test_an_own_experiment_goes_before_an_investigation_of_its_name(library: Library, ledger: Ledger) -> None:
    with_namesake = replace(library, ledgers={**library.ledgers, "lens": replace(ledger, slug="lens")})
    assert text(with_namesake, "{{ lens.final_rank }}").startswith("77.0")
    assert text(with_namesake, '{{ number("lens.lens.final_rank") }}').startswith("13 (")


def test_a_publication_writes_every_slug(library: Library) -> None:
    publication = replace(library, own="")
    page = render(publication, "{{ fact-recall.lens.final_rank }}", "paper.qmd", target="text")
    assert page.markdown.startswith("13 (") and page.headline == ""
    with pytest.raises(TemplateError, match="'lens' is not defined"):
        text(publication, "{{ lens.final_rank }}")
    with pytest.raises(TemplateError, match=r"nearest: fact-recall\.rank-falls"):
        text(publication, 'fact-recall {% claim "rank-falls" %}It falls.{% endclaim %}')
    with pytest.raises(TemplateError, match="this text is of no investigation"):
        text(publication, "{{ how_measured() }}")
    assert check_template(publication, "{{ fact-recall.lens.final_rank }}", "paper.qmd") == []


def test_what_is_asked_for_of_each(library: Library) -> None:
    template = '{{ chart("lens.by_layer") }} {{ table("fact-recall.lens.per_prompt") }}'
    assert asked_for(library, template, PATH) == {DisplayItem("lens", "tiny-llama", "figures", "by_layer")}
    assert asked_for(library, template, PATH, of="fact-recall") == {
        DisplayItem("lens", "tiny-llama", "tables", "per_prompt")
    }


def test_a_report_is_printed_anew_when_what_it_names_changes(library: Library, tmp_path: Path) -> None:
    cited = library.ledgers["fact-recall"]
    first, *rest = cited.entries
    number: Measurement = first.measurements["final_rank"]
    entry = replace(first, measurements={**first.measurements, "final_rank": replace(number, value=15.0)})
    changed = replace(
        library, ledgers={**library.ledgers, "fact-recall": replace(cited, entries=(entry, *rest))}
    )
    path = tmp_path / "investigations/seeds-of-saes/report.md"
    naming = "{{ fact-recall.lens.final_rank }}"
    cache = ReportCache(tmp_path / ".engine")
    assert ">13<" in cache.render(library, naming, path).markdown
    assert ">15<" in cache.render(changed, naming, path).markdown
    # One that does not name it stays as it was printed.
    alone = "{{ lens.final_rank }}"
    assert report_hash(library, alone, path) == report_hash(changed, alone, path)
