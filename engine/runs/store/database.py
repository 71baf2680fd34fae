"""The run store's database file: made, opened for writing or reading, and its troubles put into words."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import StoreError

VERSION = 1
SCHEMA = f"""
CREATE TABLE runs (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, record TEXT NOT NULL,
                   files TEXT NOT NULL, damage TEXT NOT NULL);
CREATE INDEX runs_by_key ON runs (key);
CREATE TABLE failures (name TEXT PRIMARY KEY, date TEXT NOT NULL, reason TEXT NOT NULL, log TEXT NOT NULL);
PRAGMA user_version = {VERSION};
"""


def connect_for_writing(folder: Path) -> sqlite3.Connection:
    """The database, made where there is none; PermissionError where it cannot be written."""
    try:
        database = _connect(folder, "mode=rwc")
        with _closing_on_error(database):
            # A database that SQLite has just made has version 0.
            if not _version(database):
                database.execute("PRAGMA journal_mode = WAL")
                # In one transaction with its version, so that a killed process leaves no half-made schema.
                database.executescript(f"BEGIN; {SCHEMA} COMMIT;")
            _examine(database, folder)
            # SQLite opens a file that it may not write without a word; only a write lock tells.
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
        return database
    except sqlite3.OperationalError as error:
        # SQLite has one class for all of these; only the words tell them apart.
        if "readonly" in str(error) or "unable to open" in str(error):
            raise PermissionError(errno.EACCES, str(error)) from error
        raise unreadable(folder, error) from error
    except sqlite3.DatabaseError as error:
        raise unreadable(folder, error) from error


def connect_for_reading(folder: Path) -> sqlite3.Connection:
    """The database as it lies, with nothing written beside it; an empty one where there is none."""
    if not (folder / "runs.db").exists():
        # With the schema, so that a reader asks the same questions of a store that is not there yet.
        empty = sqlite3.connect(":memory:", isolation_level=None)
        with _closing_on_error(empty):
            empty.executescript(SCHEMA)
        return empty
    # The first way sees what a live or killed writer left in the WAL, but may have to write an index of it
    # beside the database; the second reads the database alone, in a folder where nothing can be written.
    for how in ("mode=ro", "immutable=1"):
        try:
            database = _connect(folder, how)
            with _closing_on_error(database):
                _examine(database, folder)
            return database
        except sqlite3.DatabaseError as error:
            problem = error
    raise unreadable(folder, problem) from problem


@contextmanager
def _closing_on_error(database: sqlite3.Connection) -> Iterator[None]:
    """Close a database that turns out to be of no use; Python 3.13 warns of one that is only forgotten."""
    try:
        yield
    except BaseException:
        database.close()
        raise


def _connect(folder: Path, how: str) -> sqlite3.Connection:
    # Transactions are begun by hand (isolation_level=None), so that each says what is written together.
    uri = f"{(folder / 'runs.db').resolve().as_uri()}?{how}"
    # A URI, since `mode` and `immutable` can be said in no other way; a minute, for another build to finish
    # writing.
    return sqlite3.connect(uri, uri=True, timeout=60, isolation_level=None)


def _version(database: sqlite3.Connection) -> int:
    return database.execute("PRAGMA user_version").fetchone()[0]


def _examine(database: sqlite3.Connection, folder: Path) -> None:
    """StoreError for a database of another version, sqlite3.DatabaseError for a broken one."""
    version = _version(database)
    if version != VERSION:
        raise StoreError(
            "the run store was written by another version of the engine",
            where=str(folder / "runs.db"),
            expected=f"format {VERSION}",
            seen=f"format {version}",
            hint="install that version, or move the folder away and measure anew",
        )
    # A broken page would otherwise be met in the middle of a build; one finding is enough to refuse.
    (state,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if state != "ok":
        raise sqlite3.DatabaseError(state)


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """A full disk, a folder without permission, a broken database: each as a StoreError to act on."""
    try:
        yield
    except sqlite3.Error as error:
        # SQLite has no class of its own for a full disk: "database or disk is full".
        full = "full" in str(error)
        raise (_full(folder) if full else unreadable(folder, error)) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise _full(folder) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StoreError(
                "the run store cannot be written",
                where=str(folder),
                seen=str(error),
                hint=f"chmod -R u+w {folder}",
            ) from error
        raise


def _full(folder: Path) -> StoreError:
    hint = "free some space, or remove superseded runs: engine runs gc; the other runs are safe"
    return StoreError("the disk is full, so the run could not be kept", where=str(folder), hint=hint)


def unreadable(folder: Path, error: Exception) -> StoreError:
    return StoreError(
        "the run store's database cannot be read",
        where=str(folder / "runs.db"),
        seen=str(error),
        hint="engine runs rebuild makes it anew from the run folders; no run is lost",
    )
