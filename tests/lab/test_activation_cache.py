"""Harvests on the disk: what lies there, what a broken one says of itself, and how one is freed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from engine.lab.activation_cache import ABOUT, FOLDER, FORMAT, description, free, harvest_folders, lock_of

MADE_FROM = {"format": FORMAT, "model_hash": "m", "corpus_hash": "c", "shards": 2}


@pytest.fixture
def harvest(tmp_path: Path) -> Path:
    """A whole harvest of two shards under `.engine/`, here tmp_path."""
    folder = tmp_path / FOLDER / "one"
    folder.mkdir(parents=True)
    (folder / ABOUT).write_text(json.dumps(MADE_FROM))
    for shard in ("00000", "00001"):
        (folder / f"{shard}.safetensors").write_bytes(bytes(100))
    return folder


def test_a_harvest_says_what_it_was_made_from_and_how_large_it_is(tmp_path: Path, harvest: Path) -> None:
    (found,) = harvest_folders(tmp_path)
    assert (found.folder, found.n_shards, found.whole) == (harvest, 2, True)
    assert found.needs == ("m", "c")
    assert found.n_bytes == 200 + len(json.dumps(MADE_FROM))


def test_a_harvest_that_lacks_a_shard_is_not_whole(tmp_path: Path, harvest: Path) -> None:
    (harvest / "00001.safetensors").rename(harvest / "part-00001.safetensors")
    (found,) = harvest_folders(tmp_path)
    assert (found.n_shards, found.whole) == (1, False)


@pytest.mark.parametrize("about", [None, "", "{", "[1]"])
def test_a_folder_that_does_not_say_what_it_holds_is_listed_and_needed_by_nothing(
    tmp_path: Path, harvest: Path, about: str | None
) -> None:
    (harvest / ABOUT).unlink()
    if about is not None:
        (harvest / ABOUT).write_text(about)
    (found,) = harvest_folders(tmp_path)
    assert (dict(found.about), found.whole, found.needs) == ({}, False, ("None", "None"))


def test_a_harvest_in_the_format_of_another_engine_is_not_readable(tmp_path: Path, harvest: Path) -> None:
    assert harvest_folders(tmp_path)[0].is_readable
    (harvest / ABOUT).write_text(json.dumps(MADE_FROM | {"format": FORMAT - 1}))
    assert not harvest_folders(tmp_path)[0].is_readable


def test_a_description_is_what_was_written_or_nothing(harvest: Path) -> None:
    assert description(harvest) == MADE_FROM
    assert description(harvest.parent) == {}


def test_locks_and_what_is_not_there_are_no_harvests(tmp_path: Path, harvest: Path) -> None:
    lock_of(harvest).touch()
    assert [found.folder for found in harvest_folders(tmp_path)] == [harvest]
    assert harvest_folders(tmp_path / "nowhere") == []


def test_freeing_gives_back_the_bytes_and_leaves_nothing(tmp_path: Path, harvest: Path) -> None:
    (found,) = harvest_folders(tmp_path)
    assert free(found) == found.n_bytes
    assert list((tmp_path / FOLDER).iterdir()) == []
    assert free(found) == 0  # another process was quicker


def test_a_harvest_that_a_process_is_at_is_left_alone(tmp_path: Path, harvest: Path) -> None:
    (found,) = harvest_folders(tmp_path)
    with FileLock(lock_of(harvest)):
        assert free(found) == 0
    assert (harvest / "00000.safetensors").exists()


def test_listing_harvests_imports_no_torch() -> None:
    code = "import sys, engine.lab.activation_cache; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
