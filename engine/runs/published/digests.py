"""Digests of what is published, by which an edited number is told from the one that was measured.

Each run, each verdict, each table and the file as a whole has one. A digest is over values and not over how
they are written: keys in another order, other indents, line ends as git leaves them and `20.0` for `20` are
the same content. It is bound to its place (model, kind and name), so that what is right in one place is not
taken for another. It tells what was edited by hand or damaged, not who computed it anew: for that the values
are compared with the run that they are of, where the run store has it (`comparison`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from engine.runs.planning.code_hash import digest
from engine.runs.planning.keys import canonical

DIGEST = "digest"
"""The key of a digest, beside what it is a digest of."""
DIGITS = 32
"""Of SHA-256, in hexadecimal: 128 bits."""
UNCHANGED = frozenset((str, int, bool, type(None)))
"""Types of values that are written in one way only."""
Place = tuple[str, ...]


def sealed(data: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """The data with its digest, in the place of one that it had."""
    return {**data, DIGEST: _digest(data, place)}


def is_sealed(data: Mapping[str, Any], place: Place) -> bool:
    """Whether the data are still what their digest was made of."""
    try:
        return data.get(DIGEST) == _digest(data, place)
    except ValueError:  # NaN, which nothing that was published holds
        return False


def sealed_file(data: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """A file's data, whose runs and verdicts have their digests, with a digest of its own."""
    return {**data, DIGEST: _digest(_outline(data), place)}


def is_sealed_file(data: Mapping[str, Any], place: Place) -> bool:
    """Whether a file has the runs and verdicts that it was written with; each proves itself."""
    return is_sealed(_outline(data), place)


def table_digest(content: bytes) -> str:
    """The digest of a CSV's content, whichever line ends it has."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()[:DIGITS]


def _digest(data: Mapping[str, Any], place: Place) -> str:
    content = {name: value for name, value in data.items() if name != DIGEST}
    return digest(canonical([*place, _unwritten(content)]))[:DIGITS]


def _outline(data: Mapping[str, Any]) -> dict[str, Any]:
    """A file's data with the digests of its parts in their place: nothing is hashed twice."""
    parts = {
        kind: {name: part.get(DIGEST) for name, part in data[kind].items()} for kind in ("runs", "verdicts")
    }
    return {**data, **parts}


def _unwritten(value: Any) -> Any:
    """The value however its numbers are written: `20.0` as `20`."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    # By far the most values are texts and numbers that stay as they are: of these the type alone is asked.
    if isinstance(value, dict | Mapping):
        return {name: item if type(item) in UNCHANGED else _unwritten(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [item if type(item) in UNCHANGED else _unwritten(item) for item in value]
    return value
