"""What a local model consists of: the files that may be read of it, when they last changed, and their hash.

A tokenizer is spread over half a dozen files, which of them count depends on its class and on the version of
transformers. So the hash takes every file that any of them reads, and a conversion sees a folder of links to
these files alone: what is not hashed cannot be read. Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

READ_PATTERNS = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.model.*", "*.tiktoken")
"""Weights and their index; configuration, tokenizer.json, added and special tokens, vocabularies; chat
templates; merges; SentencePiece models. Pickles and Python are never read, subfolders neither."""


def source_files(path: Path) -> list[Path]:
    """The file itself, or the files of a Hugging Face folder that loading it may read, by name."""
    if path.is_file():
        return [path]
    found = {file for pattern in READ_PATTERNS for file in path.glob(pattern) if file.is_file()}
    return sorted(found)


def file_stamps(path: Path) -> list[list[Any]]:
    """Name, size and times of change of the files of a local model: tells whether it has changed.

    With the time of the inode's change, which nobody can set: a file whose time of writing was set back has
    changed all the same.
    """
    stats = [(file.name, file.stat()) for file in source_files(path)]
    return [[name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for name, stat in stats]


def hash_of(path: Path) -> str:
    """sha256 of a file; of a folder, that of a list of all files that may be read of it."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    # As `sha256sum` lists them: a person can check it by hand.
    listing = "".join(f"{hash_of(file)}  {file.name}\n" for file in source_files(path))
    return hashlib.sha256(listing.encode()).hexdigest()


def current_hash(path: Path) -> str:
    """The hash of a local model as it is now, read again only where a file has changed."""
    return _hash_at(path, str(file_stamps(path)))


@lru_cache(maxsize=32)
def _hash_at(path: Path, stamps: str) -> str:
    # The stamps are part of what is remembered by: other ones ask again.
    return hash_of(path)


@contextlib.contextmanager
def only_source_files(folder: Path) -> Iterator[Path]:
    """A folder of links to the files that are hashed: a reader finds these and nothing else."""
    with tempfile.TemporaryDirectory(prefix="model-") as scratch:
        for file in source_files(folder):
            (Path(scratch) / file.name).symlink_to(file.resolve())
        yield Path(scratch)
