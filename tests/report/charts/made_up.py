"""A small table, and figures of it of every kind."""

from __future__ import annotations

import pandas as pd

from engine.evidence.result import Figure

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
