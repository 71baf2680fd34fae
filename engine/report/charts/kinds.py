"""The chart kinds: how the parts of a figure become marks. One function a kind, and the list of them.

Each gives a view of Vega-Lite 6 (https://vega.github.io/vega-lite/docs/spec.html) without its data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.report.charts.channels import GREY, PALETTE, Channels, View
from engine.report.charts.figure_columns import value_and_category

JITTER = "jitter (drawn only)"
OPTIONS = {
    "height": "Pixels, in place of the kind's own height.",
    "zero": "Whether an axis of numbers begins at zero.",
    "log_x": "A logarithmic x axis.",
    "log_y": "A logarithmic y axis.",
    "sort": "The order of a category: a list of its values, `ascending` or `descending`.",
    "rule": "A dashed line at this value, such as what chance gives.",
    "midpoint": "The value of a heatmap where a diverging palette turns.",
}
"""What a figure may ask for, besides a `PART_title` for every part."""

LOOK = {
    "background": "transparent",
    "range": {"category": PALETTE},
    "mark": {"color": PALETTE[0]},
    "view": {"continuousWidth": 300, "continuousHeight": 300, "stroke": None},
    "legend": {"orient": "top"},
}


def marks(mark: str, encoding: View, **look: Any) -> View:
    """One layer: a mark of a certain look, and the channels that it shows."""
    return {"mark": {"type": mark, **look}, "encoding": encoding}


def line(channels: Channels) -> View:
    """A line with a point at every value, and a band where the interval is known."""
    x = channels.measured("x") if channels.is_numeric("x") else channels.listed("x")
    y = channels.measured("y")
    layers = _rule(channels, "y")
    if channels.has_interval:
        band = {"x": x, **channels.interval("y"), **channels.unnamed("fill")}
        layers.append(marks("area", band, opacity=0.22))
    layers.append(marks("line", {"x": x, "y": y, **channels.unnamed("stroke")}))
    shown = {"x": x, "y": y, "tooltip": channels.tooltip(), **channels.color_and_shape()}
    layers.append(marks("point", shown, filled=True, size=45, opacity=1))
    return channels.sized({"layer": layers}, 300)


def bar(channels: Channels) -> View:
    """Bars from zero, each with its interval as a rule; lying down where y holds the words."""
    along, across = value_and_category(channels.figure, channels.table)
    place = {across: channels.listed(across), **_side_by_side(channels, across)}
    length = {along: channels.measured(along, zero=True)}
    tooltip = {"tooltip": channels.tooltip()}
    opacity = 0.45 if channels.has_interval else 0.9
    bars = marks("bar", {**place, **length, **channels.color(), **tooltip}, fillOpacity=opacity)
    layers = [bars, *_rule(channels, along)]
    if channels.has_interval:
        ends = channels.interval(along, zero=True)
        whisker = {**place, **ends, **channels.unnamed("stroke"), **tooltip}
        layers.append(marks("rule", whisker, strokeWidth=3, color=PALETTE[0]))
    lying = max(120, 22 * len(channels.order(across)))
    return channels.sized({"layer": layers}, 300 if along == "y" else lying)


def _rule(channels: Channels, axis: str) -> list[View]:
    """The reference line that the `rule` option asks for."""
    if "rule" not in channels.options:
        return []
    line = marks("rule", {axis: {"datum": channels.options["rule"]}}, color=GREY, strokeDash=[4, 4])
    # Over one row: else the rule would be drawn once for each row of the table.
    return [{**line, "transform": [{"aggregate": [{"op": "count", "as": "rows"}]}]}]


def _side_by_side(channels: Channels, across: str) -> View:
    """Where colour splits a category, its bars stand beside each other rather than on top."""
    if "color" not in channels:
        return {}
    colors = set(zip(channels.values(across), channels.values("color"), strict=True))
    if len(colors) <= len(channels.order(across)):
        return {}
    return {f"{across}Offset": {"field": channels.field("color"), "type": "nominal", "sort": None}}


def heatmap(channels: Channels) -> View:
    """Cells; a diverging palette around the `midpoint` option where there is one."""
    midpoint = channels.options.get("midpoint")
    scale = {"scheme": "purpleorange", "domainMid": midpoint}
    if midpoint is None:
        scale = {"scheme": "viridis"}
    color = channels.channel("color", "quantitative", scale=scale)
    place = {"x": channels.listed("x"), "y": channels.listed("y")}
    cells = marks("rect", {**place, "color": color, "tooltip": channels.tooltip()})
    height = min(620, max(140, 18 * len(channels.order("y"))))
    return channels.sized(cells, height)


def strip(channels: Channels) -> View:
    """Every unit as a point, spread sideways within its category, with the median as a bar."""
    along, across = value_and_category(channels.figure, channels.table)
    listed = channels.listed(across)
    aside = {f"{across}Offset": {"field": JITTER, "type": "quantitative"}}
    shown = {across: listed, along: channels.measured(along), **aside, **channels.color_and_shape()}
    points = marks("point", {**shown, "tooltip": channels.tooltip()}, filled=True, size=28, opacity=0.7)
    middle = {across: listed, along: channels.measured(along, aggregate="median")}
    median = marks("tick", middle, thickness=3, color=GREY, size=26)
    return channels.sized({"layer": [*_rule(channels, along), points, median]}, 300)


def ecdf(channels: Channels) -> View:
    """The share of units at or below each value, one step line for each colour."""
    share = {
        "window": [{"op": "cume_dist", "as": "share"}],
        "sort": [{"field": channels.field("x")}],
        "frame": [None, None],
        "groupby": [channels.field(name) for name in ("color", "facet") if name in channels],
    }
    y = {"field": "share", "type": "quantitative", "title": "share at or below", "axis": {"format": "%"}}
    encoding = {"x": channels.measured("x"), "y": y, **channels.color_and_dash()}
    steps = marks("line", encoding, interpolate="step-after")
    return channels.sized({**steps, "transform": [share]}, 300)


def scatter(channels: Channels) -> View:
    """One point for each unit; the `label` part names it when it is pointed at."""
    encoding = {"x": channels.measured("x"), "y": channels.measured("y"), **channels.color_and_shape()}
    encoding["tooltip"] = channels.tooltip()
    points = marks("point", encoding, filled=True, size=45, opacity=0.8)
    return channels.sized({"layer": [*_rule(channels, "y"), points]}, 340)


@dataclass(frozen=True)
class ChartKind:
    """A chart kind: the parts it needs, those it may have, those that hold numbers, how it is drawn."""

    needs: tuple[str, ...]
    may: tuple[str, ...]
    numbers: tuple[str, ...]
    draw: Callable[[Channels], View]


KINDS = {
    "line": ChartKind(("x", "y"), ("low", "high", "color", "facet", "label"), ("y", "low", "high"), line),
    "bar": ChartKind(("x", "y"), ("low", "high", "color", "facet", "label"), ("low", "high"), bar),
    "heatmap": ChartKind(("x", "y", "color"), ("facet", "label"), ("color",), heatmap),
    "strip": ChartKind(("x", "y"), ("color", "facet", "label"), (), strip),
    "ecdf": ChartKind(("x",), ("color", "facet", "label"), ("x",), ecdf),
    "scatter": ChartKind(("x", "y"), ("color", "facet", "label"), ("x", "y"), scatter),
}
