"""Tables as small CSVs with their column kinds beside them, so that what is read back is what was written.

Which of an entry's tables are published, and why the others are not, is decided here too.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

    from engine.runs.ledger import DisplayItem, DisplayKind, Entry

MAX_TABLE_BYTES = 200_000
READ_AS = {"text": "str", "whole": "Int64", "number": "float64", "truth": "boolean"}
UNSHOWN = "left out: the text does not show it"
WITHOUT_GAPS = {"whole": "int64", "truth": "bool"}


def csv_table(table: pd.DataFrame) -> tuple[bytes, dict[str, str]]:
    """The table as CSV with numbers at six significant digits, and the kind of each column."""
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode(), kinds_of(table)


def kinds_of(table: pd.DataFrame) -> dict[str, str]:
    """The kind of each column: text, whole, number or truth."""
    return {str(name): _kind(column) for name, column in table.items()}


def read_csv_table(folder: Path, entry: dict[str, Any]) -> pd.DataFrame:
    """A published table with its column types; StoreError where the file is missing or another one."""
    import pandas as pd

    path, kinds = folder / entry["file"], entry["columns"]
    gaps = {name: [""] for name, kind in kinds.items() if kind != "text"}
    dtypes = {name: READ_AS[kind] for name, kind in kinds.items()}
    try:
        content = io.BytesIO(path.read_bytes())
        table = pd.read_csv(content, dtype=dtypes, keep_default_na=False, na_values=gaps)
    except (OSError, ValueError) as error:
        raise StoreError("this published table cannot be read", where=str(path), seen=str(error)) from None
    if sorted(table.columns) != sorted(kinds):
        seen, expected = ", ".join(map(str, table.columns)), ", ".join(kinds)
        raise StoreError("this is another table", where=str(path), expected=expected, seen=seen)
    whole = {n: WITHOUT_GAPS[k] for n, k in kinds.items() if k in WITHOUT_GAPS and not table[n].hasnans}
    return table.astype(whole)


def wanted(
    entry: Entry, figures: Mapping[str, Mapping[str, Any]], asked: Collection[DisplayItem]
) -> set[str]:
    """The tables of an entry that are asked for by their own name or by that of a figure of theirs."""
    parts = [part for part in asked if (part.label, part.model) == (entry.label, entry.model)]
    tables = {part.name for part in parts if part.kind == "tables"}
    return tables | {figures[p.name]["table"] for p in parts if p.kind == "figures" and p.name in figures}


def thinned(data: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    """What is said of an entry's tables once those that are not wanted have no file."""
    gone = {"file": "", "note": UNSHOWN}
    return {n: t if n in wanted or not t["file"] else t | gone for n, t in data["tables"].items()}


def left_out(data: Mapping[str, Any]) -> dict[tuple[DisplayKind, str], str]:
    """Why a table, or a figure with it, is not among what is published."""
    notes = {name: table["note"] for name, table in data["tables"].items() if not table["file"]}
    without: dict[tuple[DisplayKind, str], str] = {("tables", name): note for name, note in notes.items()}
    for name, figure in data["figures"].items():
        if figure["table"] in notes:
            without["figures", name] = notes[figure["table"]]
    return without


def _kind(column: pd.Series) -> str:
    from pandas.api import types

    if types.is_bool_dtype(column):
        return "truth"
    if types.is_integer_dtype(column):
        return "whole"
    return "number" if types.is_float_dtype(column) else "text"
