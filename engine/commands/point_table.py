"""The points of a sweep as one table: a row for each point on each model, printed or written as CSV."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.commands.console import TextTable
from engine.commands.measure import SelectedRuns
from engine.evidence.printing import digits
from engine.evidence.result import Measurement
from engine.runs.assemble import stored_entry
from engine.runs.store.record import RunName
from engine.spec.models import Experiment


@dataclass(frozen=True)
class PointRow:
    """One point of a sweep on one model: where it is, and what was measured there, or why nothing was."""

    name: RunName
    place: dict[str, Any]
    run_id: int | None
    reason: str = ""
    measurements: dict[str, Measurement] = field(default_factory=dict)


def point_rows(selected: SelectedRuns) -> list[PointRow]:
    """A row for each point, in the sweep's order; withheld numbers are not in it."""
    places = [_place(run.name, run.examined.experiment) for run in selected.runs]
    # What is the same for all points would only widen the table. A swept parameter is shown even so.
    varying = {key for key in places[0] if len({str(place[key]) for place in places}) > 1} if places else ()
    rows = []
    for run, place in zip(selected.runs, places, strict=True):
        shown = {key: value for key, value in place.items() if key in varying} | dict(run.name.point)
        stored, why = selected.stored(run)
        if stored is None:
            rows.append(PointRow(run.name, shown, None, why))
        else:
            entry = stored_entry(selected.store, stored)
            rows.append(PointRow(run.name, shown, stored.id, entry.reason, entry.measurements))
    return rows


def _place(name: RunName, experiment: Experiment) -> dict[str, Any]:
    """What may differ between points besides parameters."""
    return {
        "model": name.model,
        "hook_site": experiment.hook_site,
        "tokens": experiment.corpus.tokens if experiment.corpus else None,
        "prompts": experiment.prompts.limit if experiment.prompts else None,
    }


def measurement_names(rows: Sequence[PointRow]) -> list[str]:
    """Every measurement of some point, in order."""
    return list(dict.fromkeys(name for row in rows for name in row.measurements))


def csv_text(rows: Sequence[PointRow]) -> str:
    """A line a point: its place, its run, and for each measurement the value, both ends, and n."""
    keys = _place_keys(rows)
    names = measurement_names(rows)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = [f"{name}{part}" for name in names for part in ("", "_low", "_high", "_n")]
    writer.writerow([*keys, "run", "reason", *columns])
    for row in rows:
        place = [row.place.get(key, "") for key in keys]
        cells = []
        for name in names:
            m = row.measurements.get(name)
            cells += [m.value, m.low, m.high, m.n] if m else [None] * 4
        # A reason of several lines stays on the line of its point.
        writer.writerow([*place, row.run_id, " ".join(row.reason.split()), *cells])
    return out.getvalue()


def point_text(rows: Sequence[PointRow]) -> list[str | TextTable]:
    """The table, in as many parts below each other as the width of the screen asks for, then the reasons."""
    keys = _place_keys(rows)
    headers = [*keys, "run"]
    heads = [[str(row.place.get(key, "")) for key in keys] + [str(row.run_id or "-")] for row in rows]
    # Each column begins with its name, which widens it like any cell.
    columns = [[name, *(_cell(row, name) for row in rows)] for name in measurement_names(rows)]
    width = shutil.get_terminal_size((110, 40)).columns
    taken = sum(max(map(len, column)) + 2 for column in zip(headers, *heads, strict=True))
    text: list[str | TextTable] = []
    for part in _parts(columns, width - taken):
        lines = [[*head, *(column[i + 1] for column in part)] for i, head in enumerate(heads)]
        text += ["", TextTable([*headers, *(column[0] for column in part)], lines)]
    for row in rows:
        if row.reason:
            text.append(f"\n{row.name}: {'not measured: ' if row.run_id is None else ''}{row.reason}")
    return text


def _place_keys(rows: Sequence[PointRow]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row.place))


def _parts(columns: list[list[str]], width: int) -> list[list[list[str]]]:
    """Columns in groups that fit beside each other; at least one a group."""
    parts: list[list[list[str]]] = [[]]
    left = width
    for column in columns:
        needed = max(map(len, column)) + 2
        if needed > left and parts[-1]:
            parts.append([])
            left = width
        parts[-1].append(column)
        left -= needed
    return parts


def _cell(row: PointRow, name: str) -> str:
    """`0.51 (0.48 to 0.54)`, or a dash."""
    m = row.measurements.get(name)
    if m is None:
        return "-"
    value = digits(m.value, m.low, m.high)
    if m.low is None or m.high is None:
        return value
    return f"{value} ({digits(m.low, m.low, m.high)} to {digits(m.high, m.low, m.high)})"
