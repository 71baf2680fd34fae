"""A run's folder: result.json, tables/*.parquet, arrays.safetensors, and log.txt, which is no evidence.

result.json lists the tables and arrays with their size and SHA-256, and the store keeps its own: what is read
back is what was written, or a StoreError names the file that is not. Nothing is unpickled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ResultError, StoreError
from engine.runs.store.record import RunRecord, record_from

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from engine.evidence.result import Result

FORMAT = 1
RESULT, ARRAYS, LOG = "result.json", "arrays.safetensors", "log.txt"
SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
HASHED_BYTES = 16_000_000  # files above this are checked by size at a plan, by hash when they are read

Files = dict[str, dict[str, Any]]


def write_run(folder: Path, record: RunRecord, result: Result) -> Files:
    """Write a run's evidence and push it to the disk; returns its files."""
    contents = {f"tables/{name}.parquet": _parquet(name, table) for name, table in result.tables.items()}
    contents[ARRAYS] = _safetensors(result)
    (folder / "tables").mkdir(exist_ok=True)
    for name, content in contents.items():
        _write(folder / name, content)
    files = {name: _seal(folder / name) for name in contents}
    data = {"format": FORMAT, **record.to_json(), **_evidence(result), "files": files}
    text = json.dumps(data, indent=1, allow_nan=False, default=_plain)
    _write(folder / RESULT, text.encode())
    for place in (folder / "tables", folder):
        sync_folder(place)
    return files | {RESULT: _seal(folder / RESULT)}


def read_record(folder: Path) -> tuple[RunRecord, Files]:
    """What result.json says of a run, for a store whose database was lost."""
    data = _json(folder / RESULT, _bytes(folder / RESULT))
    try:
        return record_from(data), data["files"] | {RESULT: _seal(folder / RESULT)}
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder / RESULT, f"it lacks {error}") from None


def read_result(folder: Path, files: Files) -> Result:
    """The evidence of a run, samples and replicates included; StoreError names a file that is damaged."""
    from engine.evidence.result import Check, Figure, Measurement, Result

    data = _json(folder / RESULT, _verified(folder, RESULT, files))
    arrays = _arrays(folder, files)
    rows = {"finding": [], "control": []}
    for row in data["measurements"]:
        samples, replicates = (arrays.get(f"{part}/{row['name']}") for part in ("samples", "replicates"))
        rows[row["role"]].append(Measurement(**row, samples=samples, replicates=replicates))
    return Result(
        findings=rows["finding"],
        controls=rows["control"],
        checks=[Check(**check | {"value": float(check["value"])}) for check in data["checks"]],
        tables={name: _table(folder, name, files) for name in data["tables"]},
        figures={name: Figure(**figure) for name, figure in data["figures"].items()},
        arrays={n.removeprefix("arrays/"): a for n, a in arrays.items() if n.startswith("arrays/")},
    )


def damage(folder: Path, files: Files) -> str:
    """What is wrong with a run's folder, in words; empty where it is whole."""
    for name, sealed in files.items():
        try:
            if sealed["bytes"] > HASHED_BYTES:
                _check_size(folder / name, (folder / name).stat().st_size, sealed)
            else:
                _verified(folder, name, files)
        except FileNotFoundError:
            return f"{folder / name} is missing"
        except StoreError as error:
            return f"{error.where} {error.seen}"
    return ""


def sync_folder(folder: Path) -> None:
    """Push a folder's entries (new names, renames) to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def _seal(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _parquet(name: str, table: pd.DataFrame) -> bytes:
    if not SAFE_NAME.fullmatch(name):
        raise ResultError(f"{name!r} cannot name a table", expected="letters, digits, _ . -")
    try:
        return table.to_parquet(index=False)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise ResultError(f"table {name!r} cannot be stored", seen=str(error)) from error


def _safetensors(result: Result) -> bytes:
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import save

    arrays = {f"arrays/{name}": array for name, array in result.arrays.items()}
    for m in result.measurements.values():
        arrays |= {f"samples/{m.name}": m.samples, f"replicates/{m.name}": m.replicates}
    kept = {name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None}
    try:
        return save(kept)
    except (SafetensorError, KeyError, TypeError) as error:
        raise ResultError("an array cannot be stored", expected="numbers", seen=str(error)) from error


def _evidence(result: Result) -> dict[str, Any]:
    measurements = [_fields(m, but=("samples", "replicates")) for m in result.measurements.values()]
    checks = [_fields(c) | {"value": _number(c.value)} for c in result.checks]
    figures = {name: _fields(figure) for name, figure in result.figures.items()}
    return {"measurements": measurements, "checks": checks, "figures": figures, "tables": [*result.tables]}


def _fields(value: Any, but: tuple[str, ...] = ()) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.name not in but}


def _number(value: float) -> float | str:
    """A number as JSON has it; a check may have found NaN, and that has to be said."""
    return float(value) if math.isfinite(value) else repr(float(value))


def _plain(value: Any) -> Any:
    """A numpy scalar as Python's own number."""
    return value.item()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _damaged(path, f"cannot be read: {error.strerror}") from None


def _verified(folder: Path, name: str, files: Files) -> bytes:
    """A file's bytes, proved to be those that were written."""
    path = folder / name
    sealed = files[name]
    if not path.is_file():
        raise _damaged(path, "is missing")
    content = _bytes(path)
    _check_size(path, len(content), sealed)
    if hashlib.sha256(content).hexdigest() != sealed["sha256"]:
        raise _damaged(path, "is not what was written")
    return content


def _check_size(path: Path, size: int, sealed: dict[str, Any]) -> None:
    if size != sealed["bytes"]:
        raise _damaged(path, f"has {size:,} of {sealed['bytes']:,} bytes")


def _damaged(path: Path, how: str) -> StoreError:
    hint = "build again: the run is measured anew"
    return StoreError("this file of a run is damaged", where=str(path), seen=how, hint=hint)


def _json(path: Path, content: bytes) -> dict[str, Any]:
    try:
        data = json.loads(content)
    except ValueError as error:
        raise _damaged(path, f"is not JSON: {error}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise _damaged(path, f"is not a run's result in format {FORMAT}")
    return data


def _arrays(folder: Path, files: Files) -> dict[str, np.ndarray]:
    from safetensors.numpy import load

    return load(_verified(folder, ARRAYS, files))


def _table(folder: Path, name: str, files: Files) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(io.BytesIO(_verified(folder, f"tables/{name}.parquet", files)))
