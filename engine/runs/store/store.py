"""The run store: `.engine/runs.db` (SQLite, WAL) says which runs there are, `.engine/runs/<id>/` holds them.

A run is written beside the others under its key, pushed to the disk, renamed to its id inside the
transaction that records it. Whatever is killed when, a run is there whole or not at all; a folder that was
renamed but not recorded is whole, and the next store that opens records it. Ids are never used twice.
"""

from __future__ import annotations

import errno
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import StoreError
from engine.runs.store import run_folder
from engine.runs.store.database import connect_for_reading, connect_for_writing, storage_errors, unreadable
from engine.runs.store.locks import held, held_if_free, holder
from engine.runs.store.record import RunName, RunRecord, StoredRun, run_from_row

if TYPE_CHECKING:
    from engine.evidence.result import Result

FOLDER = ".engine"
STAGED = ".new-"  # a run being measured, under its key
DOOMED = ".old-"  # a run being removed, under its id


@dataclass(frozen=True)
class RunLock:
    """The only right to measure one key, and the folder to do it in; ends with its `with` block."""

    key: str
    staging: Path

    @property
    def log(self) -> Path:
        return self.staging / run_folder.LOG


@dataclass(frozen=True)
class Failure:
    """The last attempt at a run that ended without a result."""

    date: str
    reason: str
    log: str


class RunStore:
    """Every finished run of a project. Open one per process, with `with open_store(root) as store`."""

    def __init__(self, folder: Path, database: sqlite3.Connection, read_only: bool) -> None:
        self.folder = folder
        self.database = database
        self.read_only = read_only

    def __enter__(self) -> RunStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.database.close()

    # reading

    def runs(self) -> list[StoredRun]:
        """Every run, oldest first, damaged ones included."""
        query = "SELECT id, key, record, files, damage FROM runs ORDER BY id"
        return [run_from_row(row) for row in self._ask(query)]

    def run(self, id: int) -> StoredRun:
        """One run by its id; StoreError with the ids there are where it is not one of them."""
        rows = self._ask("SELECT id, key, record, files, damage FROM runs WHERE id = ?", (id,))
        if rows:
            return run_from_row(rows[0])
        # The newest few: a store may have thousands.
        known = [str(row[0]) for row in self._ask("SELECT id FROM runs ORDER BY id DESC LIMIT 8")]
        raise StoreError(
            f"there is no run {id}",
            where=str(self.folder),
            expected="the id of a run in this store" + (f", such as {', '.join(known)}" if known else ""),
            seen="" if known else "a store in which no run is",
            hint="engine runs lists them" if known else "engine run --name EXPERIMENT measures one",
        )

    def of_key(self, key: str) -> list[StoredRun]:
        """Every run with this key, newest first, damaged ones included."""
        query = "SELECT id, key, record, files, damage FROM runs WHERE key = ? ORDER BY id DESC"
        return [run_from_row(row) for row in self._ask(query, (key,))]

    def find(self, key: str) -> StoredRun | None:
        """The newest whole run with this key."""
        # An older whole run with the same key has the same numbers: it serves where the newest is damaged.
        return next((run for run in self.of_key(key) if not self.damage(run)), None)

    def path(self, run: StoredRun) -> Path:
        """The folder of a run."""
        return run_folder.path_of(self.folder, run)

    def damage(self, run: StoredRun) -> str:
        """What is wrong with a run's files, in words; empty where it is whole."""
        return run.damage or run_folder.damage(self.path(run), run.files)

    def load(self, run: StoredRun) -> Result:
        """A run's evidence; StoreError names a damaged file, and the run counts as stale from then on."""
        try:
            return run_folder.load_run(self.folder, run)
        except StoreError as error:
            # A store that cannot be written still says what is damaged.
            with suppress(StoreError):
                self._condemn(run, f"{error.where} {error.seen}")
            raise

    def prove(self, runs: Iterable[StoredRun]) -> None:
        """Read runs through, however large; one that is damaged counts as stale from then on.

        For runs that somebody without this store could not use: a worker that finds damage cannot note it.
        """
        for run in runs:
            if how := run_folder.damage(self.path(run), run.files, thorough=True):
                with suppress(StoreError):
                    self._condemn(run, how)

    def log(self, run: StoredRun) -> str:
        """What a run said while it was measured; empty where its log was lost."""
        path = self.path(run) / run_folder.LOG
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    def failures(self) -> dict[RunName, Failure]:
        """The last attempts that ended without a result; a later success removes its own."""
        rows = self._ask("SELECT name, date, reason, log FROM failures")
        return {_name_from(row[0]): Failure(*row[1:]) for row in rows}

    # writing

    @contextmanager
    def lock(self, key: str) -> Iterator[RunLock]:
        """Hold the only right to measure `key`, waiting for a build that has it; then look with `find` again.

        StoreError where the store cannot be written.
        """
        self.require_writable()
        with ExitStack() as stack:
            with storage_errors(self.folder):
                stack.enter_context(held(self._lock_path(key)))
            yield self._staged(key, stack)

    @contextmanager
    def lock_if_free(self, key: str) -> Iterator[RunLock | None]:
        """The lock, or None at once where another build (or another run of this one) holds it."""
        self.require_writable()
        with ExitStack() as stack:
            with storage_errors(self.folder):
                free = stack.enter_context(held_if_free(self._lock_path(key)))
            yield self._staged(key, stack) if free else None

    def lock_holder(self, key: str) -> str:
        """The process id of the build that holds a lock; empty where none does, or it has not said so yet."""
        return holder(self._lock_path(key))

    def put(self, lock: RunLock, record: RunRecord, result: Result) -> StoredRun:
        """Keep a finished run, whole or not at all; ResultError where it holds what cannot be stored."""
        with storage_errors(self.folder):
            # On the disk before the transaction begins, which keeps every other writer waiting.
            files = run_folder.write_run(lock.staging, record, result)
            with self._transaction():
                run = StoredRun(self._next_id(), record, files)
                # Renamed inside the transaction: one process at a time takes an id. If this one is killed
                # before the row is written, the folder is whole all the same, and `sweep` records it.
                lock.staging.rename(self.path(run))
                run_folder.sync_folder(self.folder / "runs")
                self._insert(run)
                self.database.execute("DELETE FROM failures WHERE name = ?", (_name_text(record.name),))
        return run

    def note_failure(self, name: RunName, reason: str, log: str = "") -> None:
        """Remember why a run has no result, for `status`; a disk that is full forgets."""
        row = (_name_text(name), now(), reason, log)
        with suppress(StoreError), storage_errors(self.folder), self._transaction():
            self.database.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)", row)

    def remove(self, runs: Iterable[StoredRun]) -> int:
        """Take runs out of the store; returns the bytes freed."""
        self.require_writable()
        freed = 0
        with storage_errors(self.folder):
            for run in runs:
                # Renamed first, because a folder that is half deleted must not have the name of a whole one.
                doomed = self.path(run).with_name(f"{DOOMED}{run.id}")
                with self._transaction():
                    with suppress(FileNotFoundError):
                        self.path(run).rename(doomed)
                    self.database.execute("DELETE FROM runs WHERE id = ?", (run.id,))
                # Outside of the transaction, since it takes long; what is left of it the next `sweep`
                # removes.
                shutil.rmtree(doomed, ignore_errors=True)
                freed += sum(file["bytes"] for file in run.files.values())
        return freed

    def superseded(self, current: Collection[str] = ()) -> list[StoredRun]:
        """Runs that a newer one of the same name replaced, except those whose key is still current."""
        # Ids rise, so that the last of a name stays in the dictionary.
        newest = {run.name: run.id for run in self.runs() if not self.damage(run)}
        return [r for r in self.runs() if newest.get(r.name) != r.id and (r.key not in current or r.damage)]

    def sweep(self) -> None:
        """Record whole runs that lack a row and clear away what dead writers left, never a live one's."""
        known = {row[0] for row in self._ask("SELECT id FROM runs")}
        for path in list((self.folder / "runs").iterdir()):
            if path.name.startswith(STAGED):
                # Whoever measures it holds its lock; the system lets go of a dead writer's.
                with held_if_free(self._lock_path(path.name.removeprefix(STAGED))) as free:
                    if free:
                        shutil.rmtree(path, ignore_errors=True)
            elif path.name.startswith(DOOMED):
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.isdecimal() and int(path.name) not in known:
                self._adopt(path)

    # inside

    def _lock_path(self, key: str) -> Path:
        return self.folder / "locks" / key

    def _staged(self, key: str, stack: ExitStack) -> RunLock:
        """The lock that is held now, with an empty folder that goes when the stack closes."""
        staging = self.folder / "runs" / f"{STAGED}{key}"
        with storage_errors(self.folder):
            # What a killed writer left under this key: its lock is ours now.
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir()
        stack.callback(shutil.rmtree, staging, ignore_errors=True)
        return RunLock(key, staging)

    def _ask(self, query: str, values: tuple = ()) -> list[tuple]:
        try:
            return self.database.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise unreadable(self.folder, error) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.require_writable()
        # The write lock at once: a transaction that reads first and writes later can fail in between.
        self.database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.database.execute("COMMIT")
        except BaseException:
            if self.database.in_transaction:
                self.database.execute("ROLLBACK")
            raise

    def _next_id(self) -> int:
        # The sequence remembers ids of removed runs, the folders those of runs that have no row yet.
        used = [row[0] for row in self._ask("SELECT seq FROM sqlite_sequence WHERE name = 'runs'")]
        folders = [int(p.name) for p in (self.folder / "runs").iterdir() if p.name.isdecimal()]
        return max(used + folders, default=0) + 1

    def _insert(self, run: StoredRun) -> None:
        # `IGNORE`: `sweep` may find a folder without a row that has one by the time it adopts it.
        self.database.execute("INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?, ?)", run.to_row())

    def _adopt(self, path: Path) -> None:
        """Record a run folder that has no row; one that cannot be read is left for a person to look at."""
        with suppress(StoreError), self._transaction():
            record, files = run_folder.read_record(path)
            self._insert(StoredRun(int(path.name), record, files))

    def _condemn(self, run: StoredRun, how: str) -> None:
        with storage_errors(self.folder), self._transaction():
            self.database.execute("UPDATE runs SET damage = ? WHERE id = ?", (how, run.id))

    def require_writable(self) -> None:
        """StoreError, with the way out, where nothing can be measured into this store."""
        if self.read_only:
            raise StoreError(
                "the run store is read-only, so nothing can be measured into it",
                where=str(self.folder),
                hint=f"chmod -R u+w {self.folder}, or build with --budget 0 to render what is there",
            )


def open_store(root: Path) -> RunStore:
    """The run store of the project at `root`, made where there is none; for reading only where it must be.

    Raises StoreError where its database is broken or was written by another version.
    """
    folder = root / FOLDER
    try:
        for place in (folder, folder / "runs", folder / "locks"):
            place.mkdir(exist_ok=True)
            # Whether one may write is known only by doing it: root passes every look at the mode.
            tempfile.TemporaryFile(dir=place).close()
        # One at a time, or two first builds would both make the schema.
        with held(folder / "locks" / "open"):
            store = RunStore(folder, connect_for_writing(folder), read_only=False)
        try:
            store.sweep()
        except BaseException:
            store.database.close()
            raise
        return store
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return RunStore(folder, connect_for_reading(folder), read_only=True)
        raise StoreError("the run store cannot be opened", where=str(folder), seen=str(error)) from error


def rebuild(root: Path) -> tuple[int, list[str]]:
    """Make the database anew from the run folders, which hold everything; the old one is kept beside it.

    Returns how many runs were found, and what is wrong with those that could not be read.
    """
    folder = root / FOLDER
    stamp = now().replace(":", "")
    with storage_errors(folder):
        for name in ("runs.db", "runs.db-wal", "runs.db-shm"):
            if (folder / name).exists():
                # With its WAL: beside a new database SQLite could replay the old one's.
                (folder / name).rename(folder / f"{name}.broken-{stamp}")
    with open_store(root) as store:
        runs = store.runs()
        known = {str(run.id) for run in runs}
        unread = [p for p in (folder / "runs").iterdir() if p.name.isdecimal() and p.name not in known]
        lost = [f"{path} cannot be read" for path in sorted(unread)]
        return len(runs), lost + [store.damage(run) for run in runs if store.damage(run)]


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _name_text(name: RunName) -> str:
    return json.dumps([name.slug, name.experiment, [list(pair) for pair in name.point], name.model])


def _name_from(text: str) -> RunName:
    slug, experiment, point, model = json.loads(text)
    return RunName(slug, experiment, tuple((k, v) for k, v in point), model)
