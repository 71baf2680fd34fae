"""A figure as it is drawn, for whoever prints it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from engine.report.charts.vega import MIME_TYPE, picture


@dataclass(frozen=True)
class Chart:
    """A drawn figure: its Vega-Lite spec, what it shows in words, and what was left out, if anything."""

    spec: dict
    alt: str
    sampled: str

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, Any]:
        """What a notebook shows: the chart where it can draw one, else its picture, else its words."""
        return {MIME_TYPE: self.spec, "image/svg+xml": picture(self.spec), "text/plain": self.alt}
