"""The parts of one figure (x, y, low, high, color, facet, label) as Vega-Lite channels over one table."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from engine.evidence.result import Figure
from engine.report.charts.figure_columns import has_names, part, title_of
from engine.report.tables import is_numeric

View = dict[str, Any]
"""A part of a Vega-Lite spec."""

GREY = "#888888"  # reads on white and on slate
PALETTE = ["#2b83c4", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9"]
"""Okabe and Ito (2008), with blue and yellow moved towards 3:1 contrast on white and on slate."""
PANEL_WIDTH = 260  # Vega-Lite has no "container" width for panels
WITHOUT_UNDERSCORES = "replace(datum.label, /_/g, ' ')"
FEW = 6  # this many words fit side by side under an axis


class Channels:
    """How the columns of one figure are shown, each channel made by the name of the part that it shows."""

    def __init__(self, figure: Figure, table: pd.DataFrame) -> None:
        self.figure = figure
        self.table = table
        self.options: dict[str, Any] = dict(figure.options)
        self.parts = {name: part(figure, table, name) for name in figure.columns}
        self.numeric = {name for name, values in self.parts.items() if is_numeric(values)}

    def __contains__(self, name: str) -> bool:
        return name in self.figure.columns

    def values(self, name: str) -> pd.Series:
        return self.parts[name]

    def is_numeric(self, name: str) -> bool:
        return name in self.numeric

    def is_whole(self, name: str) -> bool:
        return pd.api.types.is_integer_dtype(self.values(name))

    def order(self, name: str) -> list:
        """The values of a part, each once, as the table has them."""
        return self.values(name).unique().tolist()

    def field(self, name: str) -> str:
        """The column as Vega-Lite names it: dots and brackets would otherwise reach into objects."""
        return re.sub(r"([.\[\]\\'\"])", r"\\\1", self.figure.columns[name])

    def channel(self, name: str, kind: str = "", **more: Any) -> View:
        """A part, titled, by default quantitative where it holds numbers."""
        kind = kind or ("quantitative" if self.is_numeric(name) else "nominal")
        return {"field": self.field(name), "type": kind, "title": title_of(self.figure, name), **more}

    def measured(self, axis: str, *, name: str = "", zero: bool = False, **more: Any) -> View:
        """A quantitative x or y, with the scale that the options ask for; by default of its own part."""
        name = name or axis
        log = bool(self.options.get(f"log_{axis}"))
        scale: dict[str, Any] = {"zero": bool(self.options.get("zero", zero))}
        if log:
            scale = {"type": self._log_scale(name)}
        elif axis == "x" and not zero:
            scale |= {"nice": False, "padding": 8}
        # There is no layer 2.5: whole numbers get no ticks between them.
        ticks = {"tickCount": 5} if log else {"tickMinStep": 1} if self.is_whole(name) else {}
        return self.channel(name, "quantitative", scale=scale, axis=ticks, **more)

    def _log_scale(self, name: str) -> str:
        """Logarithmic, but linear around zero where a value (a rank of 0) has no logarithm."""
        together = [p for p in {name, "y", "low", "high"} if p in self and self.is_numeric(p)]
        return "log" if all(self.values(p).dropna().gt(0).all() for p in together) else "symlog"

    def listed(self, axis: str) -> View:
        """An ordinal x or y: numbers ascending, words in the order of the table."""
        sort = self.options.get("sort", "ascending" if self.is_numeric(axis) else None)
        level = axis == "y" or self.is_numeric(axis) or len(self.order(axis)) <= FEW
        labels = {"labelOverlap": True, "labelAngle": 0 if level else -35, **self._in_words(axis)}
        return self.channel(axis, "ordinal", sort=sort, axis=labels)

    def color(self) -> View:
        return {"color": self._series()} if "color" in self else {}

    def unnamed(self, channel: str) -> View:
        """The colour of a series by another channel, `fill` or `stroke`, which adds nothing to the legend.

        By the same channel, panels and layers would have a legend each, or none.
        """
        if "color" not in self:
            return {}
        # Vega-Lite makes one legend of scales with the same domain: hidden for one it would be so for all.
        return {channel: self._series(scale={"domain": [*self.order("color"), ""]}, legend=None)}

    def color_and_shape(self) -> View:
        """Colour and shape say the same, so that no reader depends on colour."""
        return {**self.color(), "shape": self._series()} if "color" in self else {}

    def color_and_dash(self) -> View:
        return {**self.color(), "strokeDash": self._series()} if "color" in self else {}

    def _series(self, **more: Any) -> View:
        """The same list of series in every channel and layer, so that one legend shows them all."""
        words = self._in_words("color")
        look = {"legend": words} if words else {}
        return self.channel("color", "nominal", **{"scale": {"domain": self.order("color")}, **look, **more})

    def _in_words(self, name: str) -> View:
        """How names are written along an axis, in a legend or over a panel; the data keep the names."""
        return {"labelExpr": WITHOUT_UNDERSCORES} if has_names(self.values(name)) else {}

    def tooltip(self) -> list[View]:
        return [self.channel(name, **self._digits(name)) for name in self.figure.columns]

    def _digits(self, name: str) -> dict[str, str]:
        return {"format": ".4~g"} if self.is_numeric(name) and not self.is_whole(name) else {}

    def interval(self, axis: str, *, zero: bool = False) -> View:
        """low and high along an axis, which keeps the title of its own part."""
        low = self.measured(axis, name="low", zero=zero)
        # Layers share an axis, and Vega-Lite would write the titles of all of them along it.
        low["title"] = title_of(self.figure, axis)
        return {axis: low, f"{axis}2": {"field": self.field("high")}}

    @property
    def has_interval(self) -> bool:
        return "low" in self and "high" in self

    def facet(self) -> View:
        """The panels, in the order of the table."""
        words = self._in_words("facet")
        look = {"header": words} if words else {}
        return self.channel("facet", "nominal", sort=self.order("facet"), **look)

    def sized(self, view: View, height: float) -> View:
        width = PANEL_WIDTH if "facet" in self else "container"
        return {**view, "height": self.options.get("height", height), "width": width}
