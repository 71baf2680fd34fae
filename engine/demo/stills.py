"""Each panel's answer to its first example, kept for the site (`mech demo --stills`).

The sentences below say what one sees on a chart; every number in them comes from the answer that the chart is
drawn from.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml

from engine.demo.address import to_query
from engine.demo.limits import LIMITS, StopSignal
from engine.demo.live_model import LiveModel
from engine.demo.panel import Panel
from engine.demo.panel_code import panel_codes
from engine.evidence.result import Figure
from engine.publish.demo_stills import COMMAND, StillChart, StillPanel, Stills, StillTable

if TYPE_CHECKING:
    from engine.demo.panels.logit_lens import LensAnswer

DIGITS = 6
"""Significant digits of a number that is kept: more than a chart shows."""


@dataclass(frozen=True)
class Described:
    """What one sees of an answer: on each chart, by the figure's table; and tables with their titles."""

    charts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    tables: Sequence[StillTable] = ()


def make_stills(live: LiveModel, panels: Sequence[Panel[Any, Any]]) -> Stills:
    """Every panel's answer to the state that it opens with; the model is loaded already."""
    model = live.model
    codes = panel_codes()
    return Stills(
        model=live.name,
        model_hash=model.hash,
        quantisation=model.quantisation,
        dtype=model.dtype,
        device=model.device,
        versions=dict(live.sources.versions()),
        date=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        command=COMMAND,
        panels=[_still(panel, live, codes[panel.name]) for panel in panels],
    )


def _still(panel: Panel[Any, Any], live: LiveModel, code: str) -> StillPanel:
    state = panel.state()
    began = time.perf_counter()
    *_, answer = panel.answers(live, state, _silent, StopSignal(LIMITS.seconds))
    seconds = time.perf_counter() - began
    figures = dict(_figures(answer))
    described = (
        DESCRIBED[panel.name](answer) if panel.name in DESCRIBED else Described(dict.fromkeys(figures, ()))
    )
    return StillPanel(
        name=panel.name,
        title=panel.title,
        about=panel.about,
        query=to_query(panel, state),
        state=state.model_dump(mode="json"),
        experiment=yaml.safe_dump(
            panel.spec(state, live.name), sort_keys=False, allow_unicode=True, width=100
        ),
        says=[_ended(line) for line in panel.summary(answer)],
        charts=[_chart(*figures[name], says) for name, says in described.charts.items()],
        tables=list(described.tables),
        seconds=round(seconds, 2),
        code=code,
    )


def _figures(answer: Any) -> Iterator[tuple[str, tuple[Figure, pd.DataFrame]]]:
    """The figures of an answer, each with its table, by the table's name; those of its parts too."""
    for each in fields(answer):
        value = getattr(answer, each.name)
        if isinstance(value, Figure):
            yield value.table, (value, getattr(answer, value.table))
        elif hasattr(value, "__dataclass_fields__"):
            yield from _figures(value)


def _chart(figure: Figure, table: pd.DataFrame, says: Sequence[str]) -> StillChart:
    shown = list(dict.fromkeys(figure.columns.values()))
    return StillChart(
        name=figure.table,
        kind=figure.kind,
        parts=figure.columns,
        title=figure.title,
        caption=figure.caption,
        options={name: plain(value) for name, value in figure.options.items()},
        rows=rows(table.loc[:, shown]),
        says=list(says),
    )


def rows(table: pd.DataFrame) -> dict[str, list[Any]]:
    """A table by column, as JSON can hold it: numbers in `DIGITS` significant digits."""
    return {str(name): [plain(value) for value in table[name].tolist()] for name in table.columns}


def plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | bool | int) else str(value)


def _ended(line: str) -> str:
    """A line as a sentence."""
    line = line[:1].upper() + line[1:]
    return line if line.endswith((".", "!", "?")) else f"{line}."


def _silent(fraction: float, words: str = "", /) -> None:
    """Progress that nobody watches."""


# What one sees, panel by panel.


def lens_described(found: LensAnswer) -> Described:
    half = found.n_layers // 2
    rank = int(found.grid.rank[-1, half])
    last = found.by_layer["probability"].tolist()
    steepest = max(range(1, len(last)), key=lambda layer: last[layer] - last[layer - 1])
    return Described(
        charts={
            "cells": [
                f"Each column is one of {len(found.tokens)} tokens, each row a number of blocks read.",
                "A dark cell is one in which the last word is spoken already.",
            ],
            "by_layer": [
                f"After {half} of {found.n_layers} blocks {rank:,} tokens are likelier than the answer.",
                f"Its probability rises most in block {steepest}, from {last[steepest - 1]:.2g} "
                f"to {last[steepest]:.2g}.",
            ],
        }
    )


DESCRIBED: dict[str, Callable[[Any], Described]] = {"lens": lens_described}
