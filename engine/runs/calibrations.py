"""Calibrations of every family, kept beside the run store until the code they rest on changes.

A family's calibrations are taken as current while its file, micro.py and the counted code behind them (see
`codehash`) are what they were when the calibrations ran.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from engine.errors import StoreError
from engine.evidence.result import Calibration
from engine.runs.planning.code_hash import CodeBook, digest
from engine.runs.planning.keys import canonical
from engine.runs.sources import Sources
from engine.runs.store.store import FOLDER

FILE = "calibrations.json"


def calibrations(
    root: Path,
    sources: Sources,
    *,
    families: Iterable[str] | None = None,
    measure: bool = True,
    fresh: bool = False,
) -> dict[str, list[Calibration]]:
    """Each family's calibrations; run again where its code changed, or left out where not to `measure`.

    Raises StoreError where they cannot be kept.
    """
    file = root / FOLDER / FILE
    kept = _read(file)
    book = CodeBook(sources.package, root / FOLDER / "code.json")
    found: dict[str, list[Calibration]] = {}
    for name in families or sources.catalog.names():
        key = _key(name, sources, book)
        if (current := kept.get(name)) and current["key"] == key and not fresh:
            found[name] = [Calibration(**case) for case in current["cases"]]
        elif measure:
            found[name] = sources.family(name).calibrate()
            kept[name] = {"key": key, "cases": [asdict(case) for case in found[name]]}
            # After each family: an interrupted round keeps what it has measured.
            _write(file, kept)
    book.save()
    return found


def _key(name: str, sources: Sources, book: CodeBook) -> str:
    files = (sources.family_file(name), *sources.shared_code)
    # As whole files, since the code hash leaves out `calibrate` and micro.py, which are what runs here.
    whole = [
        f.read_text(encoding="utf-8")
        for f in (files[0], sources.package / "models" / "micro.py")
        if f.is_file()
    ]
    return digest(canonical([whole, book.code_of(*files)]))


def _read(file: Path) -> dict[str, dict]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _write(file: Path, kept: dict[str, dict]) -> None:
    try:
        file.parent.mkdir(exist_ok=True)
        # Written beside and moved, so that a reader never sees half of it.
        partial = file.with_name(f".{file.name}.{os.getpid()}")
        partial.write_text(json.dumps(kept), encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        raise StoreError("calibrations cannot be kept", where=str(file), seen=str(error)) from error
