"""What was made once is found again whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.report.json_cache import JsonCache

VALUE = {"text": "µ → «x»\n", "numbers": [1, 0.1, None], "nested": {"b": 1, "a": 2}}


def test_a_value_is_found_again_by_another_process(tmp_path: Path) -> None:
    JsonCache(tmp_path / "new/folder").put("key", VALUE)
    found = JsonCache(tmp_path / "new/folder").get("key")
    assert found == VALUE and list(found["nested"]) == ["b", "a"]
    assert JsonCache(tmp_path / "new/folder").get("another") is None


@pytest.mark.parametrize("damage", [b"", b"{}", b"0" * 64 + b"\n{}", b"\xff\xfe"])
def test_a_damaged_entry_is_as_good_as_none(damage: bytes, tmp_path: Path) -> None:
    cache = JsonCache(tmp_path)
    cache.put("key", VALUE)
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(damage or entry.read_bytes().replace(b"0.1", b"0.2"))
    assert cache.get("key") is None
    cache.put("key", VALUE)
    assert cache.get("key") == VALUE


def test_without_a_folder_nothing_is_kept() -> None:
    cache = JsonCache()
    cache.put("key", VALUE)
    cache.prune()
    assert cache.get("key") is None


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = JsonCache(tmp_path / "file" / "folder")
    cache.put("key", VALUE)
    cache.prune()
    assert cache.get("key") is None


def test_what_was_not_used_for_longest_is_deleted_first(tmp_path: Path) -> None:
    before = JsonCache(tmp_path)
    for age, key in enumerate(["newest", "newer", "old", "oldest"]):
        before.put(key, VALUE)
        os.utime(tmp_path / f"{key}.json", (1000 - age, 1000 - age))
    size = (tmp_path / "old.json").stat().st_size
    JsonCache(tmp_path).prune(3 * size)
    assert {path.stem for path in tmp_path.iterdir()} == {"newest", "newer", "old"}
    reader = JsonCache(tmp_path)
    assert reader.get("old") == VALUE
    reader.prune(size)
    assert {path.stem for path in tmp_path.iterdir()} == {"old"}


def test_what_a_build_used_stays_however_much_it_is(tmp_path: Path) -> None:
    cache = JsonCache(tmp_path)
    for key in ("one", "two"):
        cache.put(key, VALUE)
    cache.prune(0)
    assert len(list(tmp_path.iterdir())) == 2
    JsonCache(tmp_path).prune(0)
    assert not list(tmp_path.iterdir())
