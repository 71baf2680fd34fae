"""A published number beside the run that it is of: whoever edits it is found out by the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.runs.published.comparison import NOT_ITS_RUN
from engine.runs.published.digests import table_digest
from engine.runs.published.read import EDITED
from engine.runs.published.write import write_published
from tests.runs.published.resealing import resealed

CLAIMS = {"more": {"holds": "count.score > count.chance"}}


@pytest.fixture
def folder(toy: Any) -> Path:
    """What the toy project has published, its runs still in the store."""
    toy.spec(claims=CLAIMS, count={}, other={"parameters": {"k": 2}})
    place = toy.root / "investigations/words/published"
    write_published(toy.ledger(), place)
    return place


def edit(folder: Path, change: Callable[[dict[str, Any]], None], *, forged: bool = False) -> None:
    """Edit the published file; `forged` makes every digest anew."""
    path = folder / "tiny.json"
    data = json.loads(path.read_text())
    change(data)
    data = resealed(data) if forged else data
    path.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")


def to_999(data: dict[str, Any]) -> None:
    data["runs"]["count"]["measurements"]["score"]["value"] = 999.0


def test_what_was_published_is_what_its_runs_measured(toy: Any, folder: Path) -> None:
    ledger = toy.ledger()
    assert ledger.faults == ()
    assert ledger.copied == 6  # three numbers of two runs
    assert ledger.changed_verdicts == ()


@pytest.mark.parametrize("forged", [False, True])
def test_an_edited_number_is_named_with_what_its_run_measured(toy: Any, folder: Path, forged: bool) -> None:
    edit(folder, to_999, forged=forged)
    (fault,) = toy.ledger().faults
    assert (fault.file, fault.part) == ("published/tiny.json", "runs.count")
    assert fault.why == (NOT_ITS_RUN if forged else EDITED)
    (difference,) = fault.differences
    assert (difference.name, difference.model) == ("count.measurements.score.value", "tiny")
    assert (difference.published, difference.here) == ("999.0", "25.5")


def test_numbers_that_were_taken_out_or_put_in_are_named_too(toy: Any, folder: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        numbers = data["runs"]["count"]["measurements"]
        numbers["best"] = numbers.pop("score")

    edit(folder, change, forged=True)
    (fault,) = toy.ledger().faults
    names = {d.name: (d.published, d.here) for d in fault.differences}
    assert names["count.measurements.best.value"] == ("25.5", "nothing")
    assert names["count.measurements.score.value"] == ("nothing", "25.5")


@pytest.mark.parametrize("forged", [False, True])
def test_an_edited_table_is_named_with_its_first_line_that_differs(
    toy: Any, folder: Path, forged: bool
) -> None:
    table = folder / "tiny.count.words.csv"
    table.write_text(table.read_text().replace("w3,19,", "w3,999,"))

    def change(data: dict[str, Any]) -> None:
        data["runs"]["count"]["tables"]["words"]["digest"] = table_digest(table.read_bytes())

    if forged:
        edit(folder, change, forged=True)
    (fault,) = toy.ledger().faults
    assert fault.file == ("published/tiny.json" if forged else "published/tiny.count.words.csv")
    (difference,) = fault.differences
    assert difference.name == "count.tables.words (line 5)"
    assert difference.published.startswith("w3,999,") and difference.here.startswith("w3,19,")


def test_a_forged_number_of_a_stale_run_is_not_shown_where_the_run_is_here(toy: Any, folder: Path) -> None:
    edit(folder, to_999, forged=True)
    toy.edit("engine/lab/tools.py", "2 * k", "3 * k")
    ledger = toy.ledger(budget=0.0)
    states = {entry.label: entry.state for entry in ledger.entries}
    assert states == {"count": "unmeasured", "other": "published"}
    reason = ledger.entries[0].reason
    assert "what is published is not what its own run measured" in reason
    assert "published 999.0, measured 25.5" in reason
    assert ledger.verdicts["tiny"]["more"].verdict == "unmeasured"


def test_a_run_that_is_not_in_the_store_is_not_compared(toy: Any, folder: Path) -> None:
    edit(folder, to_999, forged=True)
    with toy.store() as store:
        store.remove(store.runs())
    ledger = toy.ledger(budget=0.0)
    assert (ledger.faults, ledger.copied) == ((), 0)


def test_a_damaged_run_says_nothing_of_what_is_published(toy: Any, folder: Path) -> None:
    toy.edit("engine/lab/tools.py", "2 * k", "3 * k")
    (toy.root / ".engine/runs/1/result.json").write_text("{")
    ledger = toy.ledger(budget=0.0)
    assert (ledger.faults, ledger.copied) == ((), 3)


def test_an_edited_verdict_is_told_and_what_is_judged_here_beside_it(toy: Any, folder: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        data["verdicts"]["more"]["verdict"] = "contradicted"

    edit(folder, change)
    ledger = toy.ledger()
    (fault,) = ledger.faults
    assert fault.part == "verdicts.more"
    (changed,) = ledger.changed_verdicts
    assert (changed.name, changed.published, changed.here) == ("claims.more", "contradicted", "supported")


def test_a_run_published_under_another_name_is_its_own_run_all_the_same(toy: Any, folder: Path) -> None:
    toy.spec(claims={}, renamed={}, other={"parameters": {"k": 2}})
    write_published(toy.ledger(), folder)
    assert toy.ledger().faults == ()
