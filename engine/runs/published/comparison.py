"""What is published beside the very run that it is of, where the run store still has it: value by value.

A digest tells what was edited by hand. It does not tell which number that was, nor that somebody who edited a
number made the digest anew; the run itself does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from engine.errors import StoreError
from engine.runs.ledger import Difference, DisplayItem, Entry, PublishedFault
from engine.runs.published.csv_tables import table_bytes
from engine.runs.published.digests import DIGEST, table_digest
from engine.runs.published.read import PublishedEvidence, PublishedRun, file_stem
from engine.runs.published.write import run_data
from engine.runs.store.record import StoredRun
from engine.runs.store.store import RunStore

COMPARED = ("measurements", "checks", "tables")
"""Parts of a published run that its own run decides; the others are in words, and have the digest."""
SAID_OF_FILES = ("file", "note", DIGEST)
"""What is said of a table's file: it depends on what the text shows. The file itself is compared."""
NOTHING = "nothing"
NOT_ITS_RUN = "is not what its own run here measured: engine publish writes it anew"
RunKey = tuple[str, str]  # label, model


@dataclass(frozen=True)
class PublishedCopies:
    """What is published, and how it differs from the runs that it is of, as far as the store has them.

    `differing` has an item for each published run that was compared, empty where the two are equal;
    `n_compared` counts their numbers.
    """

    evidence: PublishedEvidence
    differing: Mapping[RunKey, Sequence[Difference]]
    n_compared: int

    def doubt(self, label: str, model: str) -> str:
        """Why a published run is not shown, as far as its own run says so; empty where it does not."""
        differing = self.differing.get((label, model))
        return f"what is published is not what its own run measured ({told(differing)})" if differing else ""

    def faults(self) -> Iterator[PublishedFault]:
        """What is not believed of what is published, with the values that differ where those are known."""
        named: set[RunKey] = set()
        for fault in self.evidence.faults:
            mine = [run for run in self.differing if run not in named and _is_about(fault, *run)]
            named.update(mine)
            yield replace(fault, differences=tuple(d for run in mine for d in self.differing[run]))
        for (label, model), differing in self.differing.items():
            if differing and (label, model) not in named:
                yield PublishedFault(_json_file(model), f"runs.{label}", NOT_ITS_RUN, tuple(differing))


def published_copies(
    evidence: PublishedEvidence, store: RunStore, entry_of: Callable[[StoredRun], Entry]
) -> PublishedCopies:
    """Every published run beside its own one; `entry_of` gives a run of the store as it would be shown."""
    differing: dict[RunKey, Sequence[Difference]] = {}
    n_compared = 0
    for (label, model), run in evidence.runs.items():
        own = _own_run(run, store)
        # Damaged, or from before evidence had a field that it has now: nothing can be said of it.
        with suppress(StoreError):
            entry = entry_of(own) if own else None
            # One whose check fails by a limit of today has no numbers, and is told as such.
            if entry is not None and entry.state == "measured":
                # It may have been measured under another name.
                entry = replace(entry, experiment=run.experiment, point=run.point, model=model)
                differing[label, model] = differences(run, entry)
                n_compared += len(run.data["measurements"])
    return PublishedCopies(evidence, differing, n_compared)


def differences(run: PublishedRun, own: Entry) -> list[Difference]:
    """Each value that is published otherwise than its own run would be published today."""
    shown = {name for name, table in run.data["tables"].items() if table.get("file")}
    asked = {DisplayItem(own.label, own.model, "tables", name) for name in shown}
    fresh, files = run_data(own, asked)
    found = []
    for part in COMPARED:
        published = dict(_leaves(run.data.get(part, {})))
        here = dict(_leaves(fresh[part]))
        for name in sorted(published.keys() | here.keys()):
            if part == "tables" and name.rpartition(".")[2] in SAID_OF_FILES:
                continue
            then = published.get(name, NOTHING)
            now = here.get(name, NOTHING)
            if then != now:
                found.append(Difference(f"{own.label}.{part}.{name}", own.model, str(then), str(now)))
    return [*found, *_changed_files(run, own, files)]


def told(differing: Sequence[Difference]) -> str:
    """The first difference in words, and how many more there are."""
    first = differing[0]
    more = f"; and {len(differing) - 1} more" if len(differing) > 1 else ""
    return f"{first.name}: published {first.published}, measured {first.here}{more}"


def _own_run(run: PublishedRun, store: RunStore) -> StoredRun | None:
    """The run that was published, if the store has it and knows of no damage."""
    # A key that was measured twice has two dates. Damage that nobody met yet is met when the run is loaded.
    same = [stored for stored in store.of_key(run.provenance.key) if stored.date == run.provenance.date]
    return next((stored for stored in same if not stored.damage), None)


def _json_file(model: str) -> str:
    return f"published/{file_stem(model)}.json"


def _is_about(fault: PublishedFault, label: str, model: str) -> bool:
    """Whether a fault lies in a published run, or in a table of it."""
    if fault.file == _json_file(model):
        return fault.part in ("", f"runs.{label}")
    return fault.file.startswith(f"published/{file_stem(model)}.{file_stem(label)}.")


def _changed_files(run: PublishedRun, own: Entry, files: Mapping[str, bytes]) -> Iterator[Difference]:
    """Tables whose file is not what the run's table would be written as: the first line that differs."""
    for name, table in run.data["tables"].items():
        # Only a name that is expected is read, so that none leads elsewhere.
        file = str(table.get("file", ""))
        expected = files.get(file)
        if expected is None or not (run.folder / file).is_file():
            continue
        content = table_bytes(run.folder, file)
        if table_digest(content) != table_digest(expected):
            line, then, now = _first_difference(content, expected)
            yield Difference(f"{own.label}.tables.{name} (line {line})", own.model, then, now)


def _first_difference(content: bytes, expected: bytes) -> tuple[int, str, str]:
    """The first line that differs, from 1, as it is published and as it would be."""
    lines = [text.decode(errors="replace").splitlines() for text in (content, expected)]
    for number in range(max(map(len, lines))):
        then, now = (text[number] if number < len(text) else NOTHING for text in lines)
        if then != now:
            return number + 1, then, now
    return 1, "other line ends", "as written"


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a tree with the way to it, `score.value`."""
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list):
        # Checks are known by name, whichever place they have.
        items = [
            (item.get("name", i) if isinstance(item, Mapping) else i, item) for i, item in enumerate(value)
        ]
    else:
        yield path, value
        return
    for name, item in items:
        yield from _leaves(item, f"{path}.{name}" if path else str(name))
