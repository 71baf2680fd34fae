"""The chart kinds: how the parts of a figure become marks. One function a kind, and the list of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import altair as alt

from engine.report.charts.channels import GREY, PALETTE, Channels
from engine.report.charts.figure_columns import value_and_category

JITTER = "jitter (drawn only)"
OPTIONS = ("height", "zero", "log_x", "log_y", "sort", "rule", "midpoint")
"""What a figure may ask for, besides a `PART_title` for every part."""

LOOK = {
    "background": "transparent",
    "range": {"category": PALETTE},
    "mark": {"color": PALETTE[0]},
    "view": {"stroke": None},
    "legend": {"orient": "top"},
}


def line(channels: Channels) -> Any:
    """A line with a point at every value, and a band where the interval is known."""
    x = channels.measured("x") if channels.is_numeric("x") else channels.listed("x")
    y = channels.measured("y")
    layers = channels.rule("y")
    unnamed = channels.color(legend=None)
    if channels.has_interval:
        band = alt.Chart().mark_area(opacity=0.22)
        layers.append(band.encode(x=x, **channels.interval("y"), **unnamed))
    layers.append(alt.Chart().mark_line().encode(x=x, y=y, **unnamed))
    points = alt.Chart().mark_point(filled=True, size=45, opacity=1)
    layers.append(points.encode(x=x, y=y, tooltip=channels.tooltip(), **channels.color_and_shape()))
    return channels.sized(_one_legend(layers), 300)


def bar(channels: Channels) -> Any:
    """Bars from zero, each with its interval as a rule; lying down where y holds the words."""
    along, across = value_and_category(channels.figure, channels.table)
    place = {across: channels.listed(across), **_side_by_side(channels, across)}
    bars = alt.Chart().mark_bar(fillOpacity=0.45 if channels.has_interval else 0.9)
    length = {along: channels.measured(along, zero=True)}
    layers = [
        bars.encode(**place, **length, **channels.color(), tooltip=channels.tooltip()),
        *channels.rule(along),
    ]
    if channels.has_interval:
        ends = channels.interval(along, zero=True)
        whisker = alt.Chart().mark_rule(strokeWidth=3, color=PALETTE[0])
        layers.append(
            whisker.encode(**place, **ends, **channels.color(legend=None), tooltip=channels.tooltip())
        )
    lying = max(120, 22 * len(channels.order(across)))
    return channels.sized(_one_legend(layers), 300 if along == "y" else lying)


def _one_legend(layers: list[Any]) -> Any:
    """Layers of which one has the legend, with colour and shape together as that layer draws them."""
    return alt.layer(*layers).resolve_scale(color="independent", shape="independent")


def _side_by_side(channels: Channels, across: str) -> dict[str, Any]:
    """Where colour splits a category, its bars stand beside each other rather than on top."""
    if "color" not in channels:
        return {}
    colors = set(zip(channels.values(across), channels.values("color"), strict=True))
    if len(colors) <= len(channels.order(across)):
        return {}
    offset = alt.XOffset if across == "x" else alt.YOffset
    return {f"{across}Offset": offset(field=channels.field("color"), type="nominal", sort=None)}


def heatmap(channels: Channels) -> Any:
    """Cells; a diverging palette around the `midpoint` option where there is one."""
    midpoint = channels.options.get("midpoint")
    scheme: dict[str, Any] = {"scheme": "purpleorange", "domainMid": midpoint}
    scale = {"scheme": "viridis"} if midpoint is None else scheme
    color = channels.channel("color", alt.Color, "quantitative", scale=scale)
    cells = alt.Chart().mark_rect().encode(x=channels.listed("x"), y=channels.listed("y"), color=color)
    height = min(620, max(140, 18 * len(channels.order("y"))))
    return channels.sized(cells.encode(tooltip=channels.tooltip()), height)


def strip(channels: Channels) -> Any:
    """Every unit as a point, spread sideways within its category, with the median as a bar."""
    along, across = value_and_category(channels.figure, channels.table)
    listed = channels.listed(across)
    middle = channels.measured(along, aggregate="median")
    aside = (alt.XOffset if across == "x" else alt.YOffset)(field=JITTER, type="quantitative")
    place = {across: listed, along: channels.measured(along), f"{across}Offset": aside}
    points = alt.Chart().mark_point(filled=True, size=28, opacity=0.7)
    points = points.encode(**place, **channels.color_and_shape(), tooltip=channels.tooltip())
    median = alt.Chart().mark_tick(thickness=3, color=GREY, size=26).encode(**{across: listed, along: middle})
    return channels.sized(alt.layer(*channels.rule(along), points, median), 300)


def ecdf(channels: Channels) -> Any:
    """The share of units at or below each value, one step line for each colour."""
    by = [channels.field(name) for name in ("color", "facet") if name in channels]
    share = alt.Y(field="share", type="quantitative", title="share at or below", axis=alt.Axis(format="%"))
    steps = alt.Chart().transform_window(
        share="cume_dist()", sort=[alt.SortField(channels.field("x"))], frame=[None, None], groupby=by
    )
    encoding = {"x": channels.measured("x"), "y": share, **channels.color_and_dash()}
    return channels.sized(steps.mark_line(interpolate="step-after").encode(**encoding), 300)


def scatter(channels: Channels) -> Any:
    """One point for each unit; the `label` part names it when it is pointed at."""
    points = alt.Chart().mark_point(filled=True, size=45, opacity=0.8)
    encoding = {"x": channels.measured("x"), "y": channels.measured("y"), **channels.color_and_shape()}
    points = points.encode(tooltip=channels.tooltip(), **encoding)
    return channels.sized(alt.layer(*channels.rule("y"), points), 340)


@dataclass(frozen=True)
class ChartKind:
    """A chart kind: the parts it needs, those it may have, those that hold numbers, how it is drawn."""

    needs: tuple[str, ...]
    may: tuple[str, ...]
    numbers: tuple[str, ...]
    draw: Callable[[Channels], Any]


KINDS = {
    "line": ChartKind(("x", "y"), ("low", "high", "color", "facet", "label"), ("y", "low", "high"), line),
    "bar": ChartKind(("x", "y"), ("low", "high", "color", "facet", "label"), ("low", "high"), bar),
    "heatmap": ChartKind(("x", "y", "color"), ("facet", "label"), ("color",), heatmap),
    "strip": ChartKind(("x", "y"), ("color", "facet", "label"), (), strip),
    "ecdf": ChartKind(("x",), ("color", "facet", "label"), ("x",), ecdf),
    "scatter": ChartKind(("x", "y"), ("color", "facet", "label"), ("x", "y"), scatter),
}
