"""Things made once and kept as JSON files, by a hash of all that they were made from.

An entry is never out of date: whatever it was made from changes, it has another name. So entries are only
written, read and, when there are too many bytes of them, deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

MOST_BYTES = 256 * 2**20
"""In one folder no more than this is kept, beside what the last build used."""


class JsonCache:
    """JSON values by key (a hash) in a folder; without a folder nothing is found and nothing is kept.

    A folder that cannot be read or written costs time only, and a damaged entry is as good as none.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.used: set[str] = set()

    def get(self, key: str) -> Any:
        """The value under a key; None where there is none, or where its file is damaged."""
        if self.folder is None:
            return None
        path = self._path(key)
        try:
            checksum, _, written = path.read_bytes().partition(b"\n")
            if checksum != hashlib.sha256(written).hexdigest().encode():
                return None
            value = json.loads(written)
        except (OSError, ValueError):
            return None
        self.used.add(path.name)
        with suppress(OSError):
            os.utime(path)  # so that `prune` sees that it is used
        return value

    def put(self, key: str, value: Any) -> None:
        """Keep a value, whole or not at all, whenever this process is killed."""
        if self.folder is None:
            return
        self.used.add(self._path(key).name)
        written = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        checksum = hashlib.sha256(written).hexdigest().encode()
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".", delete=False) as file:
                file.write(checksum + b"\n" + written)
            Path(file.name).replace(self._path(key))

    def prune(self, most_bytes: int = MOST_BYTES) -> None:
        """Delete what was not used for longest until `most_bytes` are left, but nothing that was used here.

        A site larger than that would else find nothing at its next build.
        """
        found = []
        for path in self.folder.glob("*") if self.folder else ():
            with suppress(OSError):  # another build prunes too
                found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
        for _, size, path in sorted(found, reverse=True):
            most_bytes -= size
            if most_bytes < 0 and path.name not in self.used:
                with suppress(OSError):
                    path.unlink()

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{key}.json"
