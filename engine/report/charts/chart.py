"""A figure as it is drawn, for whoever prints it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Chart:
    """A drawn figure: its Vega-Lite spec, what it shows in words, and what was left out, if anything."""

    spec: dict
    alt: str
    sampled: str
