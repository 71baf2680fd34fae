"""Every chart kind is a valid spec with its data and its words inside."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import altair
import pandas as pd
import pytest
from jsonschema import Draft7Validator

from engine.report.charts.draw import draw
from engine.report.charts.pictures import picture_of
from tests.report.charts.made_up import BAND, FIGURES, TABLE, XY, figure

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def schema() -> Draft7Validator:
    """The schema of Vega-Lite, of which Altair has a copy."""
    return Draft7Validator(altair.load_schema())


@pytest.mark.parametrize("name", FIGURES)
def test_every_kind_compiles_and_carries_words_and_no_ink(name: str) -> None:
    import vl_convert

    chart = draw(figure(*FIGURES[name]), TABLE)
    spec = json.loads(json.dumps(chart.spec, allow_nan=False))
    assert spec["$schema"].endswith("v6.4.1.json") or "/v6" in spec["$schema"]
    assert spec["config"]["background"] == "transparent" and spec["description"] == chart.alt
    assert not {"labelColor", "titleColor"} & set(str(spec).replace("'", " ").split())
    vega = vl_convert.vegalite_to_vega(spec, vl_version="6.4")
    assert vega["marks"] or vega["layout"]
    if "facet" not in name and "panels" not in name:
        assert spec["width"] == "container"


@pytest.mark.parametrize("name", FIGURES)
def test_every_kind_is_valid_by_the_schema_of_vega_lite(name: str, schema: Draft7Validator) -> None:
    chart = draw(figure(*FIGURES[name]), TABLE)
    schema.validate(json.loads(json.dumps(chart.spec)))


def test_bars_of_one_colour_each_are_not_set_apart() -> None:
    one = TABLE.iloc[:3].assign(kind=["mlp", "head", "mlp"])
    assert "xOffset" not in json.dumps(draw(figure("bar", {**XY, "color": "kind"}), one).spec)
    assert "xOffset" in json.dumps(draw(figure("bar", {**XY, "color": "which"}), TABLE).spec)


@pytest.mark.parametrize("kind", ["bar", "line"])
@pytest.mark.parametrize("panels", [{}, {"facet": "requests"}])
def test_a_chart_has_one_legend_in_words_however_many_panels_and_layers_it_has(
    kind: str, panels: dict[str, str]
) -> None:
    table = pd.concat([TABLE.assign(requests=name) for name in ("held_out", "training")])
    table = table.assign(which=table.which.map({"answer": "the_answer", "another": "another"}))
    svg = picture_of(draw(figure(kind, {**BAND, **panels, "color": "which"}), table).spec).svg
    shown = ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert [text for text in shown if "answer" in text] == ["the answer"]
    assert shown.count("held out") == len(panels)


def test_names_along_an_axis_are_words_and_the_data_keep_them() -> None:
    table = TABLE.iloc[:2].assign(which=["single_layer", "baseline"])
    chart = draw(figure("bar", {"x": "mean_rank", "y": "which"}), table)
    svg = picture_of(chart.spec).svg
    assert "single layer" in svg and "single layer" in chart.alt
    assert [row["which"] for row in chart.spec["data"]["values"]] == ["single_layer", "baseline"]
