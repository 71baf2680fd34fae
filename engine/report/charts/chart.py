"""A figure as it is drawn, for whoever prints it."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from engine.errors import PictureError
from engine.report.charts.pictures import picture_of
from engine.report.charts.vega import MIME_TYPE


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
        bundle: dict[str, Any] = {MIME_TYPE: self.spec}
        with suppress(PictureError):  # then the notebook has the chart itself, or its words
            bundle["image/svg+xml"] = picture_of(self.spec).svg
        return {**bundle, "text/plain": self.alt}
