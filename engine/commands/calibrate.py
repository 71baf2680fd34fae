"""`engine calibrate`: families on cases whose answer is known by construction."""

from __future__ import annotations

from typing import Annotated

import typer

from engine import families as registry
from engine.commands.console import Output, Table
from engine.commands.options import Json
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
        registry.source_path(name)
    found = calibrations(find_root(), project_sources(), families=chosen, fresh=True)
    rows = [_cells(family, case) for family, cases in found.items() for case in cases]
    data = {family: [vars(c) | {"passed": c.passed} for c in cases] for family, cases in found.items()}
    passed = all(case.passed for cases in found.values() for case in cases)
    table = Table(["family", "case", "expected", "seen", ""], rows)
    return Output([table], data, json, exit_status=0 if passed else 1)


def _cells(family: str, case: Calibration) -> tuple[str, ...]:
    outcome = "passed" if case.passed else "FAILED"
    return (family, case.name, case.expected, f"{case.seen:.6g}", outcome)
