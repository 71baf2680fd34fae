"""`engine calibrate`: families on cases whose answer is known by construction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from engine import families as registry
from engine.commands.console import Output, TextTable, say
from engine.commands.options import Json
from engine.commands.progress import progress
from engine.evidence.result import Calibration
from engine.runs.calibrations import calibrations
from engine.runs.investigation import find_root
from engine.runs.sources import project_sources

app = typer.Typer(add_completion=False)


@app.command()
def calibrate(
    names: Annotated[list[str] | None, typer.Argument(metavar="FAMILY", help="All by default.")] = None,
    json: Json = False,
) -> Output:
    """Run families on cases whose answer is known by construction. Exits 1 if one fails.

    \b
    Example:
      engine calibrate circuit_patching
    """
    chosen = names or registry.names()
    for name in chosen:
        registry.source_path(name)  # refuses a name that is not there before any family is run
    found = current_calibrations(find_root(), chosen, fresh=True, quiet=json)
    rows = [_cells(family, case) for family, cases in found.items() for case in cases]
    data = {family: [vars(c) | {"passed": c.passed} for c in cases] for family, cases in found.items()}
    passed = all(case.passed for cases in found.values() for case in cases)
    table = TextTable(["family", "case", "expected", "seen", ""], rows)
    return Output([table], data, json, exit_status=0 if passed else 1)


def current_calibrations(
    root: Path, families: Sequence[str] | None = None, *, fresh: bool = False, quiet: bool = False
) -> dict[str, list[Calibration]]:
    """Each family's calibrations (all by default), run where its code changed since; `fresh` runs them all.

    Families take seconds each, which is shown unless `quiet`.
    """
    sources = project_sources()
    names = list(families or sources.catalog.names())
    found = {} if fresh else calibrations(root, sources, families=names, measure=False)
    due = [name for name in names if name not in found]
    if due and not quiet:
        say(f"calibrating {len(due)} famil{'y' if len(due) == 1 else 'ies'} on known answers ...")
    with progress("calibrating") as bar:
        for index, name in enumerate(due):
            if not quiet:
                bar.update(index / len(due), name)
            # One at a time, so that the bar names the one that is running, and each is kept once it is done.
            found |= calibrations(root, sources, families=[name], fresh=fresh)
    return {name: found[name] for name in names}


def _cells(family: str, case: Calibration) -> tuple[str, ...]:
    outcome = "passed" if case.passed else "FAILED"
    return (family, case.name, case.expected, f"{case.seen:.6g}", outcome)
