"""The folders of harvested activations: what each holds, its bytes, how one is freed. Imports no torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

ABOUT = "about.json"
"""In each harvest's folder: what its numbers depend on."""
FOLDER = "activations"
"""Under `.engine/`: where harvests lie."""
FORMAT = 2
"""Of the files: shards have a hash. Another number is another folder."""


@dataclass(frozen=True)
class HarvestFolder:
    """One harvest on the disk; `about` is what it was made from, `n_shards` how many of them are there."""

    folder: Path
    about: Mapping[str, Any]
    n_bytes: int
    n_shards: int

    @property
    def whole(self) -> bool:
        return self.n_shards == self.about.get("shards")

    @property
    def is_readable(self) -> bool:
        """Whether it was written in the format of today; if not, no run reads it again."""
        return self.about.get("format") == FORMAT

    @property
    def needs(self) -> tuple[str, str]:
        """The hashes of the model and the corpus that it was made from."""
        return str(self.about.get("model_hash")), str(self.about.get("corpus_hash"))


def harvest_folders(engine_folder: Path) -> list[HarvestFolder]:
    """Every harvest under `.engine/`, half-done ones included, by path."""
    folder = engine_folder / FOLDER
    if not folder.is_dir():
        return []
    return [_harvest_folder(path) for path in sorted(folder.iterdir()) if path.is_dir()]


def free(found: HarvestFolder) -> int:
    """Delete a harvest unless a process is at it; the bytes that this freed."""
    lock = lock_of(found.folder)
    try:
        # A harvest that is being written is in use: it is passed over, not waited for.
        with FileLock(lock, timeout=0):
            # Renamed first: a harvest that looks now sees no folder, rather than one that shrinks.
            doomed = found.folder.with_name(f".old-{found.folder.name}")
            found.folder.rename(doomed)
            shutil.rmtree(doomed)
            lock.unlink(missing_ok=True)
    # Another process may have freed it in between.
    except (Timeout, FileNotFoundError):
        return 0
    return found.n_bytes


def lock_of(folder: Path) -> Path:
    """The file that whoever writes a harvest holds locked."""
    return folder.with_name(f"{folder.name}.lock")


def description(folder: Path) -> dict[str, Any]:
    """What a harvest was made from, as its folder says; empty where it does not say."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def _harvest_folder(folder: Path) -> HarvestFolder:
    # A folder without a readable description was cut off early: listed, so that it can be freed.
    about = description(folder)
    files = [path.stat().st_size for path in folder.iterdir()]
    return HarvestFolder(folder, about, sum(files), len(list(folder.glob("[0-9]*.safetensors"))))
