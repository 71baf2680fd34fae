"""Every chart kind is a valid spec with its data and its words inside; every bad figure is an error."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from engine.errors import TemplateError
from engine.evidence.result import Figure
from engine.report.charts.draw import MOST_ROWS, draw, vega_bundle, vega_bundle_name

TABLE = pd.DataFrame({"layer": [0, 1, 2, 0, 1, 2], "mean_rank": [300.0, 40.0, 5.0, 310.0, 200.0, 150.0]})
TABLE = TABLE.assign(low=TABLE.mean_rank * 0.9, high=TABLE.mean_rank * 1.1)
TABLE["which"] = ["answer"] * 3 + ["another"] * 3
XY = {"x": "layer", "y": "mean_rank"}
BAND = {**XY, "low": "low", "high": "high"}

FIGURES = {
    "line": ("line", {**BAND, "color": "which"}, {"rule": 50, "log_y": True}),
    "line in panels": ("line", {**BAND, "facet": "which"}, {"rule": 50}),
    "line over words": ("line", {"x": "which", "y": "mean_rank"}, {}),
    "bar": ("bar", {**BAND, "color": "which"}, {"rule": 50}),
    "bar lying": ("bar", {"x": "mean_rank", "y": "which", "low": "low", "high": "high"}, {}),
    "heatmap": ("heatmap", {"x": "layer", "y": "which", "color": "mean_rank"}, {"midpoint": 0}),
    "strip": ("strip", {"x": "which", "y": "mean_rank", "color": "which", "label": "layer"}, {"rule": 0}),
    "strip lying": ("strip", {"y": "which", "x": "mean_rank"}, {}),
    "ecdf": ("ecdf", {"x": "mean_rank", "color": "which"}, {}),
    "scatter": ("scatter", {**XY, "color": "which", "label": "which"}, {"height": 200}),
}


def figure(
    kind: str, columns: dict[str, str], options: dict | None = None, title: str = "Rank by layer"
) -> Figure:
    return Figure(kind, "t", columns, title, "", options or {})


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


def test_the_words_name_trend_extremes_and_rows() -> None:
    alt = draw(figure("line", {**XY, "color": "which"}), TABLE).alt
    assert alt == (
        "Rank by layer. Line chart of mean rank against layer. "
        "answer: falls from 300 at layer 0 to 5 at layer 2; highest 300 at layer 0, lowest 5 at layer 2. "
        "another: falls from 310 at layer 0 to 150 at layer 2; "
        "highest 310 at layer 0, lowest 150 at layer 2. "
        "Drawn from 6 rows."
    )


@pytest.mark.parametrize(
    ("kind", "columns", "said"),
    [
        ("bar", {"x": "mean_rank", "y": "which"}, "of mean rank by which. 6 bars; highest 310 at another"),
        ("heatmap", {**XY, "y": "which", "color": "mean_rank"}, "highest 310 at layer 0, another"),
        ("strip", {"x": "which", "y": "mean_rank"}, "Median answer 40, another 200."),
        ("ecdf", {"x": "mean_rank"}, "Half of the values are at or below 175"),
        ("scatter", XY, "6 points, rank correlation -0.84"),
        ("line", {**XY, "facet": "which"}, "in 2 panels by which"),
    ],
)  # fmt: skip
def test_every_kind_has_words_of_its_own(kind: str, columns: dict[str, str], said: str) -> None:
    assert said in draw(figure(kind, columns), TABLE).alt


def test_holes_and_infinities_become_gaps() -> None:
    table = pd.DataFrame({"layer": [0, 1, 2, 3], "mean_rank": [1.0, np.nan, np.inf, 4.0]})
    spec = draw(figure("line", XY), table).spec
    assert [row["mean_rank"] for row in spec["data"]["values"]] == [1.0, None, None, 4.0]


@pytest.mark.parametrize("values", [[np.nan, np.nan], [1.0, np.nan]])
@pytest.mark.parametrize("kind", ["line", "bar", "strip", "ecdf", "scatter", "heatmap"])
def test_tables_with_holes_are_described(kind: str, values: list[float]) -> None:
    table = pd.DataFrame({"layer": [0, 1], "mean_rank": values, "which": ["a", "b"]})
    columns = {"heatmap": {"x": "layer", "y": "which", "color": "mean_rank"}, "ecdf": {"x": "mean_rank"}}
    assert "Drawn from 2 rows." in draw(figure(kind, columns.get(kind, XY)), table).alt


def test_a_rank_of_zero_has_no_logarithm() -> None:
    zero = TABLE.assign(mean_rank=[0.0, 1, 2, 3, 4, 5])
    assert '"symlog"' in json.dumps(draw(figure("line", XY, {"log_y": True}), zero).spec)
    assert '"symlog"' not in json.dumps(draw(figure("line", XY, {"log_y": True}), TABLE).spec)


def test_column_names_are_names_and_not_shorthand() -> None:
    table = pd.DataFrame({"a:b.c[0]": [1, 2], "mean(x)": [1.0, 2.0]})
    text = json.dumps(draw(figure("scatter", {"x": "a:b.c[0]", "y": "mean(x)"}), table).spec)
    assert (
        '"field": "a:b\\\\.c\\\\[0\\\\]"' in text and '"field": "mean(x)"' in text and "aggregate" not in text
    )


def test_too_many_rows_are_sampled_and_it_is_said() -> None:
    table = pd.DataFrame({"layer": range(MOST_ROWS + 1), "mean_rank": 1.0})
    chart, again = draw(figure("scatter", XY), table), draw(figure("scatter", XY), table)
    assert chart.sampled == "Drawn from a random 5,000 of 5,001 rows; the CSV has all of them."
    assert chart.spec == again.spec and len(chart.spec["data"]["values"]) == MOST_ROWS
    assert draw(figure("scatter", XY), table.iloc[:MOST_ROWS]).sampled == ""


def test_bars_of_one_colour_each_are_not_set_apart() -> None:
    one = TABLE.iloc[:3].assign(kind=["mlp", "head", "mlp"])
    assert "xOffset" not in json.dumps(draw(figure("bar", {**XY, "color": "kind"}), one).spec)
    assert "xOffset" in json.dumps(draw(figure("bar", {**XY, "color": "which"}), TABLE).spec)


@pytest.mark.parametrize(
    ("kind", "columns", "options", "table", "problem", "near"),
    [
        ("lines", XY, {}, TABLE, "no chart kind 'lines'", "line"),
        ("line", {"x": "layer"}, {}, TABLE, "a line chart needs y", ""),
        ("line", {**XY, "colour": "which"}, {}, TABLE, "no part of a line chart 'colour'", "color"),
        ("line", {**XY, "color": "whihc"}, {}, TABLE, "no column of table t 'whihc'", "which"),
        ("line", XY, {"logy": True}, TABLE, "no option of a chart 'logy'", "log_y"),
        ("line", {"x": "layer", "y": "which"}, {}, TABLE, "y of a line chart holds numbers", ""),
        ("line", XY, {}, TABLE.iloc[:0], "needs rows", ""),
    ],
)  # fmt: skip
def test_bad_figures_are_errors(kind, columns, options, table, problem: str, near: str) -> None:
    with pytest.raises(TemplateError, match=problem) as caught:
        draw(figure(kind, columns, options), table, "report.md:3")
    assert caught.value.where == "report.md:3" and (not near or near in caught.value.near)


def test_altair_is_imported_only_where_a_chart_is_drawn() -> None:
    rooms = "import engine.report.render, engine.report.printers.standalone"
    script = f"import sys; {rooms}; print(*{{'altair', 'torch'}} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "\n"


def test_the_bundle_keeps_its_names_to_itself() -> None:
    assert vega_bundle_name().startswith("vega-6") and vega_bundle_name().endswith(".js")
    bundle = vega_bundle()
    assert bundle.startswith("if (!window.vegaEmbed) (() => {") and bundle.rstrip().endswith("})();")
    assert "window.vegaEmbed = " in bundle or "window.vegaEmbed=" in bundle
    assert "</script" not in bundle.lower() and len(bundle) > 500_000
