"""The chart kinds: how the parts of a figure become marks. One function a kind, and the list of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import altair as alt

from engine.report.charts.columns import value_and_category
from engine.report.parts import GREY, PALETTE, Parts

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


def line(parts: Parts) -> Any:
    """A line with a point at every value, and a band where the interval is known."""
    x = parts.measured("x") if parts.is_numeric("x") else parts.listed("x")
    y = parts.measured("y")
    layers, unnamed = parts.rule("y"), parts.color(legend=None)
    if parts.has_interval:
        band = alt.Chart().mark_area(opacity=0.22)
        layers.append(band.encode(x=x, **parts.interval("y"), **unnamed))
    layers.append(alt.Chart().mark_line().encode(x=x, y=y, **unnamed))
    points = alt.Chart().mark_point(filled=True, size=45, opacity=1)
    layers.append(points.encode(x=x, y=y, tooltip=parts.tooltip(), **parts.color_and_shape()))
    return parts.sized(_one_legend(layers), 300)


def bar(parts: Parts) -> Any:
    """Bars from zero, each with its interval as a rule; lying down where y holds the words."""
    along, across = value_and_category(parts.figure, parts.table)
    place = {across: parts.listed(across), **_side_by_side(parts, across)}
    bars = alt.Chart().mark_bar(fillOpacity=0.45 if parts.has_interval else 0.9)
    length = {along: parts.measured(along, zero=True)}
    layers = [bars.encode(**place, **length, **parts.color(), tooltip=parts.tooltip()), *parts.rule(along)]
    if parts.has_interval:
        ends = parts.interval(along, zero=True)
        whisker = alt.Chart().mark_rule(strokeWidth=3, color=PALETTE[0])
        layers.append(whisker.encode(**place, **ends, **parts.color(legend=None), tooltip=parts.tooltip()))
    lying = max(120, 22 * len(parts.order(across)))
    return parts.sized(_one_legend(layers), 300 if along == "y" else lying)


def _one_legend(layers: list[Any]) -> Any:
    """Layers of which one has the legend, with colour and shape together as that layer draws them."""
    return alt.layer(*layers).resolve_scale(color="independent", shape="independent")


def _side_by_side(parts: Parts, across: str) -> dict[str, Any]:
    """Where colour splits a category, its bars stand beside each other rather than on top."""
    colors = set(zip(parts.values(across), parts.values("color"), strict=True)) if "color" in parts else set()
    if len(colors) <= len(parts.order(across)):
        return {}
    offset = alt.XOffset if across == "x" else alt.YOffset
    return {f"{across}Offset": offset(field=parts.field("color"), type="nominal", sort=None)}


def heatmap(parts: Parts) -> Any:
    """Cells; a diverging palette around the `midpoint` option where there is one."""
    midpoint = parts.options.get("midpoint")
    scheme: dict[str, Any] = {"scheme": "purpleorange", "domainMid": midpoint}
    scale = {"scheme": "viridis"} if midpoint is None else scheme
    color = parts.channel("color", alt.Color, "quantitative", scale=scale)
    cells = alt.Chart().mark_rect().encode(x=parts.listed("x"), y=parts.listed("y"), color=color)
    height = min(620, max(140, 18 * len(parts.order("y"))))
    return parts.sized(cells.encode(tooltip=parts.tooltip()), height)


def strip(parts: Parts) -> Any:
    """Every unit as a point, spread sideways within its category, with the median as a bar."""
    along, across = value_and_category(parts.figure, parts.table)
    listed, middle = parts.listed(across), parts.measured(along, aggregate="median")
    aside = (alt.XOffset if across == "x" else alt.YOffset)(field=JITTER, type="quantitative")
    place = {across: listed, along: parts.measured(along), f"{across}Offset": aside}
    points = alt.Chart().mark_point(filled=True, size=28, opacity=0.7)
    points = points.encode(**place, **parts.color_and_shape(), tooltip=parts.tooltip())
    median = alt.Chart().mark_tick(thickness=3, color=GREY, size=26).encode(**{across: listed, along: middle})
    return parts.sized(alt.layer(*parts.rule(along), points, median), 300)


def ecdf(parts: Parts) -> Any:
    """The share of units at or below each value, one step line for each colour."""
    by = [parts.field(name) for name in ("color", "facet") if name in parts]
    share = alt.Y(field="share", type="quantitative", title="share at or below", axis=alt.Axis(format="%"))
    steps = alt.Chart().transform_window(
        share="cume_dist()", sort=[alt.SortField(parts.field("x"))], frame=[None, None], groupby=by
    )
    channels = {"x": parts.measured("x"), "y": share, **parts.color_and_dash()}
    return parts.sized(steps.mark_line(interpolate="step-after").encode(**channels), 300)


def scatter(parts: Parts) -> Any:
    """One point for each unit; the `label` part names it when it is pointed at."""
    points = alt.Chart().mark_point(filled=True, size=45, opacity=0.8)
    channels = {"x": parts.measured("x"), "y": parts.measured("y"), **parts.color_and_shape()}
    return parts.sized(alt.layer(*parts.rule("y"), points.encode(tooltip=parts.tooltip(), **channels)), 340)


@dataclass(frozen=True)
class Kind:
    """A chart kind: the parts it needs, those it may have, those that hold numbers, how it is drawn."""

    needs: tuple[str, ...]
    may: tuple[str, ...]
    numbers: tuple[str, ...]
    draw: Callable[[Parts], Any]


KINDS = {
    "line": Kind(("x", "y"), ("low", "high", "color", "facet", "label"), ("y", "low", "high"), line),
    "bar": Kind(("x", "y"), ("low", "high", "color", "facet", "label"), ("low", "high"), bar),
    "heatmap": Kind(("x", "y", "color"), ("facet", "label"), ("color",), heatmap),
    "strip": Kind(("x", "y"), ("color", "facet", "label"), (), strip),
    "ecdf": Kind(("x",), ("color", "facet", "label"), ("x",), ecdf),
    "scatter": Kind(("x", "y"), ("color", "facet", "label"), ("x", "y"), scatter),
}
