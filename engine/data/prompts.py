"""Prompt sets: clean / corrupted pairs with their answers, packaged or from a person's own file.

A pair asks for `answer` in its clean prompt and for `wrong_answer` in its corrupted one. Answers begin
with the space they need. Whatever a prompt contains (markup, Markdown, template syntax) is data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from engine.data.rows import READERS, Row, read_bytes, read_rows
from engine.errors import DataError, nearest
from engine.spec.models import PromptChoice

REQUIRED = ("id", "relation", "clean", "corrupted", "answer", "wrong_answer")
SUBJECTS = {"subject": "clean", "corrupted_subject": "corrupted"}  # each is a part of that prompt's text
PACKAGED = Path(__file__).parent / "prompts"


@dataclass(frozen=True)
class PromptSet:
    """The chosen pairs of one set.

    `table` has the columns id, relation, clean, corrupted, answer, wrong_answer, where known subject
    and corrupted_subject, then any others of the file. `hash` covers the whole file.
    """

    name: str
    table: pd.DataFrame
    hash: str
    source: str


def prompt_set_names() -> list[str]:
    """The sets that come with the engine."""
    return sorted(p.stem for p in PACKAGED.glob("*.jsonl"))


def load_prompts(choice: PromptChoice, base: Path) -> PromptSet:
    """The pairs a spec chose: a packaged set, or a .csv, .jsonl or .parquet file relative to `base`.

    `choice.limit` takes as evenly from the relations as it can, in the order of the file. DataError
    names file and line of the first row that cannot be used.
    """
    path = _locate(choice.name, base)
    rows = read_rows(path)
    _check(rows)
    names = dict.fromkeys([*REQUIRED, *(name for row in rows for name in row.cells)])
    table = pd.DataFrame([row.cells for row in rows], columns=list(names))
    source = "packaged with the engine" if path.parent == PACKAGED else f"the file {choice.name}"
    return PromptSet(choice.name, _choose(table, choice, str(path)), data_hash(choice, base), source)


def data_hash(choice: PromptChoice, base: Path) -> str:
    """SHA-256 of the bytes that `load_prompts` would read, for a run's key."""
    return hashlib.sha256(read_bytes(_locate(choice.name, base))).hexdigest()


def _locate(name: str, base: Path) -> Path:
    packaged = prompt_set_names()
    if name in packaged:
        return PACKAGED / f"{name}.jsonl"
    if Path(name).suffix.lower() in READERS:
        return base / Path(name).expanduser()
    raise DataError(
        f"no prompt set {name!r}",
        expected=f"{', '.join(packaged)} or the path of a {', '.join(READERS)} file",
        near=nearest(name, packaged),
    )


def _check(rows: list[Row]) -> None:
    first_use: dict[object, str] = {}
    subjects = [c for c in SUBJECTS if any(c in row.cells for row in rows)]
    for row in rows:
        _check_columns(row)
        for column in (*REQUIRED, *subjects):
            _check_text(row, column)
        _check_pair(row)
        id = row.cells["id"]
        first = first_use.setdefault(id, row.where)
        if first != row.where:
            raise DataError(f"the id {id!r} is used twice", where=row.where, seen=f"first at {first}")


def _check_columns(row: Row) -> None:
    missing = [c for c in REQUIRED if c not in row.cells]
    if missing:
        raise DataError(
            f"no {_listed(missing)}",
            where=row.where,
            expected=f"the columns {', '.join(REQUIRED)}",
            seen=", ".join(map(str, row.cells)),
            near=[n for c in missing for n in nearest(c, set(map(str, row.cells)) - set(REQUIRED), limit=1)],
        )


def _check_text(row: Row, column: str) -> None:
    cell = row.cells.get(column)
    if not isinstance(cell, str):
        raise DataError(f"{column} is not text", where=row.where, seen=repr(cell))
    if not cell.strip():
        raise DataError(f"{column} is empty", where=row.where, seen=repr(cell))
    try:
        cell.encode()
    except UnicodeEncodeError:
        raise DataError(f"{column} is not valid Unicode", where=row.where, seen=ascii(cell)) from None


def _check_pair(row: Row) -> None:
    for one, other in (("clean", "corrupted"), ("answer", "wrong_answer")):
        if row.cells[one] == row.cells[other]:
            raise DataError(f"{one} and {other} are equal", where=row.where, seen=repr(row.cells[one]))
    for part, whole in SUBJECTS.items():
        if part in row.cells and str(row.cells[part]) not in str(row.cells[whole]):
            raise DataError(
                f"the {whole} prompt does not contain its {part}",
                where=row.where,
                expected=repr(row.cells[part]),
                seen=repr(row.cells[whole]),
            )


def _choose(table: pd.DataFrame, choice: PromptChoice, where: str) -> pd.DataFrame:
    relations = list(table["relation"].unique())
    wanted = relations if choice.relations is None else choice.relations
    for name in wanted:
        if name not in relations:
            near, known = nearest(name, relations), ", ".join(relations)
            raise DataError(f"no relation {name!r}", where=where, expected=f"one of {known}", near=near)
    chosen = table[table["relation"].isin(wanted)]
    turn = chosen.groupby("relation").cumcount().sort_values(kind="stable")
    return chosen.loc[sorted(turn.index[: choice.limit])].reset_index(drop=True)


def _listed(columns: Iterable[str]) -> str:
    names = list(columns)
    return ("column " if len(names) == 1 else "columns ") + ", ".join(names)
