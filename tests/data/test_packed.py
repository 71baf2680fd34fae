"""The one-file form of a corpus: what goes in comes out, and damage is told."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from engine.data.packed import read_packed, write_packed
from engine.errors import DataError

VOCABULARY = [b"<s>", b" the", " Köln".encode(), b"\xe2\x82", b"\xac"]
DOCUMENTS = [[1, 2], [3, 4, 1], [3]]


def test_documents_come_back_with_their_text(tmp_path: Path):
    write_packed(tmp_path / "c.xz", DOCUMENTS, VOCABULARY, {"tokens": 6})
    packed = read_packed(tmp_path / "c.xz")
    assert packed.ids.tolist() == [1, 2, 3, 4, 1, 3]
    assert packed.starts.tolist() == [0, 2, 5]
    assert packed.texts() == [" the Köln", "€ the", "\ufffd"]
    assert json.loads((tmp_path / "c.json").read_text()) == {"tokens": 6}


@pytest.mark.parametrize("content", [b"", b"no archive", lzma.compress(b"no archive")])
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes):
    (tmp_path / "c.xz").write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        read_packed(tmp_path / "c.xz")


def test_a_file_that_was_cut_short_is_told(tmp_path: Path):
    write_packed(tmp_path / "c.xz", DOCUMENTS, VOCABULARY, {})
    (tmp_path / "c.xz").write_bytes((tmp_path / "c.xz").read_bytes()[:-20])
    with pytest.raises(DataError, match="damaged"):
        read_packed(tmp_path / "c.xz")
