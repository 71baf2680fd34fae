"""Stills are made of what a panel answers: its figures with their rows, and sentences with its numbers."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from engine.demo import stills
from engine.demo.live_model import LiveModel
from engine.demo.panel import Panel, PanelState
from engine.demo.panel_list import PANELS
from engine.demo.stills import Described, SeenChart, make_stills, plain, rows
from engine.evidence.result import Figure
from engine.models.micro import micro_model
from engine.publish.demo_stills import StillTable


class ToyState(PanelState):
    text: str = "one two"


@dataclass(frozen=True)
class ToyPart:
    inner: pd.DataFrame
    inner_figure: Figure


@dataclass(frozen=True)
class ToyAnswer:
    cells: pd.DataFrame
    cells_figure: Figure
    part: ToyPart | None


def toy_answer(live, state, progress, cancelled) -> ToyAnswer:
    progress(0.5, "half")
    cells = pd.DataFrame({"layer": np.arange(3), "rank": [1 / 3, np.nan, 2e6 / 3], "unused": ["a", "b", "c"]})
    inner = pd.DataFrame({"word": ["x"], "n": [np.float32(0.1)]})
    options = {"height": np.int64(90), "sort": ["x"]}
    return ToyAnswer(
        cells,
        Figure("line", "cells", {"x": "layer", "y": "rank"}, "Ranks"),
        ToyPart(inner, Figure("bar", "inner", {"x": "word", "y": "n"}, "Words", options=options)),
    )


TOY: Panel = Panel(
    name="toy",
    title="Toy",
    about="A toy.",
    state=ToyState,
    examples=lambda live: [ToyState()],
    answer=toy_answer,
    spec=lambda state, model: {"family": "logit_lens", "model": model},
    view=lambda live, controls: None,  # pyright: ignore[reportArgumentType]
    summary=lambda found: [f"it has {len(found.cells)} rows"],
)


def test_an_answer_is_kept_with_its_figures_and_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    table = StillTable(name="words", title="Words", rows={"word": ["x"]})

    def described(found: ToyAnswer) -> Described:
        assert found.part is not None
        charts = [
            SeenChart(found.part.inner_figure, found.part.inner, ["First."]),
            SeenChart(found.cells_figure, found.cells, ["Then."]),
        ]
        return Described(charts, [table])

    monkeypatch.setitem(stills.DESCRIBED, "toy", described)
    monkeypatch.setattr(stills, "panel_codes", lambda: {"toy": "c0de"})
    live = LiveModel.of(micro_model())
    made = make_stills(live, [TOY])
    (still,) = made.panels
    assert (made.model, made.model_hash) == (live.name, live.model.hash)
    assert (still.query, still.state, still.code) == ("?panel=toy", {"text": "one two"}, "c0de")
    assert still.says == ["It has 3 rows."]
    assert still.experiment == f"family: logit_lens\nmodel: {live.name}\n"
    assert [chart.name for chart in still.charts] == ["inner", "cells"]
    inner, cells = still.charts
    assert cells.rows == {"layer": [0, 1, 2], "rank": [0.333333, None, 666667.0]}
    assert (inner.says, cells.says) == (["First."], ["Then."])
    assert inner.options == {"height": 90, "sort": ["x"]} and inner.rows["n"] == [0.1]
    assert still.tables == [table]


def test_each_panel_of_the_demo_is_described() -> None:
    assert set(stills.DESCRIBED) == {panel.name for panel in PANELS}


def test_a_table_is_kept_as_json_can_hold_it() -> None:
    table = pd.DataFrame(
        {"a": [True, False], "b": [float("inf"), 1.23456789], "c": [None, "text"], 1: [1, 2]}
    )
    assert rows(table) == {"a": [True, False], "b": [None, 1.23457], "c": [None, "text"], "1": [1, 2]}
    assert [plain(v) for v in (np.bool_(True), np.int64(3), np.float32(0.1), (1, 2))] == [
        True,
        3,
        0.1,
        [1, 2],
    ]
