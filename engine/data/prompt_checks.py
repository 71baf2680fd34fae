"""Whether rows can be used as prompts of a kind: the first that cannot is told with its file and line."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from engine.data.prompt_kinds import KINDS, PromptColumns, kinds_that_fit
from engine.data.rows import Row
from engine.data.subjects import as_spelled_in, with_code_points
from engine.errors import DataError, WrongPromptKind, nearest
from engine.spec.inputs import ANSWERS, CONTRAST, LABELLED, PAIRS, PromptKind

NAMED_AT_MOST = 10
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def columns_for(kind: PromptKind, rows: Sequence[Row]) -> PromptColumns:
    """The columns that these rows are read by; WrongPromptKind where they are sound rows of another kind.

    Pairs are enough where only a prompt and its answer are read, and are read as pairs then.
    """
    first = rows[0]
    wanted = KINDS[kind]
    if kind == ANSWERS and not wanted.fits(first.cells) and "clean" in first.cells:
        wanted = KINDS[PAIRS]
    others = [other for other in kinds_that_fit(first.cells) if other.kind != kind]
    if not wanted.fits(first.cells) and others:
        raise _wrong_kind(first, wanted, others)
    return wanted


def check_rows(rows: Sequence[Row], columns: PromptColumns) -> None:
    """DataError for the first row that cannot be used, and for rows that say the same."""
    present = {name for row in rows for name in row.cells}
    # A column that some rows have is asked of all: a subject that is missing would be missed silently later.
    has_ids = "id" in present
    texts = [*(["id"] if has_ids and "id" not in columns.required else []), *columns.required]
    texts += [column for column in (*columns.optional, *columns.parts) if column in present]
    first_use: dict[object, str] = {}
    for row in rows:
        _check_columns(row, columns)
        for column in texts:
            _check_text(row, column)
        _check_blank(row, columns)
        _check_against_each_other(row, columns)
        if has_ids:
            # The id is the unit of sampling: used twice, one prompt would count as two.
            id = row.cells["id"]
            first = first_use.setdefault(id, row.where)
            if first != row.where:
                raise DataError(f"the id {id!r} is used twice", where=row.at("id"), seen=f"first at {first}")
    _check_repeats(rows, columns, "ids" if has_ids else "rows")
    if columns.kind == CONTRAST:
        _check_swaps(rows)
    if columns.kind == LABELLED:
        _check_labels(rows)


def identity_of(row: Row, columns: PromptColumns) -> tuple[str, ...]:
    """What a row is, after NFC: two spellings of one text that look the same are the same."""
    return tuple(unicodedata.normalize("NFC", str(row.cells.get(c) or "")) for c in columns.identity)


def _wrong_kind(row: Row, wanted: PromptColumns, others: Sequence[PromptColumns]) -> WrongPromptKind:
    kinds = " or ".join(other.noun for other in others)
    error = WrongPromptKind(
        f"these are {kinds}, and {wanted.noun} are read",
        where=row.where,
        expected=f"the columns {', '.join(wanted.required)}",
        seen=", ".join(map(str, row.cells)),
        near=_near(row, [c for c in wanted.required if c not in row.cells], wanted),
    )
    error.kinds = tuple(other.kind for other in others)
    return error


def _check_columns(row: Row, columns: PromptColumns) -> None:
    missing = [c for c in columns.required if c not in row.cells]
    if missing:
        raise DataError(
            f"no {_listed(missing)}",
            where=row.where,
            expected=f"the columns {', '.join(columns.required)}",
            seen=", ".join(map(str, row.cells)),
            near=_near(row, missing, columns),
            hint=_separator(row),
        )


def _near(row: Row, missing: Iterable[str], columns: PromptColumns) -> list[str]:
    # A column of this kind that is there is no misspelling of another one.
    strange = set(map(str, row.cells)) - {*columns.required, *columns.optional}
    return [name for c in missing for name in nearest(c, strange, limit=1)]


def _separator(row: Row) -> str:
    """What to do about a header that is one cell because something else than commas is between its names."""
    (header, *more) = map(str, row.cells)
    found = [name for mark, name in SEPARATORS.items() if mark in header]
    return (
        f"there are {found[0]} between the columns: save the file with commas" if found and not more else ""
    )


def _check_text(row: Row, column: str) -> None:
    cell = row.cells.get(column)
    if not isinstance(cell, str):
        # YAML and JSON take an answer such as 4 for a number.
        hint = "put it in quotes" if isinstance(cell, bool | int | float) else ""
        raise DataError(f"{column} is not text", where=row.at(column), seen=repr(cell)[:200], hint=hint)
    if not cell.strip():
        raise DataError(f"{column} is empty", where=row.at(column), seen=repr(cell))


def _check_blank(row: Row, columns: PromptColumns) -> None:
    for column in columns.blank:
        cell = row.cells.get(column)
        if cell is not None and not isinstance(cell, str):
            raise DataError(f"{column} is not text", where=row.at(column), seen=repr(cell)[:200])


def _check_against_each_other(row: Row, columns: PromptColumns) -> None:
    for one, other in columns.unequal:
        if other in row.cells and row.cells[one] == row.cells[other]:
            raise DataError(f"{one} and {other} are equal", where=row.at(one), seen=repr(row.cells[one]))
    for part, whole in columns.parts.items():
        if part in row.cells and as_spelled_in(str(row.cells[whole]), str(row.cells[part])) is None:
            raise DataError(
                f"the {whole} prompt does not contain its {part}"
                if whole != "prompt"
                else f"the prompt does not contain its {part}",
                where=row.at(part),
                expected=with_code_points(str(row.cells[part])),
                seen=with_code_points(str(row.cells[whole])),
            )


def _check_repeats(rows: Sequence[Row], columns: PromptColumns, counted: str) -> None:
    """DataError where a row's content stands twice, with the places and what else is equal there."""
    first_row: dict[tuple[str, ...], Row] = {}
    repeats = []
    for row in rows:
        first = first_row.setdefault(identity_of(row, columns), row)
        if first is not row:
            repeats.append((row, first))
    if not repeats:
        return
    said = [f"{row.line} repeats {first.line}: {_equal(row, first, columns)}" for row, first in repeats]
    noun = "prompts" if columns.kind in (PAIRS, ANSWERS) else columns.noun
    raise DataError(
        f"{len(first_row)} different {noun} under {len(rows)} {counted}",
        where=repeats[0][0].where,
        expected=f"each {columns.unit} once, since each row counts as one observation",
        seen=_first_few(said),
        hint=columns.hint,
    )


def _check_swaps(rows: Sequence[Row]) -> None:
    """DataError where one contrast is another with its sides changed about: the two would cancel."""
    columns = KINDS[CONTRAST]
    first_row = {identity_of(row, columns): row for row in rows}
    swapped = [(row, first_row.get(identity_of(row, columns)[::-1])) for row in rows]
    said = [f"{row.line} is {first.line}, swapped" for row, first in swapped if first is not None]
    if said:
        raise DataError(
            "two contrasts are one with its sides changed about",
            where=next(row.where for row, first in swapped if first is not None),
            expected="the same side of each contrast under positive",
            # Each is told from both ends.
            seen=_first_few(said[: (len(said) + 1) // 2]),
        )


def _check_labels(rows: Sequence[Row]) -> None:
    labels = {row.cells["label"] for row in rows}
    if len(labels) < 2:
        raise DataError(
            "all texts have one label",
            where=rows[0].at("label"),
            expected="two labels or more",
            seen=repr(next(iter(labels))),
        )


def _equal(row: Row, first: Row, columns: PromptColumns) -> str:
    """Which of the texts of two rows are equal, in words."""
    texts = dict.fromkeys([*columns.identity, *columns.texts])
    shown = [c for c in texts if c in row.cells]
    same = [c for c in shown if c in columns.identity or row.cells[c] == first.cells.get(c)]
    return f"{_joined(same)} {'is' if len(same) == 1 else 'are'} equal"


def _first_few(said: list[str]) -> str:
    more = [f"and {len(said) - NAMED_AT_MOST} more"] if len(said) > NAMED_AT_MOST else []
    return "\n            ".join(said[:NAMED_AT_MOST] + more)


def _joined(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _listed(columns: Iterable[str]) -> str:
    names = list(columns)
    return ("column " if len(names) == 1 else "columns ") + ", ".join(names)
