"""A run's folder is evidence, or says which file is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.errors import StoreError
from engine.runs.planning.code_hash import digest
from engine.runs.planning.keys import canonical
from engine.runs.store import run_folder
from engine.runs.store.record import StoredRun
from tests.runs.store.test_store import a_record, a_result


def written(store_folder: Path) -> StoredRun:
    """Run 1 of a store, without its database."""
    folder = store_folder / "runs" / "1"
    folder.mkdir(parents=True)
    return StoredRun(1, a_record(), run_folder.write_run(folder, a_record(), a_result()))


def change(store_folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change what result.json says, and its digest with it, as another engine would have written it."""
    path = store_folder / "runs" / "1" / run_folder.RESULT
    data = json.loads(path.read_text())
    del data["digest"]
    edit(data)
    path.write_text(json.dumps(data | {"digest": digest(canonical(data))}))


def test_evidence_that_has_other_fields_than_today_counts_as_damaged(tmp_path: Path) -> None:
    """As from a version of the engine whose measurements had a field that is gone."""
    run = written(tmp_path)
    change(tmp_path, lambda data: data["measurements"][0].update(colour="green"))
    _, files = run_folder.read_record(run_folder.path_of(tmp_path, run))
    with pytest.raises(StoreError, match=r"result\.json(?s:.)*colour(?s:.)*measured anew"):
        run_folder.load_run(tmp_path, replace(run, files=files))


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    run = written(tmp_path)
    assert run_folder.load_run(tmp_path, run).measurements == a_result().measurements
    # A run may be used under another name than it was measured under.
    renamed = replace(run.record, name=replace(run.record.name, experiment="other"))
    assert run_folder.load_run(tmp_path, replace(run, record=renamed)).findings


def test_a_row_of_the_database_that_says_something_else_is_no_row_of_this_run(tmp_path: Path) -> None:
    run = written(tmp_path)
    inputs = replace(run.record.inputs, experiment={"family": "lens", "parameters": {"k": 9}})
    other = replace(run, record=replace(run.record, inputs=inputs))
    with pytest.raises(StoreError, match=r"run 1 .*damaged(?s:.)*another run than the database says"):
        run_folder.load_run(tmp_path, other)


def test_numbers_changed_in_a_result_are_told_where_the_database_was_lost(tmp_path: Path) -> None:
    folder = run_folder.path_of(tmp_path, written(tmp_path))
    assert run_folder.read_record(folder)[0] == a_record()
    path = folder / run_folder.RESULT
    whole = path.read_text()
    assert '"value": 2.5' in whole
    for changed in (whole.replace('"value": 2.5', '"value": 3.5'), whole.replace('"digest"', '"digesu"')):
        path.write_text(changed)
        with pytest.raises(StoreError, match="not what was written"):
            run_folder.read_record(folder)
    path.write_text(json.dumps(json.loads(whole)))  # spaces are no numbers
    assert run_folder.read_record(folder)[0] == a_record()


def test_a_result_from_before_digests_is_read_as_it_is(tmp_path: Path) -> None:
    folder = run_folder.path_of(tmp_path, written(tmp_path))
    path = folder / run_folder.RESULT
    data = json.loads(path.read_text())
    del data["digest"]
    path.write_text(json.dumps(data | {"format": run_folder.UNPROVED_FORMAT}))
    record, files = run_folder.read_record(folder)
    assert run_folder.load_run(tmp_path, StoredRun(1, record, files)).findings


def test_large_files_are_hashed_only_where_a_thorough_look_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = written(tmp_path)
    folder = run_folder.path_of(tmp_path, run)
    monkeypatch.setattr(run_folder, "HASHED_BYTES", 10)
    content = bytearray((folder / run_folder.ARRAYS).read_bytes())
    content[-1] ^= 1
    (folder / run_folder.ARRAYS).write_bytes(content)
    assert run_folder.damage(folder, run.files) == ""
    assert "is not what was written" in run_folder.damage(folder, run.files, thorough=True)
