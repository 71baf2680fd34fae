"""Text from files: the place of what is no text."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.data.text_files import check_unicode, decoded, read_bytes
from engine.errors import DataError

FILE = Path("own.txt")


def refusal(content: bytes, first_line: int = 1) -> DataError:
    with pytest.raises(DataError) as caught:
        decoded(content, FILE, first_line)
    return caught.value


def test_a_byte_order_mark_is_not_text():
    assert decoded(b"\xef\xbb\xbfcaf\xc3\xa9", FILE) == "café"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_place_of_a_byte_counts_everything_before_it(mark: bytes):
    error = refusal(mark + b"one\ncaf\xe9", first_line=7)
    assert error.where == "own.txt:8"
    assert error.seen == "the byte 0xe9, byte 4 of the line (é in Windows-1252)"
    assert f"byte {len(mark) + 4} of the line" in refusal(mark + b"caf\xe9").seen


def test_a_byte_that_means_nothing_in_windows_either_stands_alone():
    assert refusal(b"\x81").seen == "the byte 0x81, byte 1 of the line"


def test_half_of_a_character_is_shown_with_what_is_around_it():
    check_unicode("whole \U0001f98a", "text", "own.txt:1")
    with pytest.raises(DataError, match=r"own\.txt:1: text is not valid Unicode") as caught:
        check_unicode("cut \ud83d here", "text", "own.txt:1")
    assert r"'cut \ud83d here'" in caught.value.seen


def test_a_file_that_is_not_there_brings_the_nearest_name(tmp_path: Path):
    (tmp_path / "stories.txt").write_text("a")
    with pytest.raises(DataError) as caught:
        read_bytes(tmp_path / "storys.txt")
    assert caught.value.near == ("stories.txt",)
