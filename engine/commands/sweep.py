"""`mech sweep`: an experiment over the combinations of some values, as a spec file and as one table."""

from __future__ import annotations

import csv
import io
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.commands.console import emit_json, say, table, told_number
from engine.commands.measure import Asked, Done, Hands, carried_out, existing
from engine.errors import SpecError
from engine.runs.investigation import Investigation, find_root_or_here, load_investigation
from engine.runs.sources import project_sources
from engine.runs.store.record import RunName
from engine.spec.models import Experiment
from engine.spec.points import n_points
from engine.spec.sweeps import chosen_experiment, parse_axis, relocated, swept_spec, write_spec

if TYPE_CHECKING:
    from engine.evidence.result import Measurement


@dataclass(frozen=True)
class Made:
    """A sweep as a spec of its own, the experiments that are its points, and the file it is in if it is."""

    investigation: Investigation
    experiments: tuple[str, ...]
    output: Path | None


@dataclass(frozen=True)
class PointRow:
    """One point of a sweep on one model: where it is, and what was measured there, or why nothing was."""

    name: RunName
    place: dict[str, Any]
    run_id: int | None
    reason: str = ""
    measurements: dict[str, Measurement] = field(default_factory=dict)


def make(base: Path, axes: Sequence[str], *, experiment: str | None, output: Path | None) -> Made:
    """The sweep that the options ask for, written to `output` if given; SpecError where it cannot be made."""
    sources, source = project_sources(), existing(base)
    original = load_investigation(source, sources.catalog)
    name = chosen_experiment(original.spec, experiment, str(base))
    spec = swept_spec(original.spec, name, [parse_axis(axis) for axis in axes], sources.catalog)
    points = tuple(n for n, e in spec.experiments.items() if n not in original.spec.experiments or n == name)
    if output is None:
        typed = ["mech", "sweep", "--base", str(base), *(part for a in axes for part in ("--axis", a))]
        typed += ["--experiment", experiment] if experiment else []
        asked = replace(original, slug=f"{original.slug}-sweep", spec=spec)
        return Made(replace(asked, typed=shlex.join([*typed, "--execute"])), points, None)
    if not output.parent.is_dir():
        raise SpecError("there is no such folder", where=str(output.parent), expected="one that exists")
    moved = relocated(spec, original.folder, output.resolve().parent)
    write_spec(output, moved, find_root_or_here())
    return Made(load_investigation(output, sources.catalog), points, output)


def tell(made: Made, *, json: bool) -> None:
    """What was made, where nothing is to be measured yet."""
    from engine.spec.load import dump

    spec = made.investigation.spec
    count = sum(n_points(spec.experiments[name]) for name in made.experiments) * len(spec.models)
    if json:
        emit_json({"points": count, "output": made.output, "spec": spec.model_dump(mode="json")})
    elif made.output is None:
        say(dump(spec))
    else:
        say(f"wrote {made.output}: {count} points; mech run --spec {made.output} measures them")


def measured(made: Made, *, models: Sequence[str] | None, dry_run: bool, hands: Hands, json: bool) -> bool:
    """Measure every point that is not in the store, print the table; whether every point is there."""
    given = Asked(models, dry_run, hands, json)
    with carried_out(find_root_or_here(), made.investigation, made.experiments, given) as done:
        if done is None:
            return True
        rows = point_rows(done)
    if json:
        emit_json([_told(row) for row in rows])
    else:
        print_rows(rows)
    if made.output is not None:
        beside = made.output.with_suffix(".csv")
        beside.write_text(csv_text(rows), encoding="utf-8")
        if not json:
            say(f"\nThe table is in {beside}, the spec in {made.output}")
    return all(row.measurements for row in rows)


def point_rows(done: Done) -> list[PointRow]:
    """A row for each point, in the sweep's order; withheld numbers are not in it."""
    from engine.runs.assemble import stored_entry

    places = [_place(run.name, run.examined.experiment) for run in done.runs]
    varying = {key for key in places[0] if len({str(place[key]) for place in places}) > 1} if places else ()
    rows = []
    for run, place in zip(done.runs, places, strict=True):
        shown = {key: value for key, value in place.items() if key in varying} | dict(run.name.point)
        stored, why = done.stored(run)
        if stored is None:
            rows.append(PointRow(run.name, shown, None, why))
        else:
            entry = stored_entry(done.store, stored)
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
    keys = list(dict.fromkeys(key for row in rows for key in row.place))
    names = measurement_names(rows)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = [f"{name}{part}" for name in names for part in ("", "_low", "_high", "_n")]
    writer.writerow([*keys, "run", "reason", *columns])
    for row in rows:
        found = [row.measurements.get(name) for name in names]
        cells = [[m.value, m.low, m.high, m.n] if m else [None] * 4 for m in found]
        place = [row.place.get(key, "") for key in keys]
        writer.writerow(
            [*place, row.run_id, " ".join(row.reason.split()), *(c for four in cells for c in four)]
        )
    return out.getvalue()


def print_rows(rows: Sequence[PointRow]) -> None:
    """The table, in as many parts beside each other as the width of the screen asks for."""
    keys = list(dict.fromkeys(key for row in rows for key in row.place))
    heads = [[str(row.place.get(key, "")) for key in keys] + [str(row.run_id or "-")] for row in rows]
    columns = [[name, *(_cell(row, name) for row in rows)] for name in measurement_names(rows)]
    width = shutil.get_terminal_size((110, 40)).columns
    taken = sum(max(len(line[i]) for line in [[*keys, "run"], *heads]) + 2 for i in range(len(keys) + 1))
    for part in _parts(columns, width - taken):
        say()
        lines = [[*head, *(column[i + 1] for column in part)] for i, head in enumerate(heads)]
        table([*keys, "run", *(column[0] for column in part)], lines)
    for row in rows:
        if row.reason:
            say(f"\n{row.name}: {'not measured: ' if row.run_id is None else ''}{row.reason}")


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
    from engine.evidence.printing import digits

    m = row.measurements.get(name)
    if m is None:
        return "-"
    value = digits(m.value, m.low, m.high)
    if m.low is None or m.high is None:
        return value
    return f"{value} ({digits(m.low, m.low, m.high)} to {digits(m.high, m.low, m.high)})"


def _told(row: PointRow) -> dict[str, Any]:
    return {
        "experiment": row.name.experiment,
        "model": row.name.model,
        "point": row.place,
        "run_id": row.run_id,
        "reason": row.reason,
        "measurements": {name: told_number(m) for name, m in row.measurements.items()},
    }
