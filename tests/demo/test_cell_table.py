"""A map as a table: a button for each cell, one of them a stop of the Tab key."""

import html
import json
import re

import pandas as pd

from engine.demo.cell_table import CellTable
from engine.evidence.result import Figure

TABLE = pd.DataFrame(
    {
        "layer": [0, 0, 1, 1],
        "place": ["0 <b>", "1 Rome"] * 2,
        "effect": [0.0, 0.25, 0.5, 1.0],
        "other": [1, 2, 3, 4],
    }
)
COLUMNS = {"x": "place", "y": "layer", "color": "effect"}
FIGURE = Figure("heatmap", "map", COLUMNS, "A <map>", options={"x_title": "token"})


def buttons(chosen: dict) -> list[dict[str, str]]:
    found = re.findall(r"<button ([^>]*)>", CellTable(FIGURE, TABLE, chosen).html())
    return [dict(re.findall(r'([\w-]+)="([^"]*)"', one)) for one in found]


def test_every_cell_carries_what_its_mark_carries():
    data = [json.loads(html.unescape(button["data-mark"])) for button in buttons({})]
    assert data == TABLE.drop(columns=["effect", "other"]).to_dict("records")


def test_the_chosen_cell_alone_is_pressed_and_reached_by_tab():
    found = buttons({"layer": 1, "place": "0 <b>"})
    assert [b["aria-pressed"] for b in found] == ["false", "false", "true", "false"]
    assert [b["tabindex"] for b in found] == ["-1", "-1", "0", "-1"]
    assert found[3]["aria-label"] == "layer 1, token 1 Rome: 1.00"


def test_where_no_cell_is_chosen_the_first_is_reached():
    assert [b["tabindex"] for b in buttons({"layer": 7})] == ["0", "-1", "-1", "-1"]


def test_what_a_token_says_is_text():
    written = CellTable(FIGURE, TABLE, {}).html()
    assert "<b>" not in written and "0 &lt;b&gt;" in written and "A &lt;map&gt;" in written
    assert written.count("<tr>") == 3
