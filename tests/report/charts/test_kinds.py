"""Every chart kind is a valid spec with its data and its words inside."""

from __future__ import annotations

import json

import altair
import pytest
from jsonschema import Draft7Validator

from engine.report.charts.draw import draw
from tests.report.charts.made_up import FIGURES, TABLE, XY, figure


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
