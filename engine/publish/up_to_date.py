"""Whether the site that lies there is the one that would be built now; then it is left alone.

A build that ended well keeps a hash over the state of all that the site builder reads and of all that it
wrote. A file's state is its size, its number on the disk and the times of its last changes; the time of the
last change of its state is one that no program can set, so that a file put back with its old date is seen.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

KEPT = "site.built"  # in .engine/
BUILDERS = ("mkdocs", "mkdocs-material", "markdown", "pymdown-extensions", "pygments", "jieba", "jinja2")
"""What makes pages and search entries of Markdown (jieba cuts Chinese into words, where it is installed)."""

CLOCK_NS = 2_000_000_000

_NAMES = re.compile(r"(?:\.\./)*\w[\w./-]*")

FileState = tuple[str | int, ...]


def sources_hash(root: Path, config_file: Path, out: Path) -> str:
    """A hash over what a site is built from: settings, files and variables that they name, the builder.

    To be taken before the build: what is edited meanwhile is a change of the next.
    """
    words = sorted(set(_NAMES.findall(_settings(config_file))))
    folders = {(root / word).resolve() for word in words if (root / word).exists()}
    files = list(_states(folders - {out.resolve()}))
    return _hash(settings_hash(config_file), files)


def settings_hash(config_file: Path) -> str:
    """A hash over what all pages share: settings, variables that they name, the builder and its code."""
    settings = _settings(config_file)
    words = sorted(set(_NAMES.findall(settings)))
    variables = {word: os.environ[word] for word in words if word in os.environ}
    code = [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))]
    return _hash(settings, variables, code, builder_versions())


def is_built(root: Path, out: Path, sources: str) -> bool:
    """Whether `out` is as the last build left it, and that build was from these sources."""
    with suppress(OSError):
        return _kept(root).read_text(encoding="utf-8") == _hash(sources, list(_states([out])))
    return False


def keep_built(root: Path, out: Path, sources: str) -> None:
    """Remember that `out` was built from these sources."""
    with suppress(OSError):  # then the next build builds again
        _kept(root).write_text(_hash(sources, list(_states([out]))), encoding="utf-8")


@cache
def builder_versions() -> tuple[str, ...]:
    """What the site is built with."""
    found = []
    for package in BUILDERS:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"no {package}")
    return tuple(found)


def file_state(path: Path) -> list[int]:
    """Which file lies under a path and when it last changed; OSError where none does."""
    state = path.stat()
    return [state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns]


def settled(state: list[int], now: int) -> bool:
    """Whether a file's last change is so long ago that another one since would show in its times.

    A file system's clock may stand still for up to two seconds; `now`, in ns, is when it was looked at.
    """
    return max(state[2:]) < now - CLOCK_NS


def _settings(config_file: Path) -> str:
    return config_file.read_text(encoding="utf-8") if config_file.is_file() else ""


def _kept(root: Path) -> Path:
    return root / ".engine" / KEPT


def _states(paths: Iterable[Path]) -> Iterator[FileState]:
    """The state of each file, and of each file in a folder, in the order of their names."""
    for path in sorted(paths):
        if path.is_file():
            yield _state(path)
        for folder, folders, names in os.walk(path, followlinks=True):
            folders.sort()
            yield from (_state(Path(folder, name)) for name in sorted(names))


def _state(path: Path) -> FileState:
    return str(path), *file_state(path)


def _hash(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
