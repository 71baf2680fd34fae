"""A shard's file: safetensors with a hash of all that it holds, proved whenever it is read.

The hash stands in the header's metadata, so that a shard and its hash are written by one rename and never
disagree. It covers the shard's identity (harvest and number), the header and every byte of the arrays: a
flipped bit, a cut end, a broken header and a shard of another harvest under this one's name are all told.
It is xxHash3 with 128 bits, which goes as fast as memory can be read. It guards against damage, not against
somebody who computes it anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from xxhash import xxh3_128

from engine.errors import StoreError

HASH = "xxh3_128"
"""The entry of a header's metadata that holds the hash."""
METADATA = "__metadata__"
MISSING = "is missing"
MAPPED_SHARDS = 64
"""Files that are held mapped at a time."""
READ_BYTES = 2**20
"""Read at once while a file is hashed, so that hashing takes no memory to speak of."""
MAX_HEADER_BYTES = 2**20
"""A header has some hundred bytes; a damaged length may say anything."""
Signature = tuple[int, int, int]


def shard_path(place: Path, shard: int) -> Path:
    """Where a shard of the harvest at `place` lies."""
    return place / f"{shard:06}.safetensors"


def write_shard(file: Path, arrays: Mapping[str, Tensor]) -> None:
    """Write a shard with its hash, whole or not at all; OSError where the disk does not take it."""
    content = memoryview(save(dict(arrays)))
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(bytes(content[8:start]))
    payload = content[start:]
    proof = _hash(file, header)
    proof.update(payload)
    # safetensors wants numbers aligned: the header is filled up to a multiple of 8 bytes.
    text = json.dumps({METADATA: {HASH: proof.hexdigest()}, **header}).encode()
    text += b" " * (-len(text) % 8)
    put(file, len(text).to_bytes(8, "little"), text, payload)


def shard_fault(file: Path) -> str:
    """What is wrong with a shard, in words; empty where it is what was written. Its arrays are not kept."""
    try:
        with file.open("rb", buffering=0) as content:
            length = int.from_bytes(content.read(8), "little")
            text = content.read(min(length, MAX_HEADER_BYTES))
            header = json.loads(text)
            sealed = header.pop(METADATA)[HASH]
            proof = _hash(file, header)
            buffer = bytearray(READ_BYTES)
            n_bytes = 0
            while n := content.readinto(buffer):
                proof.update(memoryview(buffer)[:n])
                n_bytes += n
            expected = max((array["data_offsets"][1] for array in header.values()), default=0)
    except FileNotFoundError:
        return MISSING
    except OSError as problem:
        return f"cannot be read: {problem.strerror}"
    # Whatever a damaged header says: no JSON, no object, no hash, arrays without a place.
    except (ValueError, LookupError, TypeError, AttributeError):
        return "has a damaged header"
    if n_bytes != expected:
        return f"has {n_bytes:,} of {expected:,} bytes of numbers"
    return "" if proof.hexdigest() == sealed else "is not what was written"


def shard_reader(place: Path) -> Callable[[int], Mapping[str, Tensor]]:
    """How the shards of a whole harvest are read: mapped, and proved each time that one is mapped.

    Which was used longest ago is let go first: a mapped file takes addresses rather than memory. Raises
    StoreError for a shard that was damaged since the harvest was found whole.
    """
    signatures: dict[int, Signature] = {}

    @lru_cache(MAPPED_SHARDS)
    def mapped(shard: int, signature: Signature) -> dict[str, Tensor]:
        return read_shard(shard_path(place, shard))

    def read(shard: int) -> Mapping[str, Tensor]:
        # Asked at every reading: a file that was overwritten in its place changes under the mapping. One that
        # was removed or replaced lives on in it.
        with suppress(FileNotFoundError):
            signatures[shard] = _signature(shard_path(place, shard))
        return mapped(shard, signatures.get(shard, (0, 0, 0)))

    return read


def read_shard(file: Path) -> dict[str, Tensor]:
    """A shard's arrays, mapped from the file; StoreError where they are not what was written."""
    fault = shard_fault(file)
    if not fault:
        try:
            return load_file(file)
        except (OSError, SafetensorError) as problem:
            fault = str(problem)
    hint = "begin again: damaged activations are harvested anew"
    raise StoreError("harvested activations are damaged", where=str(file), seen=fault, hint=hint)


def put(file: Path, *content: bytes | memoryview) -> None:
    """Write a file whole or not at all."""
    # In the same folder: a rename across file systems would be a copy, and no longer atomic.
    scratch = file.with_name(f".new-{os.getpid()}-{file.name}")
    try:
        with scratch.open("wb") as out:
            for part in content:
                out.write(part)
            out.flush()
            # The bytes must be on the disk before the name is: after a power cut a file system may have kept
            # the rename and lost what was written.
            os.fsync(out.fileno())
        scratch.rename(file)  # atomic within a folder; readers see all of it or nothing
    except OSError:
        with suppress(OSError):
            scratch.unlink()
        raise


def _hash(file: Path, header: Mapping[str, Any]) -> xxh3_128:
    """The hash of a shard before its payload: which one it is, and what its header says of its arrays."""
    # The folder is named after all that the harvest depends on. A length of its own for each part, so that
    # no two pairs of parts are the same bytes.
    proof = xxh3_128()
    for part in (f"{file.parent.name}/{file.name}", json.dumps(header, sort_keys=True)):
        encoded = part.encode()
        proof.update(len(encoded).to_bytes(8, "little") + encoded)
    return proof


def _signature(file: Path) -> Signature:
    """What changes when a file is written anew or overwritten."""
    status = file.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
