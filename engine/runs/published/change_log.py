"""What moved between two publications of an investigation: `published/changes.jsonl`, a line for each.

`engine publish` appends the line, which is committed with the numbers and reads in a diff; so a site says the
same whether it is built from a clone with its history or without. A line has the day, how many numbers moved,
the verdicts that flipped, and the numbers whose intervals exclude each other, at most 20 of them. It has a
digest: one that was edited by hand is shown as such.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from engine.runs.published.changes import (
    EvidenceChanges,
    EvidenceState,
    NumberChange,
    VerdictChange,
    changes_between,
    published_state,
)
from engine.runs.published.digests import is_sealed, sealed
from engine.runs.published.read import read_published
from engine.runs.published.revisions import publications_of, read_out, slugs_at
from engine.runs.published.rounding import rounded

FILE = "changes.jsonl"
MOST_NUMBERS = 20
PLACE = ("changes",)
"""What the digest of a line is bound to; the investigation may be renamed."""


@dataclass(frozen=True)
class ChangeLogEntry:
    """One publication: its day, and its commit where the line was made of the git history.

    `moved` and `intervals` count numbers whose value, and whose interval alone, is another; `excluding` those
    whose intervals exclude each other, of which `numbers` are the first. `came` and `went` count numbers by
    entry. `fault` says why a line is not believed, empty where it is.
    """

    date: str
    revision: str = ""
    moved: int = 0
    intervals: int = 0
    excluding: int = 0
    came: Mapping[str, int] = field(default_factory=dict)
    went: Mapping[str, int] = field(default_factory=dict)
    verdicts: tuple[VerdictChange, ...] = ()
    numbers: tuple[NumberChange, ...] = ()
    fault: str = ""

    @property
    def flipped(self) -> list[VerdictChange]:
        """The verdicts that changed from one that was reached to another that was."""
        return [verdict for verdict in self.verdicts if "" not in (verdict.before, verdict.after)]


def entry_from_changes(changes: EvidenceChanges, date: str, revision: str = "") -> ChangeLogEntry:
    """A line of the log; verdicts that came or went with their claim are left to the counts of numbers."""
    excluding = changes.excluding
    return ChangeLogEntry(
        date,
        revision,
        len(changes.moved),
        len(changes.numbers) - len(changes.moved),
        len(excluding),
        _by_experiment(changes.came),
        _by_experiment(changes.went),
        tuple(changes.flipped),
        tuple(excluding[:MOST_NUMBERS]),
    )


def line_of(entry: ChangeLogEntry) -> str:
    """The entry as a line of the file, without what is empty."""
    data = {name: value for name, value in asdict(entry).items() if value or name == "date"}
    data |= {"numbers": [rounded(number) for number in data.get("numbers", [])]} if entry.numbers else {}
    plain = json.loads(json.dumps(data))
    return json.dumps(sealed(plain, PLACE), sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read_change_log(folder: Path) -> list[ChangeLogEntry]:
    """The publications of a `published` folder, oldest first; a line that cannot be read says so."""
    path = folder / FILE
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [_entry_from(line, number) for number, line in enumerate(lines, 1) if line.strip()]


def append_change(folder: Path, before: EvidenceState, date: str) -> ChangeLogEntry | None:
    """Note in a `published` folder what it has otherwise than `before`; None where nothing moved."""
    changes = changes_between(before, published_state(read_published(folder)))
    if changes.is_empty:
        return None
    entry = entry_from_changes(changes, date)
    with (folder / FILE).open("a", encoding="utf-8", newline="\n") as out:
        out.write(line_of(entry))
    return entry


def log_from_history(root: Path, slug: str) -> list[ChangeLogEntry]:
    """The log as the git history has it: a line for each commit that moved a published number, oldest first.

    EngineError where the project is no git checkout.
    """
    entries = []
    before = EvidenceState()
    with TemporaryDirectory(prefix="engine-history-") as scratch:
        for commit in publications_of(root, slug):
            files = slugs_at(root, commit).get(slug, [])
            folder = read_out(root, commit, slug, files, Path(scratch) / commit.revision)
            after = published_state(read_published(folder / "published"))
            changes = changes_between(before, after)
            if not changes.is_empty:
                entries.append(entry_from_changes(changes, commit.date, commit.revision))
            before = after
    return entries


def _by_experiment(entries: Mapping[str, int]) -> dict[str, int]:
    """Numbers by experiment and model, points of a sweep counted together."""
    sums: dict[str, int] = {}
    for entry, count in entries.items():
        label, _, model = entry.rpartition(" on ")
        name = f"{label.partition('[')[0]} on {model}"
        sums[name] = sums.get(name, 0) + count
    return sums


def _entry_from(line: str, number: int) -> ChangeLogEntry:
    """An entry from its line, every part of the type that it should have."""
    try:
        data = json.loads(line)
        entry = ChangeLogEntry(
            date=_text(data["date"]),
            revision=_text(data.get("revision", "")),
            moved=int(data.get("moved", 0)),
            intervals=int(data.get("intervals", 0)),
            excluding=int(data.get("excluding", 0)),
            came=_counts(data.get("came", {})),
            went=_counts(data.get("went", {})),
            verdicts=tuple(VerdictChange(**v) for v in _records(data, "verdicts")),
            numbers=tuple(_number(n) for n in _records(data, "numbers")),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return ChangeLogEntry("", fault=f"line {number} of {FILE} cannot be read ({type(error).__name__})")
    if is_sealed(data, PLACE):
        return entry
    return ChangeLogEntry(entry.date, fault=f"line {number} of {FILE} was edited since it was written")


def _records(data: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]:
    for record in data.get(name, []):
        if not all(isinstance(value, str | int | float | bool | None) for value in record.values()):
            raise TypeError(name)
        yield record


def _number(record: Mapping[str, Any]) -> NumberChange:
    ends = ("before", "before_low", "before_high", "after", "after_low", "after_high")
    floats = {name: None if record[name] is None else float(record[name]) for name in ends}
    return NumberChange(**{**record, **floats})


def _counts(value: Mapping[str, Any]) -> dict[str, int]:
    return {_text(name): int(count) for name, count in value.items()}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
