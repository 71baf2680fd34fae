"""The parts of one figure (x, y, low, high, color, facet, label) as Altair channels over one table."""

from __future__ import annotations

import re
from typing import Any

import altair as alt
import pandas as pd

from engine.evidence.result import Figure
from engine.report.charts.figure_columns import part, title_of
from engine.report.tables import is_numeric

GREY = "#888888"  # reads on white and on slate
PALETTE = ["#2b83c4", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9"]
"""Okabe and Ito (2008), with blue and yellow moved towards 3:1 contrast on white and on slate."""
PANEL_WIDTH = 260  # Vega-Lite has no "container" width for panels
FEW = 6  # this many words fit side by side under an axis


class Channels:
    """Channels are made by field name, so that no column name is ever read as Altair shorthand."""

    def __init__(self, figure: Figure, table: pd.DataFrame) -> None:
        self.figure = figure
        self.table = table
        self.options: dict[str, Any] = dict(figure.options)

    def __contains__(self, name: str) -> bool:
        return name in self.figure.columns

    def values(self, name: str) -> pd.Series:
        return part(self.figure, self.table, name)

    def is_numeric(self, name: str) -> bool:
        return is_numeric(self.values(name))

    def is_whole(self, name: str) -> bool:
        return pd.api.types.is_integer_dtype(self.values(name))

    def order(self, name: str) -> list:
        """The values of a part, each once, as the table has them."""
        return self.values(name).drop_duplicates().tolist()

    def field(self, name: str) -> str:
        """The column as Vega-Lite names it: dots and brackets would otherwise reach into objects."""
        return re.sub(r"([.\[\]\\'\"])", r"\\\1", self.figure.columns[name])

    def channel(self, name: str, channel: Any, kind: str = "", **more: Any) -> Any:
        """A part on a channel, titled, by default quantitative where it holds numbers."""
        kind = kind or ("quantitative" if self.is_numeric(name) else "nominal")
        return channel(field=self.field(name), type=kind, title=title_of(self.figure, name), **more)

    def measured(self, axis: str, *, name: str = "", zero: bool = False, **more: Any) -> Any:
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
        channel = getattr(alt, axis.upper())
        return self.channel(name, channel, "quantitative", scale=scale, axis=ticks, **more)

    def _log_scale(self, name: str) -> str:
        """Logarithmic, but linear around zero where a value (a rank of 0) has no logarithm."""
        together = [p for p in {name, "y", "low", "high"} if p in self and self.is_numeric(p)]
        return "log" if all(self.values(p).dropna().gt(0).all() for p in together) else "symlog"

    def listed(self, axis: str) -> Any:
        """An ordinal x or y: numbers ascending, words in the order of the table."""
        sort = self.options.get("sort", "ascending" if self.is_numeric(axis) else None)
        level = axis == "y" or self.is_numeric(axis) or len(self.order(axis)) <= FEW
        labels = {"labelOverlap": True, "labelAngle": 0 if level else -35}
        return self.channel(axis, getattr(alt, axis.upper()), "ordinal", sort=sort, axis=labels)

    def color(self, **more: Any) -> dict[str, Any]:
        return {"color": self._series(alt.Color, **more)} if "color" in self else {}

    def color_and_shape(self) -> dict[str, Any]:
        """Colour and shape say the same, so that no reader depends on colour."""
        return {**self.color(), "shape": self._series(alt.Shape)} if "color" in self else {}

    def color_and_dash(self) -> dict[str, Any]:
        return {**self.color(), "strokeDash": self._series(alt.StrokeDash)} if "color" in self else {}

    def _series(self, channel: Any, **more: Any) -> Any:
        """The same list of series in every channel and layer, so that one legend shows them all."""
        return self.channel("color", channel, "nominal", scale={"domain": self.order("color")}, **more)

    def tooltip(self) -> list[alt.Tooltip]:
        return [self.channel(name, alt.Tooltip, **self._digits(name)) for name in self.figure.columns]

    def _digits(self, name: str) -> dict[str, str]:
        return {"format": ".4~g"} if self.is_numeric(name) and not self.is_whole(name) else {}

    def interval(self, axis: str, *, zero: bool = False) -> dict[str, Any]:
        """low and high along an axis, which keeps the title of its own part."""
        low = self.measured(axis, name="low", zero=zero)
        # Layers share an axis, and Vega-Lite would write the titles of all of them along it.
        low.title = title_of(self.figure, axis)
        end = alt.X2 if axis == "x" else alt.Y2
        return {axis: low, f"{axis}2": end(field=self.field("high"))}

    @property
    def has_interval(self) -> bool:
        return "low" in self and "high" in self

    def rule(self, axis: str) -> list[Any]:
        """The reference line that the `rule` option asks for."""
        if "rule" not in self.options:
            return []
        # Over one row: else the rule would be drawn once for each row of the table.
        line = alt.Chart().transform_aggregate(rows="count()").mark_rule(color=GREY, strokeDash=[4, 4])
        return [line.encode(**{axis: alt.datum(self.options["rule"])})]

    def sized(self, chart: Any, height: float) -> Any:
        width = PANEL_WIDTH if "facet" in self else "container"
        return chart.properties(height=self.options.get("height", height), width=width)
