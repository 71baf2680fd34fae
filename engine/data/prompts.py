"""Prompt sets: clean / corrupted pairs with their answers, packaged or from a person's own file.

A pair asks for `answer` in its clean prompt and for `wrong_answer` in its corrupted one. Answers begin
with the space they need. Whatever a prompt contains (markup, Markdown, template syntax) is data, and the
model reads it to the letter. A subject is looked for in its prompt after NFC (Unicode Standard Annex 15),
since an accented letter can be one code point or two and look the same; the table has it as the prompt does.

Prompts of one cluster (a relation, a template, a subject) resemble each other: twenty capitals are not twenty
independent observations of how facts are recalled. A set says which column holds the clusters.

A prompt is what it says, not what it is called: each clean prompt stands once in a set, whatever its ids. A
lens reads nothing else of a pair, so that the same one twice would count as two observations. A pair and
its swap (clean and corrupted changed about) have different clean prompts, and may both stand.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from engine.data.rows import READERS, Cells, Row, read_rows
from engine.data.text_files import read_bytes
from engine.errors import DataError, nearest
from engine.spec.models import PromptChoice

REQUIRED = ("id", "relation", "clean", "corrupted", "answer", "wrong_answer")
TEXTS = ("clean", "corrupted", "answer", "wrong_answer")
NAMED_AT_MOST = 10
SUBJECTS = {"subject": "clean", "corrupted_subject": "corrupted"}  # each is a part of that prompt's text
CLUSTER_COLUMNS = ("relation", "template", "subject", "document")
"""The columns that clusters are looked for in, where the spec names none."""
PACKAGED = Path(__file__).parent / "prompts"


@dataclass(frozen=True)
class PromptSet:
    """The chosen pairs of one set.

    `table` has the columns id, relation, clean, corrupted, answer, wrong_answer, where known subject
    and corrupted_subject, then any others of the file. `hash` covers the whole file. `cluster_column` is the
    column whose equal entries make prompts one cluster; without one, each prompt is a cluster of its own.
    """

    name: str
    table: pd.DataFrame
    hash: str
    source: str
    cluster_column: str = ""

    @property
    def clusters(self) -> np.ndarray:
        """The cluster of each prompt, beside its id. Shape "prompt", text."""
        return cluster_labels(self.table, self.cluster_column)


def cluster_labels(table: pd.DataFrame, column: str) -> np.ndarray:
    """The cluster of each row by that column; by its id where no column is named. Shape "prompt", text."""
    return table[column or "id"].astype(str).to_numpy(dtype=str)


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
    table = pd.DataFrame([_subjects_as_spelled(row.cells) for row in rows], columns=list(names))
    source = "packaged with the engine" if path.parent == PACKAGED else f"the file {choice.name}"
    chosen = _choose(table, choice, str(path))
    column = _cluster_column(chosen, choice, str(path))
    return PromptSet(choice.name, chosen, data_hash(choice, base), source, column)


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
        # The id is the unit of sampling: used twice, one prompt would count as two.
        first = first_use.setdefault(id, row.where)
        if first != row.where:
            raise DataError(f"the id {id!r} is used twice", where=row.where, seen=f"first at {first}")
    _check_repeats(rows)


def _check_repeats(rows: list[Row]) -> None:
    """DataError where a clean prompt stands twice, with the places and what else is equal there."""
    first_row: dict[str, Row] = {}
    repeats = []
    for row in rows:
        # After NFC: two spellings of one text that look the same ask for the same fact.
        first = first_row.setdefault(unicodedata.normalize("NFC", str(row.cells["clean"])), row)
        if first is not row:
            repeats.append((row, first))
    if not repeats:
        return
    said = [f"{_place(row)} repeats {_place(first)}: {_equal(row, first)}" for row, first in repeats]
    more = [f"and {len(said) - NAMED_AT_MOST} more"] if len(said) > NAMED_AT_MOST else []
    raise DataError(
        f"{len(first_row)} different prompts under {len(rows)} ids",
        where=repeats[0][0].where,
        expected="each clean prompt once, since each row counts as one observation",
        seen="\n            ".join(said[:NAMED_AT_MOST] + more),
        hint="a clean prompt with a second corrupted one goes into a prompt set of its own",
    )


def _place(row: Row) -> str:
    """`line 7`, or `row 7` of a parquet file."""
    place = row.where.rpartition(":")[2]
    return f"line {place}" if place.isdigit() else place


def _equal(row: Row, first: Row) -> str:
    """Which of the texts of two rows are equal, in words."""
    same = [c for c in TEXTS if c == "clean" or row.cells[c] == first.cells[c]]
    return f"{_joined(same)} {'is' if len(same) == 1 else 'are'} equal"


def _check_columns(row: Row) -> None:
    missing = [c for c in REQUIRED if c not in row.cells]
    if missing:
        raise DataError(
            f"no {_listed(missing)}",
            where=row.where,
            expected=f"the columns {', '.join(REQUIRED)}",
            seen=", ".join(map(str, row.cells)),
            # A required column that is there is no misspelling of another one.
            near=[n for c in missing for n in nearest(c, set(map(str, row.cells)) - set(REQUIRED), limit=1)],
        )


def _check_text(row: Row, column: str) -> None:
    cell = row.cells.get(column)
    if not isinstance(cell, str):
        raise DataError(f"{column} is not text", where=row.where, seen=repr(cell))
    if not cell.strip():
        raise DataError(f"{column} is empty", where=row.where, seen=repr(cell))


def _check_pair(row: Row) -> None:
    for one, other in (("clean", "corrupted"), ("answer", "wrong_answer")):
        if row.cells[one] == row.cells[other]:
            raise DataError(f"{one} and {other} are equal", where=row.where, seen=repr(row.cells[one]))
    for part, whole in SUBJECTS.items():
        if part in row.cells and _as_spelled_in(str(row.cells[whole]), str(row.cells[part])) is None:
            raise DataError(
                f"the {whole} prompt does not contain its {part}",
                where=row.where,
                expected=_shown(str(row.cells[part])),
                seen=_shown(str(row.cells[whole])),
            )


def _subjects_as_spelled(cells: Cells) -> Cells:
    """The cells with each subject as its prompt spells it, so that its tokens can be found there."""
    found = {
        part: _as_spelled_in(str(cells[whole]), str(cells[part]))
        for part, whole in SUBJECTS.items()
        if part in cells
    }
    return cells | found


def _as_spelled_in(prompt: str, subject: str) -> str | None:
    """The last stretch of the prompt that equals the subject after NFC; None where there is none."""
    if subject in prompt:
        return subject
    composed = unicodedata.normalize("NFC", subject)
    if composed not in unicodedata.normalize("NFC", prompt):
        return None
    # NFC changes lengths, so that a place in the composed prompt is none in the prompt itself: try stretches.
    # From the end, since the last occurrence is meant.
    for start in reversed(range(len(prompt))):
        for end in range(start + 1, len(prompt) + 1):
            if unicodedata.normalize("NFC", prompt[start:end]) == composed:
                return prompt[start:end]
    return None


def _shown(text: str) -> str:
    """The text in quotes, with its code points where it may look like another: `'Perú' ('Peru\\u0301')`."""
    return repr(text) if text.isascii() else f"{text!r} ({text!a})"


def _choose(table: pd.DataFrame, choice: PromptChoice, where: str) -> pd.DataFrame:
    relations = list(table["relation"].unique())
    wanted = relations if choice.relations is None else choice.relations
    for name in wanted:
        if name not in relations:
            raise DataError(
                f"no relation {name!r}",
                where=where,
                expected=f"one of {', '.join(relations)}",
                near=nearest(name, relations),
            )
    chosen = table[table["relation"].isin(wanted)]
    # In turns, one of each relation at a time, until the limit; then in the order of the file again.
    turn = chosen.groupby("relation").cumcount().sort_values(kind="stable")
    return chosen.loc[sorted(turn.index[: choice.limit])].reset_index(drop=True)


def _cluster_column(table: pd.DataFrame, choice: PromptChoice, where: str) -> str:
    """The column that holds the clusters: the one the spec names, else the first that tells prompts apart."""
    if choice.clusters is None:
        # A column with one entry throughout (the set's only relation) would make all prompts one cluster,
        # of which nothing can be held out: the next one is looked at.
        several = (c for c in CLUSTER_COLUMNS if c in table and len(set(map(str, table[c]))) > 1)
        return next(several, "")
    if choice.clusters not in table:
        raise DataError(
            f"no column {choice.clusters!r} to take clusters from",
            where=where,
            expected=f"one of {', '.join(table.columns)}",
            near=nearest(choice.clusters, table.columns),
        )
    for prompt, cluster in zip(table["id"], table[choice.clusters], strict=True):
        if pd.isna(cluster) or not str(cluster).strip():
            seen = f"nothing for the prompt {prompt!r}"
            raise DataError(f"{choice.clusters} names no cluster", where=where, seen=seen)
    return choice.clusters


def _joined(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _listed(columns: Iterable[str]) -> str:
    names = list(columns)
    return ("column " if len(names) == 1 else "columns ") + ", ".join(names)
