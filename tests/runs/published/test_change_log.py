"""The change log of an investigation: a line for each publication, committed, sealed, and read back."""

from __future__ import annotations

import json

from engine.runs.published.change_log import (
    FILE,
    MOST_NUMBERS,
    ChangeLogEntry,
    entry_from_changes,
    line_of,
    log_from_history,
    read_change_log,
)
from engine.runs.published.changes import EvidenceChanges, NumberChange, VerdictChange
from engine.runs.published.write import write_published
from tests.runs.toy import Toy


def moved(name: str = "count.score", excludes: bool | None = True) -> NumberChange:
    return NumberChange(name, "tiny", "finding", 1.23456789, 1.0, 2.0, 3.0, 2.5, 4.0, excludes)


def test_a_line_is_read_back_as_it_was_written(tmp_path) -> None:
    flipped = VerdictChange("more", "tiny", "supported", "contradicted", False)
    new = VerdictChange("other", "tiny", "", "supported", False)
    changes = EvidenceChanges((moved(), moved("count.b", None)), (flipped, new), {"count[k=1] on tiny": 2})
    (tmp_path / FILE).write_text(line_of(entry_from_changes(changes, "2026-01-31", "abc123")))
    (entry,) = read_change_log(tmp_path)
    assert (entry.date, entry.revision, entry.moved, entry.excluding) == ("2026-01-31", "abc123", 2, 1)
    assert entry.verdicts == (flipped,)
    assert entry.came == {"count on tiny": 2}
    (number,) = entry.numbers
    assert (number.before, number.after, number.excludes) == (1.23457, 3.0, True)  # as it is published


def test_a_line_names_so_many_numbers_and_counts_all() -> None:
    changes = EvidenceChanges(tuple(moved(f"count.n{i}") for i in range(MOST_NUMBERS + 5)))
    entry = entry_from_changes(changes, "2026-01-31")
    assert (len(entry.numbers), entry.excluding) == (MOST_NUMBERS, MOST_NUMBERS + 5)


def test_a_line_that_was_edited_or_is_broken_says_so_and_the_others_stand(tmp_path) -> None:
    good = line_of(ChangeLogEntry("2026-01-31", moved=3))
    edited = good.replace('"moved": 3', '"moved": 4')
    wrong = json.dumps({"date": "2026-01-31", "numbers": [{"before": [[]]}]}) + "\n"
    (tmp_path / FILE).write_text(good + edited + "{\n" + wrong + '"text"\n' + good)
    log = read_change_log(tmp_path)
    assert [bool(entry.fault) for entry in log] == [False, True, True, True, True, False]
    assert log[1].fault == f"line 2 of {FILE} was edited since it was written"
    assert log[1].moved == 0  # nothing of it is shown


def test_publishing_adds_a_line_where_numbers_moved_and_none_where_nothing_did(toy: Toy) -> None:
    folder = toy.root / "investigations/words/published"
    write_published(toy.ledger(), folder)
    write_published(toy.ledger(), folder)
    (first,) = read_change_log(folder)
    assert (first.came, first.moved) == ({"count on tiny": 3}, 0)
    toy.count(k=0)
    toy.build()
    write_published(toy.ledger(), folder)
    _, second = read_change_log(folder)
    assert (second.moved, [n.name for n in second.numbers]) == (1, ["count.score"])


def test_a_folder_without_a_log_has_no_publications(tmp_path) -> None:
    assert read_change_log(tmp_path) == []


def test_the_history_gives_the_same_log_as_publishing_did(toy: Toy) -> None:
    from tests.commands.test_diff_of_revisions import commit, git

    folder = toy.root / "investigations/words/published"
    git(toy, "init", "-q")
    for k in (8, 0):
        toy.count(k=k)
        toy.build()
        write_published(toy.ledger(), folder)
        commit(toy, f"Publish k = {k}")
    told = [(e.moved, e.excluding, e.came, e.numbers) for e in read_change_log(folder)]
    history = log_from_history(toy.root, "words")
    assert [(e.moved, e.excluding, e.came, e.numbers) for e in history] == told
    assert all(entry.revision for entry in history)
