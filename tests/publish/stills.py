"""Made-up stills of the demo: one panel with a chart and a table, and texts that try to be markup."""

from __future__ import annotations

from typing import Any

from engine.publish.demo_stills import StillChart, StillPanel, Stills, StillTable
from tests.publish.made_up import NASTY


def chart(**changes: Any) -> StillChart:
    whole = {
        "name": "by_layer",
        "kind": "line",
        "parts": {"x": "layer", "y": "rank"},
        "title": "Rank of the answer by layer",
        "rows": {"layer": [0, 1, 2], "rank": [120.0, 8.5, None]},
        "says": ["The answer reaches rank 8.5 after one block."],
    }
    return StillChart(**(whole | changes))


def panel(**changes: Any) -> StillPanel:
    whole = {
        "name": "lens",
        "title": "Logit lens",
        "about": "What the model would say after each layer.",
        "query": "?panel=lens&prompt=a+%26+b",
        "state": {"prompt": "a & b"},
        "experiment": "family: logit_lens\n",
        "says": ["It commits after 2 of 3 blocks.", NASTY],
        "charts": [chart()],
        "tables": [StillTable(name="tops", title="Likeliest tokens", rows={"token": [" Paris", NASTY]})],
        "code": "c0de",
    }
    return StillPanel(**(whole | changes))


def stills(*panels: StillPanel) -> Stills:
    return Stills(
        model="tiny-llama",
        model_hash="c0de" * 16,
        quantisation="dequantised from Q4_1",
        dtype="float32",
        device="cpu",
        versions={"torch": "2.13.0"},
        date="2026-01-31T12:40:09Z",
        command="mech demo --stills",
        panels=list(panels or [panel()]),
    )
