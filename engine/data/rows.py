"""Rows of a table file, each knowing the line it came from, with every cell kept to the letter.

CSV and JSONL are read here rather than by pandas, which would turn the texts "NA" and "null" into
missing values and could not name the line of a fault.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.data.text_files import check_unicode, decoded, read_bytes
from engine.errors import DataError

Cells = dict[str, object]


@dataclass(frozen=True)
class Row:
    """One row and its place, for error messages: `pairs.csv:12`."""

    where: str
    cells: Cells


def read_rows(path: Path) -> list[Row]:
    """The rows of a .csv, .jsonl or .parquet file; DataError with file and line where it cannot be read."""
    content = read_bytes(path)
    if not content.strip():
        raise DataError("the file is empty", where=str(path), expected="one row per prompt pair")
    read = READERS[path.suffix.lower()]
    rows = [_row(f"{path}:{place}", cells) for place, cells in read(content, path)]
    if not rows:
        raise DataError("the file has no rows", where=str(path), expected="one row per prompt pair")
    return rows


def _row(where: str, cells: Cells) -> Row:
    for column, cell in cells.items():
        check_unicode(str(column), "the name of a column", where)
        if isinstance(cell, str):
            check_unicode(cell, str(column), where)
    return Row(where, cells)


def _csv(content: bytes, path: Path) -> Iterator[tuple[int, Cells]]:
    # `newline=""` leaves line ends within quotes as they are; `strict` refuses stray quotes that would be
    # guessed at.
    reader = csv.reader(io.StringIO(decoded(content, path), newline=""), strict=True)
    try:
        header = next(reader, [])
        for name in {n for n in header if header.count(n) > 1}:
            raise DataError(f"two columns are called {name!r}", where=f"{path}:1")
        # A row may span lines: its number is that of its first one.
        line = reader.line_num + 1
        for values in reader:
            if values:
                yield line, _as_cells(header, values, f"{path}:{line}")
            line = reader.line_num + 1
    except csv.Error as fault:
        raise DataError("not valid CSV", where=f"{path}:{reader.line_num}", seen=str(fault)) from None


def _as_cells(header: list[str], values: list[str], where: str) -> Cells:
    if len(values) != len(header):
        raise DataError(
            "the row does not fit the header",
            where=where,
            expected=f"{len(header)} cells",
            seen=str(len(values)),
            hint="put a text that contains a comma in double quotes",
        )
    return dict(zip(header, values, strict=True))


def _jsonl(content: bytes, path: Path) -> Iterator[tuple[int, Cells]]:
    # Split at \n alone: `splitlines` would also cut at U+2028, which JSON allows within a text.
    for line, text in enumerate(decoded(content, path).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            cells = json.loads(text)
        except (ValueError, RecursionError) as fault:
            raise DataError("not valid JSON", where=f"{path}:{line}", seen=str(fault)) from None
        if not isinstance(cells, dict):
            raise DataError(
                "a line is not an object",
                where=f"{path}:{line}",
                expected='{"id": ..., "clean": ..., ...}',
                seen=type(cells).__name__,
            )
        yield line, cells


def _parquet(content: bytes, path: Path) -> Iterator[tuple[str, Cells]]:
    import pyarrow as pa
    from pyarrow.parquet import read_table

    try:
        rows = read_table(io.BytesIO(content)).to_pylist()
    except (pa.ArrowException, OSError) as fault:
        reason = str(fault).splitlines()[0]
        raise DataError("not a readable parquet file", where=str(path), seen=reason) from None
    yield from ((f"row {number}", cells) for number, cells in enumerate(rows, start=1))


READERS = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
