"""A run is in the store whole or not at all, and what comes back is what was put in."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from engine.errors import ResultError, StoreError
from engine.evidence.result import Check, Figure, Measurement, Result
from engine.runs.planning.keys import RunInputs
from engine.runs.store.record import RunName, RunRecord
from engine.runs.store.store import RunStore, StoredRun, open_store, rebuild


def a_result() -> Result:
    score = Measurement(
        "score", np.float64(2.5), 2.0, 3.0, 4, "prompt", samples=np.arange(4.0), replicates=np.ones(9)
    )
    table = pd.DataFrame({"text": ["<script>", "{{ x }}", None], "n": [1, 2, 3], "x": [0.1, np.nan, np.inf]})
    return Result(
        findings=[score, Measurement("n", 4, None, None, 4, "prompt", exact=True)],
        controls=[Measurement("chance", 1.0, None, None, 4, "prompt", note="few")],
        checks=[Check("good", 1e-9, 1e-5, "a = b"), Check("bad", float("nan"), 1e-5, "c = d")],
        tables={"per_prompt": table},
        figures={
            "f": Figure(
                "bar", "per_prompt", {"x": "n", "y": "x"}, "F", options={"top": cast(Any, np.int64(3))}
            )
        },
        arrays={"raw": np.arange(6, dtype="int32").reshape(2, 3).T, "flag": np.array([True, False])},
    )


def a_record(key: str = "k1", model: str = "tiny") -> RunRecord:
    inputs = RunInputs({"family": "lens", "parameters": {"k": 8}}, {"engine/x.py": "11"}, "aa", {}, {})
    provenance = {
        "key": key,
        "seconds": 1.5,
        "date": "2026-01-01T00:00:00+00:00",
        "peak_bytes": 5,
        "versions": {},
    }
    return RunRecord(RunName("facts", "lens", (("seed", 0), ("b", 1.5)), model), "lens", inputs, provenance)


def put(store: RunStore, key: str = "k1", result: Result | None = None) -> StoredRun:
    with store.lock(key) as lock:
        lock.log.write_text("it said this")
        return store.put(lock, a_record(key), result or a_result())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    with open_store(tmp_path) as store:
        yield store


def test_what_comes_back_is_what_was_put_in(store: RunStore) -> None:
    put(store)
    run = store.find("k1")
    assert run is not None
    assert run.record == a_record()
    assert store.log(run) == "it said this"
    before, after = a_result(), store.load(run)
    assert after.measurements == before.measurements
    assert np.array_equal(cast(Any, after.measurements["score"].replicates), np.ones(9))
    assert np.array_equal(cast(Any, after.measurements["score"].samples), np.arange(4.0))
    assert after.measurements["chance"].samples is None
    assert [c.passed for c in after.checks] == [True, False]
    assert after.figures == before.figures
    assert_frame_equal(after.tables["per_prompt"], before.tables["per_prompt"])
    assert {n: a.tolist() for n, a in after.arrays.items()} == {
        n: a.tolist() for n, a in before.arrays.items()
    }
    assert store.folder.joinpath("locks").exists()
    assert not list(store.folder.joinpath("locks").iterdir())


def test_ids_are_never_used_twice(store: RunStore) -> None:
    first = put(store)
    assert store.remove([first]) > 1000
    assert store.runs() == []
    assert not store.path(first).exists()
    assert put(store, "k2").id == 2


def spoil_missing(path: Path) -> None:
    path.unlink()


def spoil_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def spoil_flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def spoil_garbage(path: Path) -> None:
    path.write_text("{")


@pytest.mark.parametrize("name", ["result.json", "tables/per_prompt.parquet", "arrays.safetensors"])
@pytest.mark.parametrize("spoil", [spoil_missing, spoil_truncated, spoil_flipped, spoil_garbage])
def test_a_damaged_file_is_named_and_only_its_run_is_lost(store: RunStore, name: str, spoil: Any) -> None:
    run, other = put(store), put(store, "k2")
    spoil(store.path(run) / name)
    assert name in store.damage(run)
    with pytest.raises(StoreError, match=name):
        store.load(run)
    assert store.find("k1") is None
    assert store.find("k2") == other
    assert store.load(other).findings
    assert [r.damage != "" for r in store.runs()] == [True, False]


def test_damage_in_a_file_too_large_to_hash_at_a_plan_is_remembered_once_it_is_read(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = put(store)
    spoil_flipped(store.path(run) / "arrays.safetensors")
    monkeypatch.setattr("engine.runs.store.run_folder.HASHED_BYTES", 10)
    assert store.damage(run) == ""
    with pytest.raises(StoreError):
        store.load(run)
    assert store.find("k1") is None


def test_what_cannot_be_stored_is_refused_and_leaves_nothing(store: RunStore) -> None:
    class Anything:
        pass

    whole = a_result()
    for result in (
        Result(controls=whole.controls, tables={"t": pd.DataFrame({"x": [Anything()]})}),
        Result(controls=whole.controls, tables={"../t": pd.DataFrame({"x": [1]})}),
        Result(controls=whole.controls, arrays={"a": np.array([Anything()], dtype=object)}),
    ):
        with pytest.raises(ResultError):
            put(store, result=result)
    assert store.runs() == []
    assert list(store.folder.joinpath("runs").iterdir()) == []


def test_a_full_disk_loses_only_the_run_being_written(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = put(store)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(StoreError, match=r"disk is full.*(?s:.)*engine runs gc"):
            put(store, "k2")
    assert store.runs() == [first]
    assert [p.name for p in store.folder.joinpath("runs").iterdir()] == ["1"]
    assert put(store, "k2").id == 2


def test_a_run_renamed_but_not_recorded_is_recorded_by_the_next_store(
    store: RunStore, tmp_path: Path
) -> None:
    run = put(store)
    store.database.execute("DELETE FROM runs")
    (store.folder / "runs" / ".new-dead").mkdir()
    (store.folder / "runs" / ".old-9").mkdir()
    with open_store(tmp_path) as second:
        assert second.runs() == [run]
    assert [p.name for p in (store.folder / "runs").iterdir()] == ["1"]


def test_a_sweep_leaves_a_live_writer_alone(store: RunStore, tmp_path: Path) -> None:
    with store.lock("k1") as lock:
        open_store(tmp_path).database.close()
        assert lock.staging.is_dir()
        store.put(lock, a_record(), a_result())
    assert store.find("k1") is not None


@pytest.mark.parametrize("content", [b"garbage that is no database at all" * 40, None])
def test_a_broken_database_says_how_to_rebuild_and_is_rebuilt(tmp_path: Path, content: bytes | None) -> None:
    with open_store(tmp_path) as store:
        runs = [put(store, "k1"), put(store, "k2"), put(store, "k3")]
        spoil_garbage(store.path(runs[1]) / "result.json")
        spoil_truncated(store.path(runs[2]) / "arrays.safetensors")
    database = tmp_path / ".engine" / "runs.db"
    database.write_bytes(content or spoiled_pages(database))
    with pytest.raises(StoreError, match=r"runs\.db.*cannot be read(?s:.)*engine runs rebuild"):
        open_store(tmp_path)
    found, lost = rebuild(tmp_path)
    assert found == 2
    assert [Path(line.split()[0]).relative_to(tmp_path / ".engine/runs").parts[0] for line in lost] == [
        "2",
        "3",
    ]
    with open_store(tmp_path) as store:
        assert store.find("k1") == runs[0]
        assert put(store, "k4").id == 4
    assert list((tmp_path / ".engine").glob("runs.db.broken-*"))


def spoiled_pages(database: Path) -> bytes:
    """A database whose header is whole and whose tables are not."""
    content = bytearray(database.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    return bytes(content)


def test_a_lost_database_loses_no_run(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        run = put(store)
    for path in (tmp_path / ".engine").glob("runs.db*"):
        path.unlink()
    with open_store(tmp_path) as store:
        assert store.runs() == [run]


def test_a_store_of_another_version_is_left_alone(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.database.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=r"another version(?s:.)*format 99"):
        open_store(tmp_path)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the right to write everywhere that root has."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def locked(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A project with one run, in which nothing may be written."""
    root = Path(tempfile.mkdtemp())
    with open_store(root) as store:
        put(store)
    for path in (root, *root.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield root
    for path in (root, *root.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(root)


def test_a_read_only_store_can_be_read_and_says_why_it_cannot_be_measured_into(locked: Path) -> None:
    with as_nobody(), open_store(locked) as store:
        assert store.read_only
        run = store.find("k1")
        assert run is not None
        assert store.load(run).findings
        with pytest.raises(StoreError, match=r"read-only(?s:.)*chmod(?s:.)*--budget 0"), store.lock("k2"):
            pass
        with pytest.raises(StoreError, match=r"read-only"):
            store.remove([run])


def test_a_project_that_cannot_be_written_has_an_empty_store(locked: Path) -> None:
    with as_nobody(), open_store(locked / ".engine" / "runs") as store:
        assert store.runs() == []
        assert store.read_only


def test_superseded_runs_are_those_replaced_or_damaged(store: RunStore) -> None:
    old, damaged, new = put(store, "k1"), put(store, "k2"), put(store, "k3")
    spoil_missing(store.path(damaged) / "result.json")
    assert store.superseded() == [old, damaged]
    assert store.superseded(current={"k1"}) == [damaged]
    store.remove(store.superseded())
    assert store.runs() == [new]


def test_a_failure_is_remembered_until_the_run_succeeds(store: RunStore) -> None:
    name = a_record().name
    store.note_failure(name, "NaN", "the log")
    store.note_failure(name, "NaN again", "the log")
    assert [(n, f.reason) for n, f in store.failures().items()] == [(name, "NaN again")]
    put(store)
    assert store.failures() == {}


def test_an_unknown_run_names_those_there_are(store: RunStore) -> None:
    with pytest.raises(StoreError, match=r"no run 7(?s:.)*expected: the id of a run(?s:.)*no run is"):
        store.run(7)
    put(store)
    assert store.run(1).key == "k1"
    with pytest.raises(
        StoreError, match=r"no run 7(?s:.)*expected: the id of a run in this store, such as 1\n"
    ):
        store.run(7)


def test_a_run_that_is_proved_is_stale_from_then_on_if_it_is_damaged(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, damaged = put(store, "k1"), put(store, "k2")
    spoil_flipped(store.path(damaged) / "arrays.safetensors")
    monkeypatch.setattr("engine.runs.store.run_folder.HASHED_BYTES", 10)
    assert store.find("k2") == damaged
    store.prove([whole, damaged])
    assert store.find("k1") == whole
    assert store.find("k2") is None


def test_a_lost_database_takes_on_no_run_whose_numbers_were_changed(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        result = store.path(put(store)) / "result.json"
    result.write_text(result.read_text().replace('"value": 2.5', '"value": 3.5'))
    for path in (tmp_path / ".engine").glob("runs.db*"):
        path.unlink()
    found, lost = rebuild(tmp_path)
    assert (found, len(lost)) == (0, 1)
