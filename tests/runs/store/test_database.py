"""The database is opened whole or closed again, and its troubles are put into words."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from engine.errors import StoreError
from engine.runs.store.database import VERSION, connect_for_reading, connect_for_writing
from engine.runs.store.store import RunStore, open_store


@pytest.fixture
def left_open(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The connections that were opened and not closed; Python before 3.13 does not warn of them itself."""
    connect, opened = sqlite3.connect, set()

    class Connection(sqlite3.Connection):
        def close(self) -> None:
            opened.discard(id(self))
            super().close()

    def counting(*arguments: Any, **options: Any) -> sqlite3.Connection:
        made = connect(*arguments, factory=Connection, **options)
        opened.add(id(made))
        return made

    monkeypatch.setattr(sqlite3, "connect", counting)
    return opened


def another_version(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version = {VERSION + 1}")
    database.close()


def garbage(path: Path) -> None:
    path.write_bytes(b"garbage that is no database at all" * 40)


@pytest.mark.parametrize("spoil", [another_version, garbage])
@pytest.mark.parametrize("connect", [connect_for_writing, connect_for_reading])
def test_a_database_that_cannot_be_used_is_closed_again(
    tmp_path: Path, left_open: set[int], spoil: Any, connect: Any
) -> None:
    spoil(tmp_path / "runs.db")
    with pytest.raises(StoreError):
        connect(tmp_path)
    assert not left_open


def test_a_store_that_cannot_be_swept_is_closed_again(
    tmp_path: Path, left_open: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: RunStore) -> None:
        raise StoreError("no run can be read")

    monkeypatch.setattr(RunStore, "sweep", broken)
    with pytest.raises(StoreError, match="no run can be read"):
        open_store(tmp_path)
    assert not left_open


def test_what_is_opened_is_open_until_it_is_closed(tmp_path: Path, left_open: set[int]) -> None:
    with open_store(tmp_path):
        assert len(left_open) == 1
    assert not left_open


def test_where_there_is_no_database_reading_finds_no_runs_and_writes_nothing(tmp_path: Path) -> None:
    database = connect_for_reading(tmp_path)
    assert database.execute("SELECT count(*) FROM runs").fetchone() == (0,)
    database.close()
    assert list(tmp_path.iterdir()) == []
