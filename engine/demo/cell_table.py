"""A map as a table whose cells can be reached and chosen by keyboard, beside the chart that is clicked.

One cell is a stop of the Tab key, the arrow keys go from there (`assets/demo.js`): the pattern of a grid. A
cell carries the row that its mark in the chart carries, and is told the same way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from engine.evidence.result import Figure
from engine.report.charts.figure_columns import title_of


@dataclass(frozen=True)
class CellTable:
    """The cells of a heat map. `chosen` is the datum of the cell on screen; none is where it is not among
    them."""

    figure: Figure
    table: pd.DataFrame
    chosen: Mapping[str, Any]

    @property
    def axes(self) -> tuple[str, str]:
        return self.figure.columns["y"], self.figure.columns["x"]

    def html(self) -> str:
        """A table in a fold, with a button for each cell."""
        y, x = self.axes
        columns = list(dict.fromkeys(self.table[x].tolist()))
        # One button is reached by the Tab key: the chosen cell's, or else the first.
        places = [{x: at, y: on} for at, on in zip(self.table[x], self.table[y], strict=True)]
        stop = next((cell for cell in places if self._is_chosen(cell)), places[0])
        head = "".join(f'<th scope="col">{escape(str(column))}</th>' for column in columns)
        rows = "".join(
            self._row(label, group.to_dict("records"), stop) for label, group in self.table.groupby(y)
        )
        title = escape(self.figure.title)
        return (
            f'<details class="mech-fold" data-fold="{escape(self.figure.table)}">'
            "<summary>The map as a table, to choose a cell by keyboard</summary>"
            f'<div class="mech-scroll"><table class="mech-cells" role="grid" aria-label="{title}">'
            f'<thead><tr><th scope="col">{escape(title_of(self.figure, "y"))}</th>{head}</tr></thead>'
            f"<tbody>{rows}</tbody></table></div></details>"
        )

    def _row(self, label: object, cells: Sequence[Mapping[Any, Any]], stop: Mapping[Any, Any]) -> str:
        buttons = "".join(f"<td>{self._button(cell, stop)}</td>" for cell in cells)
        return f'<tr><th scope="row">{escape(str(label))}</th>{buttons}</tr>'

    def _button(self, cell: Mapping[Any, Any], stop: Mapping[Any, Any]) -> str:
        y, x = self.axes
        datum = {x: cell[x], y: cell[y]}
        value = cell[self.figure.columns["color"]]
        said = f"{title_of(self.figure, 'y')} {cell[y]}, {title_of(self.figure, 'x')} {cell[x]}"
        attributes = {
            "data-mark": json.dumps(datum),
            "aria-label": f"{said}: {value:.2f}",
            "aria-pressed": "true" if self._is_chosen(cell) else "false",
            "tabindex": "0" if datum == stop else "-1",
        }
        written = " ".join(f'{name}="{escape(text)}"' for name, text in attributes.items())
        return f'<button type="button" {written}>{value:.2f}</button>'

    def _is_chosen(self, cell: Mapping[Any, Any]) -> bool:
        return all(self.chosen.get(name) == cell[name] for name in self.axes)
