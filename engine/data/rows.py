"""Rows of a table, in a file or in a spec, each knowing its line, with every cell kept to the letter.

CSV and JSONL are read here rather than by pandas, which would turn the texts "NA" and "null" into
missing values and could not name the line of a fault.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from engine.data.text_files import check_unicode, decoded, read_bytes
from engine.errors import DataError

Cells = dict[str, object]
Place = Callable[[tuple[str | int, ...]], str]
"""Where something inside of `prompts:` stands in a spec: `spec.yaml:12:9:
experiments.lens.prompts.rows[2]`."""


@dataclass(frozen=True)
class Row:
    """One row and its place, for error messages: `pairs.csv:12`, in short `line 12`.

    Rows of a spec know the place of each cell as well.
    """

    where: str
    cells: Cells
    line: str
    cell_places: Mapping[str, str] = field(default_factory=dict)

    def at(self, column: str) -> str:
        """The place of one cell; of the row, where that is not known."""
        return self.cell_places.get(column, self.where)


def read_rows(path: Path) -> list[Row]:
    """The rows of a .csv, .jsonl or .parquet file; DataError with file and line where it cannot be read."""
    content = read_bytes(path)
    if not content.strip():
        raise DataError("the file is empty", where=str(path), expected=ONE_A_ROW)
    read = READERS[path.suffix.lower()]
    rows = [_file_row(path, place, cells) for place, cells in read(content, path)]
    if not rows:
        raise DataError("the file has no rows", where=str(path), expected=ONE_A_ROW)
    return rows


def rows_of_spec(rows: Sequence[Mapping[str, Any]], place: Place) -> list[Row]:
    """Rows that are written in a spec, with the line and column of each cell."""
    return [_spec_row(number, cells, place) for number, cells in enumerate(rows)]


def _spec_row(number: int, cells: Mapping[str, Any], place: Place) -> Row:
    where = place(("rows", number))
    # `spec.yaml:12:9: experiments...`, or without a spec on disk `prompts.rows[2]`.
    parts = where.split(":")
    line = f"line {parts[1]}" if len(parts) > 1 else f"row {number + 1}"
    return checked_row(Row(where, dict(cells), line, {c: place(("rows", number, c)) for c in cells}))


def _file_row(path: Path, place: int | str, cells: Cells) -> Row:
    line = f"line {place}" if isinstance(place, int) else place
    return checked_row(Row(f"{path}:{place}", cells, line))


def checked_row(row: Row) -> Row:
    """The row; DataError where a cell or the name of a column has half of a character."""
    for column, cell in row.cells.items():
        check_unicode(str(column), "the name of a column", row.where)
        if isinstance(cell, str):
            check_unicode(cell, str(column), row.where)
    return row


def _csv(content: bytes, path: Path) -> Iterator[tuple[int, Cells]]:
    # `newline=""` leaves line ends within quotes as they are; `strict` refuses stray quotes that would be
    # guessed at.
    reader = csv.reader(io.StringIO(decoded(content, path), newline=""), strict=True)
    try:
        header = next(reader, [])
        for name in [n for n in header if header.count(n) > 1][:1]:
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
            cells = json.loads(text, object_pairs_hook=partial(_once, where=f"{path}:{line}"))
        except (ValueError, RecursionError) as fault:
            where = f"{path}:{line}"
            raise DataError("not valid JSON", where=where, seen=str(fault), hint=_array(text)) from None
        if not isinstance(cells, dict):
            raise DataError(
                "a line is not an object",
                where=f"{path}:{line}",
                expected='{"prompt": ..., "answer": ..., ...}',
                seen=type(cells).__name__,
                hint=_array(text),
            )
        yield line, cells


def _once(pairs: list[tuple[str, object]], where: str) -> Cells:
    """A JSON object; DataError where a key stands twice, of which JSON itself would take the last."""
    cells = dict(pairs)
    if len(cells) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"two columns are called {twice!r}", where=where)
    return cells


def _array(text: str) -> str:
    """What to do about a file that is one JSON array."""
    return "one object a line, without [ ] around them" if text.lstrip().startswith("[") else ""


def _parquet(content: bytes, path: Path) -> Iterator[tuple[str, Cells]]:
    from pyarrow.parquet import read_table

    try:
        rows = read_table(io.BytesIO(content)).to_pylist()
    except (pa.ArrowException, OSError) as fault:
        reason = str(fault).splitlines()[0]
        raise DataError("not a readable parquet file", where=str(path), seen=reason) from None
    yield from ((f"row {number}", cells) for number, cells in enumerate(rows, start=1))


ONE_A_ROW = "one prompt a row"
READERS = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
