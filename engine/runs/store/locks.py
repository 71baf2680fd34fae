"""File locks that the operating system lets go of when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(path: Path, on_wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock at `path`, waiting for whoever holds it; `on_wait` hears the holder's process id."""
    while True:
        handle = _open(path)
        if not _taken(handle):
            if on_wait is not None:
                # The holder writes its process id into the file once it has the lock; until then this is
                # empty.
                on_wait(os.pread(handle, 20, 0).decode(errors="replace"))
            fcntl.flock(handle, fcntl.LOCK_EX)
        # The last holder removed the file while this process waited: what it has locked now nobody else sees.
        if _is_file(handle, path):
            break
        os.close(handle)
    with _releasing(handle, path):
        yield


@contextmanager
def held_if_free(path: Path) -> Iterator[bool]:
    """Whether nobody held the lock; it is held in the body if so."""
    handle = _open(path)
    # A lock on a file that was removed meanwhile counts as not free: the caller looks again soon.
    if not (_taken(handle) and _is_file(handle, path)):
        os.close(handle)
        yield False
        return
    with _releasing(handle, path):
        yield True


def holder(path: Path) -> str:
    """The process id of who holds the lock, as they noted it; empty where nobody holds it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _open(path: Path) -> int:
    # O_CLOEXEC: a process started meanwhile would inherit the lock, and keep it when this one has died.
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _taken(handle: int) -> bool:
    """Take the lock if that needs no waiting."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_file(handle: int, path: Path) -> bool:
    """Whether the locked file is still the one at `path`, not one that its last holder removed."""
    try:
        # By device and inode: the same path may be another file by now.
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _releasing(handle: int, path: Path) -> Iterator[None]:
    """Note who holds the lock; remove its file while still holding it, so that nobody waits on a ghost."""
    try:
        # The file may have a longer id of a holder that was killed.
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)
