"""Prompt sets: pairs, prompts with answers, contrasts, labelled texts and chat requests, wherever they are
from.

A set is packaged, a file of a person's own, a dataset of the hub, or written into the spec. A pair asks for
`answer` in its clean prompt and for `wrong_answer` in its corrupted one. Answers begin with the space they
need. Whatever a prompt contains (markup, Markdown, template syntax) is data, and the model reads it to the
letter.

Prompts of one cluster (a relation, a topic, a template, a subject) resemble each other: twenty capitals are
not twenty independent observations of how facts are recalled. A set says which column holds the clusters.

A prompt is what it says, not what it is called: each stands once in a set, whatever its ids (`prompt_kinds`).
Where a file has no ids, a prompt's is made of its content, so that it is the same wherever the row stands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from engine.data.hub_datasets import ID
from engine.data.hub_prompts import HubPrompts
from engine.data.prompt_checks import check_rows, columns_for, identity_of
from engine.data.prompt_kinds import KINDS, PromptColumns
from engine.data.rows import READERS, Cells, Place, Row, read_rows, rows_of_spec
from engine.data.subjects import as_spelled_in
from engine.data.text_files import read_bytes
from engine.errors import DataError, nearest
from engine.spec.document import dotted
from engine.spec.inputs import ANSWERS, LABELLED, PAIRS, PromptKind
from engine.spec.models import PromptChoice
from engine.spec.repository_files import inside, with_home

CLUSTER_COLUMNS = ("relation", "template", "subject", "document", "topic")
"""The columns that clusters are looked for in, where the spec names none."""
PACKAGED = Path(__file__).parent / "prompts"
ID_DIGITS = 12


@dataclass(frozen=True)
class PromptSet:
    """The chosen prompts of one set.

    `table` has the columns id and those of its kind, then any others of the file; prompts with answers have
    theirs as `clean`. `hash` covers the whole file. `cluster_column` is the column whose equal entries make
    prompts one cluster; without one, each prompt is a cluster of its own.
    """

    name: str
    table: pd.DataFrame
    hash: str
    source: str
    cluster_column: str = ""
    kind: PromptKind = PAIRS

    @property
    def amount(self) -> str:
        """How many prompts these are, in words."""
        return f"{len(self.table):,} {KINDS[self.kind].noun}"

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


def in_prompts(loc: tuple[str | int, ...]) -> str:
    """Where something stands in `prompts:`, where no spec is on disk: `prompts.rows[2].answer`."""
    return dotted(("prompts", *loc))


def load_prompts(
    choice: PromptChoice, base: Path, kind: PromptKind = PAIRS, place: Place = in_prompts
) -> PromptSet:
    """The prompts that a spec chose, for a family that reads this kind; files are relative to `base`.

    `choice.limit` takes as evenly from the relations (labels, topics) as it can, in the order of the file.
    DataError names file and line of the first row that cannot be used; `place` says where in the spec
    something stands. WrongPromptKind where the rows are of another kind, DataUnavailable where the hub must
    be asked and does not answer.
    """
    found = _source(choice, base)
    rows = _renamed(found.rows(place), choice, found.where, place)
    columns = columns_for(kind, rows)
    rows = [_prepared(row, columns) for row in rows]
    check_rows(rows, columns)
    table = _table(rows, columns, found.stem)
    chosen = _choose(table, choice, columns, found.where, place)
    written = [str(name) for name in dict.fromkeys(name for row in rows for name in row.cells)]
    column = _cluster_column(chosen, choice, f"{found.where}: {', '.join(written)}", place)
    return PromptSet(choice.label, chosen, found.hash, found.source, column, columns.kind)


def data_hash(choice: PromptChoice, base: Path) -> str:
    """SHA-256 of what `load_prompts` would read, for a run's key: of the file's bytes, of the rows in the
    spec, of a dataset's id and commit."""
    return _source(choice, base).hash


@dataclass(frozen=True)
class _Source:
    """Where a set's rows are; `where` and `source` name that for an error and for a page."""

    choice: PromptChoice
    where: str
    source: str
    stem: str
    hash: str
    path: Path | None = None
    hub: HubPrompts | None = None

    def rows(self, place: Place) -> list[Row]:
        if self.hub:
            return self.hub.table()
        return read_rows(self.path) if self.path else rows_of_spec(self.choice.rows or (), place)


def _source(choice: PromptChoice, base: Path) -> _Source:
    name = choice.name
    path = None if name is None else _own_path(name, base)
    # A folder of that name, or a file of another format, is no dataset of the hub.
    if name and path and ID.fullmatch(name) and path.suffix.lower() not in READERS and not path.exists():
        hub = HubPrompts(name, name, choice.configuration, choice.split or "train").at_commit()
        source = f"{hub.place}, at {hub.revision}, from the Hugging Face hub"
        return _Source(choice, hub.place, source, path.name, hub.hash, hub=hub)
    _require_no_split(choice)
    if name is None or path is None:
        return _Source(choice, "the rows in the spec", "written in the spec", "rows", choice.rows_hash)
    if name in prompt_set_names():
        path = PACKAGED / f"{name}.jsonl"
        return _Source(choice, str(path), "packaged with the engine", name, _file_hash(path), path)
    if path.suffix.lower() in READERS:
        return _Source(choice, str(path), f"the file {name}", path.stem, _file_hash(path), path)
    if path.exists():
        seen = "a folder" if path.is_dir() else path.suffix or "a file without a suffix"
        formats = f"a {', '.join(READERS)} file"
        raise DataError("not a file of prompts", where=str(path), expected=formats, seen=seen)
    packaged = prompt_set_names()
    raise DataError(
        f"no prompt set {name!r}",
        expected=f"{', '.join(packaged)}, the path of a {', '.join(READERS)} file, or a hub dataset's id "
        "(org/name)",
        near=nearest(name, packaged),
    )


def _own_path(name: str, base: Path) -> Path:
    """The path that a name would be; DataError where it leads out of the repository that `base` is in."""
    return inside(base / with_home(name), base, DataError, f"prompts of {base}")


def _require_no_split(choice: PromptChoice) -> None:
    """DataError where a part of a dataset is asked of what is none."""
    for key in ("split", "configuration"):
        if getattr(choice, key) is not None:
            raise DataError(
                f"{choice.label} has no {key}",
                expected=f"{key} with a dataset of the hub (org/name) only",
                seen=str(getattr(choice, key)),
            )


def _file_hash(path: Path) -> str:
    return hashlib.sha256(read_bytes(path)).hexdigest()


def _renamed(rows: list[Row], choice: PromptChoice, where: str, place: Place) -> list[Row]:
    """The rows with the file's columns under the names that the engine has for them."""
    if not choice.columns:
        return rows
    present = {str(name) for row in rows for name in row.cells}
    for name, theirs in choice.columns.items():
        lacking = next((row for row in rows if theirs not in row.cells), None)
        if lacking is not None:
            raise DataError(
                f"no column {theirs!r} to read as {name}",
                # A row that lacks what others have is at fault; what none has is misspelt in the spec.
                where=lacking.where if theirs in present else place(("columns", name)),
                expected=f"a column of {where}: {', '.join(sorted(present))}",
                near=nearest(theirs, present),
            )
    ours = {theirs: name for name, theirs in choice.columns.items()}
    return [_row_renamed(row, ours) for row in rows]


def _row_renamed(row: Row, ours: Mapping[str, str]) -> Row:
    # What goes by one of our names in the file gives way to what is to be read as it.
    taken = set(ours.values()) - set(ours)
    kept = {name: cell for name, cell in row.cells.items() if name not in taken}
    cells = {ours.get(name, name): cell for name, cell in kept.items()}
    places = {ours.get(name, name): row.at(name) for name in kept if name in row.cell_places}
    return replace(row, cells=cells, cell_places=places)


def _prepared(row: Row, columns: PromptColumns) -> Row:
    """The row with what a natural way of writing leaves out: labels as text, the space before an answer."""
    cells = dict(row.cells)
    if columns.kind == LABELLED and isinstance(cells.get("label"), bool | int):
        cells["label"] = str(cells["label"]).lower()
    if columns.kind == ANSWERS:
        for column in ("answer", "wrong_answer"):
            if column in cells:
                cells[column] = _with_space(cells.get("prompt"), cells[column])
    return replace(row, cells=cells)


def _with_space(prompt: object, answer: object) -> object:
    """The answer with a space before it where it would run into the prompt's last word.

    `The capital of France is` and `Paris` are how a person writes the two. Many scripts have no spaces, so
    that only letters and digits of ASCII tell.
    """
    if not (isinstance(prompt, str) and isinstance(answer, str) and prompt and answer):
        return answer
    edge = prompt[-1] + answer[0]
    return f" {answer}" if edge.isascii() and edge.isalnum() else answer


def _table(rows: Sequence[Row], columns: PromptColumns, stem: str) -> pd.DataFrame:
    """The rows as a table: ids first, subjects as their prompts spell them."""
    cells = [_subjects_as_spelled(row.cells, columns) for row in rows]
    first = () if "id" in columns.required else ("id",)
    names = dict.fromkeys([*first, *columns.required, *(name for row in cells for name in row)])
    table = pd.DataFrame(cells, columns=list(names))
    if not any("id" in row for row in cells):
        table["id"] = [_content_id(row, columns) for row in rows]
    if columns.kind != ANSWERS:
        return table
    # A prompt alone is the clean one of a pair that has no other. Without relations all are of one.
    table = table.rename(columns={"prompt": "clean"})
    return table if "relation" in table else table.assign(relation=stem)


def _content_id(row: Row, columns: PromptColumns) -> str:
    """An id made of what a row says: the same in whatever order the rows stand."""
    # With a separator that no text has, so that two columns are not taken for one text.
    return hashlib.sha256("\0".join(identity_of(row, columns)).encode()).hexdigest()[:ID_DIGITS]


def _subjects_as_spelled(cells: Cells, columns: PromptColumns) -> Cells:
    """The cells with each subject as its prompt spells it, so that its tokens can be found there."""
    found = {
        part: as_spelled_in(str(cells[whole]), str(cells[part]))
        for part, whole in columns.parts.items()
        if part in cells
    }
    return cells | found


def _choose(
    table: pd.DataFrame, choice: PromptChoice, columns: PromptColumns, where: str, place: Place
) -> pd.DataFrame:
    chosen = table
    if choice.relations is not None:
        relations = list(map(str, table["relation"].unique())) if "relation" in table else []
        for i, name in enumerate(choice.relations):
            if name not in relations:
                raise DataError(
                    f"no relation {name!r}",
                    where=place(("relations", i)),
                    expected=f"one of {', '.join(relations)}"
                    if relations
                    else f"a column relation in {where}",
                    seen="" if relations else ", ".join(map(str, table.columns)),
                    near=nearest(name, relations),
                )
        wanted = set(choice.relations)
        rows = [row for row, relation in enumerate(table["relation"]) if relation in wanted]
        chosen = table.iloc[rows]
    found = [next((c for c in names if c in chosen), "") for names in columns.strata]
    return _taken_evenly(chosen, [column for column in found if column], choice.limit)


def _taken_evenly(table: pd.DataFrame, strata: Sequence[str], limit: int | None) -> pd.DataFrame:
    """At most `limit` rows, as evenly as can be from the first stratum, within it from the second; in the
    order of the file."""
    order = table
    # From the innermost outwards: the turns of a label are then taken in the turns of its topics.
    for depth in range(len(strata), 0, -1):
        # By their text: a column that need not be there may have anything in it.
        groups = [order[column].astype(str) for column in strata[:depth]]
        order = order.loc[order.groupby(groups).cumcount().sort_values(kind="stable").index]
    return table.loc[sorted(order.index[:limit])].reset_index(drop=True)


def _cluster_column(table: pd.DataFrame, choice: PromptChoice, columns: str, place: Place) -> str:
    """The column that holds the clusters: the one the spec names, else the first that tells prompts apart.

    `columns` names the file and its columns, for an error.
    """
    if choice.clusters is None:
        # A column with one entry throughout (the set's only relation) would make all prompts one cluster,
        # of which nothing can be held out: the next one is looked at.
        several = (c for c in CLUSTER_COLUMNS if c in table and len(set(map(str, table[c]))) > 1)
        return next(several, "")
    if choice.clusters not in table:
        raise DataError(
            f"no column {choice.clusters!r} to take clusters from",
            where=place(("clusters",)),
            expected=f"a column of {columns}",
            near=nearest(choice.clusters, map(str, table.columns)),
        )
    for prompt, cluster in zip(table["id"], table[choice.clusters], strict=True):
        # A nested column of a parquet file is no label.
        nested = not pd.api.types.is_scalar(cluster)
        if nested or pd.isna(cluster) or not str(cluster).strip():
            seen = f"{type(cluster).__name__ if nested else 'nothing'} for the prompt {prompt!r}"
            raise DataError(f"{choice.clusters} names no cluster", where=place(("clusters",)), seen=seen)
    return choice.clusters
