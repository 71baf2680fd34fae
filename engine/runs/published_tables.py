"""Tables as small CSVs with their column kinds beside them, so that what is read back is what was written."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

MAX_TABLE_BYTES = 200_000
READ_AS = {"text": "str", "whole": "Int64", "number": "float64", "truth": "boolean"}
WITHOUT_GAPS = {"whole": "int64", "truth": "bool"}


def csv_table(table: pd.DataFrame) -> tuple[bytes, dict[str, str]]:
    """The table as CSV with numbers at six significant digits, and the kind of each column."""
    kinds = {str(name): _kind(column) for name, column in table.items()}
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode(), kinds


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


def _kind(column: pd.Series) -> str:
    from pandas.api import types

    if types.is_bool_dtype(column):
        return "truth"
    if types.is_integer_dtype(column):
        return "whole"
    return "number" if types.is_float_dtype(column) else "text"
