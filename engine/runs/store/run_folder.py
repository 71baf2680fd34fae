"""A run's folder: result.json, tables/*.parquet, arrays.safetensors, and log.txt, which is no evidence.

result.json lists the tables and arrays with their size and SHA-256 and has a digest of itself, and the store
keeps its own: what is read back is what was written, or a StoreError names the file that is not. Nothing is
unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ResultError, StoreError
from engine.runs.planning.code_hash import digest
from engine.runs.planning.keys import canonical
from engine.runs.store.codec import (
    arrays_from_bytes,
    arrays_of,
    arrays_to_bytes,
    plain,
    result_data,
    result_from,
    table_from_bytes,
    table_to_bytes,
)
from engine.runs.store.record import RunRecord, StoredRun, record_from

if TYPE_CHECKING:
    from engine.evidence.result import Result

FORMAT = 2
UNPROVED_FORMAT = 1
"""result.json without a digest of itself, which only the store's database can prove."""
RESULT = "result.json"
ARRAYS = "arrays.safetensors"
LOG = "log.txt"
SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
HASHED_BYTES = 16_000_000  # files above this are checked by size at a plan, by hash when they are read

Files = dict[str, dict[str, Any]]


def path_of(store_folder: Path, run: StoredRun) -> Path:
    """Where a run lies in the project's `.engine/`."""
    return store_folder / "runs" / str(run.id)


def write_run(folder: Path, record: RunRecord, result: Result) -> Files:
    """Write a run's evidence and push it to the disk; returns its files."""
    # Everything is encoded before the first byte is written, so that what cannot be stored leaves no file.
    contents = {_table_file(name): table_to_bytes(name, table) for name, table in result.tables.items()}
    contents[ARRAYS] = arrays_to_bytes(arrays_of(result))
    (folder / "tables").mkdir(exist_ok=True)
    for name, content in contents.items():
        _write(folder / name, content)
    files = {name: _seal(folder / name) for name in contents}
    # result.json alone tells what the folder holds: the database can be made anew from such files.
    data = {"format": FORMAT, **record.to_json(), **result_data(result), "files": files}
    # Through JSON, so that what is hashed is what will be read.
    data = json.loads(json.dumps(data, allow_nan=False, default=plain))
    text = json.dumps(data | {"digest": digest(canonical(data))}, indent=1)
    # result.json comes last: a folder that has it has everything that it lists.
    _write(folder / RESULT, text.encode())
    # fsync of a file does not promise that its name is on the disk; that takes an fsync of its folder.
    for place in (folder / "tables", folder):
        sync_folder(place)
    return files | {RESULT: _seal(folder / RESULT)}


def read_record(folder: Path) -> tuple[RunRecord, Files]:
    """What result.json says of a run, for a store whose database was lost."""
    data = _json(folder / RESULT, _bytes(folder / RESULT))
    # Here nothing else tells whether the numbers are still those that were written.
    sealed = data.pop("digest", None)
    if data["format"] != UNPROVED_FORMAT and sealed != digest(canonical(data)):
        raise _damaged(folder / RESULT, "is not what was written")
    try:
        return record_from(data), data["files"] | {RESULT: _seal(folder / RESULT)}
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder / RESULT, f"it lacks {error}") from None


def load_run(store_folder: Path, run: StoredRun) -> Result:
    """The evidence of a run, samples and replicates included; StoreError names run and damage."""
    folder = path_of(store_folder, run)
    try:
        data = _json(folder / RESULT, _verified(folder, RESULT, run.files))
        # SQLite does not prove what a row says, and what was asked of a run is handed on with its numbers.
        if not _is_of(run, data):
            raise _damaged(folder / RESULT, "is of another run than the database says")
        return _result(folder, run.files, data)
    except StoreError as error:
        error.problem = f"run {run.id} ({run.name}) is damaged"
        raise


def damage(folder: Path, files: Files, *, thorough: bool = False) -> str:
    """What is wrong with a run's folder, in words; empty where it is whole.

    Large files are hashed only if it is to be `thorough`.
    """
    for name, sealed in files.items():
        try:
            # A plan looks at every run: reading gigabytes of arrays for each would take longer than the plan.
            if sealed["bytes"] > HASHED_BYTES and not thorough:
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


def _result(folder: Path, files: Files, data: dict[str, Any]) -> Result:
    """The evidence that `data` lists, each file of it proved."""
    arrays = arrays_from_bytes(_verified(folder, ARRAYS, files))
    try:
        contents = {name: _verified(folder, _table_file(name), files) for name in data["tables"]}
        tables = {name: table_from_bytes(content) for name, content in contents.items()}
        return result_from(data, tables, arrays)
    except (KeyError, TypeError) as error:
        # Evidence has gained or lost a field since: as good as damaged, so that the run is measured anew.
        raise _damaged(folder / RESULT, f"is not evidence as it is written now: {error}") from None


def _seal(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _table_file(name: str) -> str:
    """Where a table lies in the folder; ResultError for a name that could lead out of it."""
    if not SAFE_NAME.fullmatch(name):
        raise ResultError(f"{name!r} cannot name a table", expected="letters, digits, _ . -")
    return f"tables/{name}.parquet"


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
    if not isinstance(data, dict) or data.get("format") not in (UNPROVED_FORMAT, FORMAT):
        raise _damaged(path, f"is not a run's result in format {FORMAT}")
    return data


def _is_of(run: StoredRun, data: dict[str, Any]) -> bool:
    """Whether a result.json belongs to a row; the name may be another one that the run is used by."""
    said = run.record.to_json()
    del said["name"]
    return all(data.get(part) == json.loads(json.dumps(value)) for part, value in said.items())
