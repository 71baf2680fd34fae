"""A figure of an investigation in a notebook: drawn as on its page, shown whatever the notebook can draw."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from engine.errors import EngineError
from engine.report.charts.draw import MOST_ROWS
from engine.report.charts.vega import MIME_TYPE
from engine.report.render import render
from engine.report.result_charts import chart
from engine.runs.interactive.results import Results


def test_it_is_the_pages_chart_with_its_title(ledger) -> None:
    name = Results(ledger).figures[0]
    drawn = chart(Results(ledger), name)
    (on_the_page,) = render(ledger, f'{{{{ chart("{name}") }}}}', "report.md").charts.values()
    title = Results(ledger).figure(name)[0].title
    assert drawn.spec == {"title": title, **json.loads(on_the_page)}
    assert drawn.alt == drawn.spec["description"]


def test_a_notebook_gets_the_chart_its_picture_and_its_words(ledger) -> None:
    drawn = chart(Results(ledger), Results(ledger).figures[0])
    bundle = drawn._repr_mimebundle_()
    assert list(bundle) == [MIME_TYPE, "image/svg+xml", "text/plain"]
    assert bundle[MIME_TYPE] is drawn.spec
    assert bundle["image/svg+xml"].startswith("<svg") and drawn.spec["title"] in bundle["image/svg+xml"]
    assert bundle["text/plain"] == drawn.alt


def test_altair_reads_it(ledger) -> None:
    altair = pytest.importorskip("altair")
    drawn = chart(Results(ledger), Results(ledger).figures[0])
    assert altair.Chart.from_dict(drawn.spec).to_dict()["title"] == drawn.spec["title"]


def test_of_one_experiment_its_name_goes_without_saying(ledger) -> None:
    label, _, name = Results(ledger).figures[0].rpartition(".")
    assert chart(Results(ledger, label), name) == chart(Results(ledger), f"{label}.{name}")


def test_what_was_left_out_is_told_below_the_title(ledger) -> None:
    name = Results(ledger).figures[0]
    figure, table = Results(ledger).figure(name)
    entry = ledger.entry(name.rpartition(".")[0], ledger.primary)
    many = table.loc[table.index.repeat(MOST_ROWS)]
    longer = replace(entry, tables={**entry.tables, figure.table: many})
    entries = tuple(longer if each is entry else each for each in ledger.entries)
    drawn = chart(Results(replace(ledger, entries=entries)), name)
    assert drawn.spec["title"] == {"text": figure.title, "subtitle": drawn.sampled}
    assert f"{MOST_ROWS:,}" in drawn.sampled


def test_the_curve_of_a_claim_is_drawn_by_its_id_as_on_its_page(across) -> None:
    page = render(across, '{{ specification_curve("rank-falls") }}', "report.md")
    assert [call.name for call in page.chart_calls] == ["rank-falls"]
    assert json.loads(page.charts["curve-rank-falls"]) == chart(Results(across), "rank-falls").spec
    assert Results(across).claim("rank-falls").specifications["verdict"].tolist() == [
        "undetermined",
        "supported",
    ]


def test_a_claim_without_choices_has_no_curve(ledger) -> None:
    with pytest.raises(EngineError, match="names no choices"):
        chart(Results(ledger), "rank-falls")


def test_a_wrong_name_is_told_with_the_nearest(ledger) -> None:
    name = Results(ledger).figures[0]
    with pytest.raises(EngineError) as told:
        chart(Results(ledger), name[:-1])
    assert name.rpartition(".")[2] in told.value.near
