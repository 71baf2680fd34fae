"""The specification curve of a claim: by how much it holds under each set of choices, and which these are.

Above, the specifications sorted by their margin, with intervals and the value where the claim turns; below,
under each of them, a dot for each choice that it makes (Simonsohn, Simmons & Nelson 2020). Colour and shape
both say the verdict.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from engine.evidence.multiverse import MarginScale
from engine.evidence.verdicts import SpecifiedVerdict
from engine.report.charts.alt_text import short
from engine.report.charts.channels import GREY, View
from engine.report.charts.chart import Chart
from engine.report.charts.kinds import LOOK, marks
from engine.report.charts.vega import SCHEMA
from engine.runs.interactive.frames import specification_frame

LOOKS = {  # colour and shape of each verdict; both read on white and on slate
    "supported": ("#009e73", "circle"),
    "found here": ("#009e73", "circle"),
    "contradicted": ("#d55e00", "cross"),
    "not found here": ("#b8860b", "cross"),
    "undetermined": ("#2b83c4", "diamond"),
    "unmeasured": (GREY, "square"),
}
NUMBERS = ("share", "margin", "low", "high")
WIDEST = 640  # pixels, about the width of a page's text
TITLE_CHARACTERS = 60
STEP = 24  # pixels for each specification where there are few
SHARE = "share of replicates in which the claim holds"


def curve_table(found: Sequence[SpecifiedVerdict]) -> pd.DataFrame:
    """A row for each specification, sorted as it is drawn: choices, verdict, margin with its interval."""
    table = specification_frame(found)
    # What was not measured has no value, and stands last.
    table = table.sort_values(["margin", "share"], kind="stable", na_position="last", ignore_index=True)
    return table.assign(place=range(1, len(table) + 1))


def specification_curve(title: str, found: Sequence[SpecifiedVerdict], scale: MarginScale | None) -> Chart:
    """The curve as a Vega-Lite spec with its data inside, and what it shows in words.

    Without a scale, of a claim that is no single comparison, the share of replicates is drawn.
    """
    table = curve_table(found)
    choices = list(found[0].choices)
    value = "margin" if scale else "share"
    words = _in_words(title, table, choices, value, scale)
    width = {"step": min(STEP, WIDEST // len(table))}
    spec = {
        "$schema": SCHEMA,
        "config": LOOK,
        "description": words,
        "vconcat": [
            {"data": _named("specifications", table), "width": width, "height": 200, **_curve(table, scale)},
            {"data": _named("choices", _dots(table, choices)), "width": width, **_matrix(table, choices)},
        ],
        "spacing": 8,
        # One colour and shape a verdict through both panels, and one legend.
        "resolve": {"scale": {"color": "shared", "shape": "shared"}},
    }
    return Chart(spec, words, "")


def _curve(table: pd.DataFrame, scale: MarginScale | None) -> View:
    """Values sorted, with their intervals, and a line where the claim turns."""
    y = {"field": "margin" if scale else "share", "type": "quantitative", "title": None}
    verdict = _verdict_channels(table)
    shown = {"x": _place(len(table)), "y": y, "tooltip": _tooltip(table), **verdict}
    point = marks("point", shown, filled=True, size=60, opacity=1)
    layers = [_turning(scale.turns_at if scale else 0.5), point]
    if scale and _has_values(table, "low"):
        ends = {"y": {**y, "field": "low"}, "y2": {"field": "high"}}
        layers.insert(
            1, marks("rule", {"x": _place(len(table)), **ends, "color": verdict["color"]}, strokeWidth=2)
        )
    # Above the panel, since what a claim compares is often longer than the axis is high.
    words = textwrap.wrap(scale.words if scale else SHARE, TITLE_CHARACTERS)
    return {"layer": layers, "title": {"text": words, "anchor": "start", "fontSize": 11}}


def _matrix(table: pd.DataFrame, choices: Sequence[str]) -> View:
    """Which choices each specification makes: a row for each value, those of one choice together."""
    order = [_label(key, value, choices) for key in choices for value in dict.fromkeys(table[key])]
    y = {"field": "choice", "type": "nominal", "sort": order, "title": None, "axis": {"labelLimit": 260}}
    shown = {"x": _place(len(table)), "y": y, **_verdict_channels(table)}
    dots = marks("point", shown, filled=True, size=45, opacity=1)
    return {**dots, "height": {"step": 18}}


def _place(n: int) -> View:
    # All places in both panels: one that has no value keeps its column.
    scale = {"domain": list(range(1, n + 1))}
    axis = {"labels": False, "ticks": False}
    return {"field": "place", "type": "ordinal", "title": None, "axis": axis, "scale": scale}


def _verdict_channels(table: pd.DataFrame) -> View:
    """Colour and shape by verdict, those that occur here in one order."""
    here = [verdict for verdict in LOOKS if verdict in set(table["verdict"])]
    colours, shapes = ([LOOKS[verdict][i] for verdict in here] for i in (0, 1))
    field = {"field": "verdict", "type": "nominal", "title": "verdict"}
    return {
        "color": {**field, "scale": {"domain": here, "range": colours}},
        "shape": {**field, "scale": {"domain": here, "range": shapes}},
    }


def _turning(at: float) -> View:
    return {"data": {"values": [{}]}, **marks("rule", {"y": {"datum": at}}, color=GREY, strokeDash=[4, 4])}


def _tooltip(table: pd.DataFrame) -> list[View]:
    numbers = [name for name in NUMBERS if _has_values(table, name)]
    words = [str(name) for name in table.columns if name not in (*NUMBERS, "place")]
    kinds = [(name, "nominal") for name in words] + [(name, "quantitative") for name in numbers]
    return [{"field": _escaped(name), "title": name, "type": kind} for name, kind in kinds]


def _has_values(table: pd.DataFrame, column: str) -> bool:
    return len(table[column].dropna()) > 0


def _escaped(name: str) -> str:
    # A dot would otherwise reach into an object.
    return name.replace(".", "\\.")


def _named(name: str, table: pd.DataFrame) -> View:
    """Rows inside the spec; a missing number becomes null."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return {"name": name, "values": rows}


def _dots(table: pd.DataFrame, choices: Sequence[str]) -> pd.DataFrame:
    rows = [
        {"place": row["place"], "choice": _label(key, row[key], choices), "verdict": row["verdict"]}
        for row in table.to_dict("records")
        for key in choices
    ]
    return pd.DataFrame(rows)


def _label(key: str, value: object, choices: Sequence[str]) -> str:
    """`metric: kl`; with its experiment where two have a parameter of this name."""
    return f"{parameter_name(key, choices)}: {value}"


def parameter_name(key: str, choices: Sequence[str]) -> str:
    """`metric` for `patching.metric`, unless another experiment's parameter is called so too."""
    name = key.partition(".")[2]
    return name if [other.partition(".")[2] for other in choices].count(name) == 1 else key


def _in_words(
    title: str, table: pd.DataFrame, choices: Sequence[str], value: str, scale: MarginScale | None
) -> str:
    """What the curve shows, for who does not see it."""
    counts: Mapping[Any, int] = table["verdict"].value_counts().to_dict()
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in LOOKS if verdict in counts)
    drawn = table.dropna(subset=[value])
    what = scale.words if scale else SHARE
    span = "none of them measured"
    if len(drawn):
        low, high = (short(float(drawn[value].iloc[end])) for end in (0, -1))
        span = f"{what} from {low} to {high}"
    turns = f"; the claim turns at {short(scale.turns_at)}" if scale else ""
    chosen = "; ".join(
        f"{parameter_name(key, choices)}: {', '.join(map(str, dict.fromkeys(table[key])))}" for key in choices
    )
    head = f"{title.rstrip('.')}. Specification curve of {len(table)} specifications"
    return f"{head}: {told}; {span}{turns}. {chosen}."
