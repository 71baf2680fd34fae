"""A corpus in one small file: token ids, where documents begin, and every token's bytes, so that no tokenizer
is needed to read its text.

The file is an xz stream around an .npz archive (`ids` uint16, `lengths` uint16, `vocabulary` uint8,
`token_lengths` uint16). Nothing in it is ever unpickled. A JSON card of the same name says how it was made.
"""

from __future__ import annotations

import io
import itertools
import json
import lzma
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt

from engine.errors import DataError

# lp=1, lc=0: most of the file is 16-bit ids, of which the high and the low bytes are each alike.
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 1, "pb": 1}]


@dataclass(frozen=True)
class PackedCorpus:
    """All documents one after another: their token ids, where each begins, and the bytes of token i."""

    ids: UInt[np.ndarray, " token"]
    starts: Int[np.ndarray, " document"]
    vocabulary: tuple[bytes, ...]

    def texts(self) -> list[str]:
        """Each document's text; a character that was cut in two becomes U+FFFD."""
        bounds = [*self.starts.tolist(), len(self.ids)]
        # Joined before decoding: a character may be spread over several tokens.
        pieces = [self.vocabulary[i] for i in self.ids.tolist()]
        pairs = itertools.pairwise(bounds)
        return [b"".join(pieces[a:b]).decode("utf-8", "replace") for a, b in pairs]


def read_packed(file: Path) -> PackedCorpus:
    """The corpus in a packed file; DataError where it is damaged."""
    try:
        with np.load(io.BytesIO(lzma.decompress(file.read_bytes()))) as arrays:
            ids = arrays["ids"]
            lengths = arrays["lengths"]
            tokens = _split(arrays["vocabulary"].tobytes(), arrays["token_lengths"])
    except (OSError, EOFError, ValueError, KeyError, lzma.LZMAError, zipfile.BadZipFile) as problem:
        raise DataError("the packaged corpus is damaged", where=str(file), seen=str(problem)) from problem
    return PackedCorpus(ids, starts_of(lengths), tokens)


def write_packed(
    file: Path, documents: Sequence[Sequence[int]], vocabulary: Sequence[bytes], card: Mapping[str, Any]
) -> None:
    """Write the corpus and, beside it, its card."""
    archive = io.BytesIO()
    np.savez(
        archive,
        # 16 bits hold vocabularies of up to 65,536 tokens.
        ids=np.array([token for document in documents for token in document], dtype=np.uint16),
        lengths=np.array([len(document) for document in documents], dtype=np.uint16),
        vocabulary=np.frombuffer(b"".join(vocabulary), dtype=np.uint8),
        token_lengths=np.array([len(token) for token in vocabulary], dtype=np.uint16),
    )
    file.write_bytes(lzma.compress(archive.getvalue(), format=lzma.FORMAT_XZ, filters=FILTERS))
    file.with_suffix(".json").write_text(json.dumps(dict(card), indent=2, ensure_ascii=False) + "\n")


def starts_of(lengths: np.ndarray) -> Int[np.ndarray, " document"]:
    """Where documents of these lengths begin when they lie one after another."""
    # In 64 bits: lengths are stored in 16, where their sum does not fit.
    return np.cumsum(lengths, dtype=np.int64) - lengths


def _split(whole: bytes, lengths: np.ndarray) -> tuple[bytes, ...]:
    bounds = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))).tolist()
    return tuple(whole[a:b] for a, b in itertools.pairwise(bounds))
