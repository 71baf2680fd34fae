"""The reference kept on disk: commands, families, instruments and the schema follow from the code alone.

Making it imports every command and parses every instrument, which is a third of what a build takes that has
one report to print.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

from engine.report.json_cache import JsonCache
from engine.report.report_cache import engine_hash

FOLDER = "reference"  # in .engine/
LIBRARIES = ("pydantic", "typer")
"""What describes parameters and commands; the words of a page may change with them."""


def kept_reference(
    folder: Path, family_files: Iterable[Path], make: Callable[[], Mapping[str, str]]
) -> dict[str, str]:
    """The reference's files by path under site/, as they were made of this code before, or made now and kept.

    `folder` is the project's .engine, `family_files` are those of the families described, wherever they lie.
    """
    cache = JsonCache(folder / FOLDER)
    key = _code_hash(family_files)
    found = cache.get(key)
    if found is None:
        found = dict(make())
        cache.put(key, found)
    cache.prune()
    return found


def _code_hash(family_files: Iterable[Path]) -> str:
    # Python itself spells what it parses.
    digest = hashlib.sha256(f"{engine_hash()} {sys.version}".encode())
    for library in LIBRARIES:
        digest.update(f"\0{library} {version(library)}".encode())
    for file in family_files:
        digest.update(f"\0{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()
