"""Tables as small CSVs with their column kinds beside them, so that what is read back is what was written."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api import types

from engine.errors import StoreError
from engine.spec.repository_files import read_beside

MOST_TABLE_BYTES = 2_000_000
"""Larger tables are not read; ten times what is written, since git may have changed line ends."""

# pandas' kinds that can hold gaps; its plain integers and booleans cannot.
READ_AS = {"text": "str", "whole": "Int64", "number": "float64", "truth": "boolean"}
# Back to the plain kinds where no cell is empty, so that what is read equals what was written.
WITHOUT_GAPS = {"whole": "int64", "truth": "bool"}


class PublishedTables(Mapping[str, pd.DataFrame]):
    """The published tables of one entry by name, each read when it is asked for.

    `entries` is what the JSON file says of them. StoreError at once where a file is missing or has other
    columns; where a cell is of another kind, once the table is read.
    """

    def __init__(self, folder: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
        self.folder = folder
        self.entries = {name: entry for name, entry in entries.items() if entry["file"]}
        self.read: dict[str, pd.DataFrame] = {}
        for entry in self.entries.values():
            _check_columns(folder, entry["file"], entry["columns"])

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self.read:
            self.read[name] = read_csv_table(self.folder, self.entries[name])
        return self.read[name]

    def __contains__(self, name: object) -> bool:
        return name in self.entries  # Mapping's own would read the table

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def table_bytes(folder: Path, name: object) -> bytes:
    """The content of a published table, which is named by a bare name and is a file of the folder.

    StoreError for any other name, a link, or a file that is too large; FileNotFoundError where there is none.
    """
    content = read_beside(folder, name, MOST_TABLE_BYTES, StoreError)
    if not str(name).endswith(".csv"):
        raise StoreError("this is no published table", where=str(folder / str(name)), expected="NAME.csv")
    return content


def csv_table(table: pd.DataFrame) -> tuple[bytes, dict[str, str]]:
    """The table as CSV with numbers at six significant digits, and the kind of each column."""
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode(), kinds_of(table)


def kinds_of(table: pd.DataFrame) -> dict[str, str]:
    """The kind of each column: text, whole, number or truth."""
    return {str(name): _kind(column) for name, column in table.items()}


def read_csv_table(folder: Path, entry: Mapping[str, Any]) -> pd.DataFrame:
    """A published table with its column types; StoreError where the file is missing or another one."""
    path = folder / entry["file"]
    kinds = entry["columns"]
    # Text has no gaps: an empty cell there is empty text, and "NA" is a word (`keep_default_na=False`).
    gaps = {name: [""] for name, kind in kinds.items() if kind != "text"}
    dtypes = {name: READ_AS[kind] for name, kind in kinds.items()}
    try:
        content = io.BytesIO(table_bytes(folder, entry["file"]))
        table = pd.read_csv(content, dtype=dtypes, keep_default_na=False, na_values=gaps)
    except (OSError, ValueError) as error:
        raise StoreError("this published table cannot be read", where=str(path), seen=str(error)) from None
    if sorted(table.columns) != sorted(kinds):
        raise _another_table(path, kinds, list(table.columns))
    whole = {n: WITHOUT_GAPS[k] for n, k in kinds.items() if k in WITHOUT_GAPS and not table[n].hasnans}
    return table.astype(whole)


def _check_columns(folder: Path, name: str, kinds: Mapping[str, str]) -> None:
    """StoreError where a published table is missing or has other columns; only its first line is parsed."""
    path = folder / str(name)
    try:
        lines = io.StringIO(table_bytes(folder, name).decode("utf-8"), newline="")
        header = next(csv.reader(lines), [])
    except (OSError, ValueError, csv.Error) as error:
        raise StoreError("this published table cannot be read", where=str(path), seen=str(error)) from None
    if sorted(header) != sorted(kinds):
        raise _another_table(path, kinds, header)


def _another_table(path: Path, kinds: Mapping[str, str], columns: list[Any]) -> StoreError:
    expected = ", ".join(kinds)
    seen = ", ".join(map(str, columns))
    return StoreError("this is another table", where=str(path), expected=expected, seen=seen)


def _kind(column: pd.Series) -> str:
    if types.is_bool_dtype(column):
        return "truth"
    if types.is_integer_dtype(column):
        return "whole"
    return "number" if types.is_float_dtype(column) else "text"
