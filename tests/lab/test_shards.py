"""A shard's hash covers all of its file: whatever bit is flipped, wherever it is cut, it is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import StoreError
from engine.lab.shards import MISSING, put, read_shard, shard_fault, shard_path, shard_reader, write_shard

ARRAYS = {
    "blocks.1.hook_resid_pre": torch.arange(6.0).reshape(2, 3),
    "half": torch.tensor([[1.5, -2.0], [0.25, 8.0]], dtype=torch.bfloat16),
    "ids": torch.tensor([7, 9], dtype=torch.int32),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A shard with arrays of three types."""
    place = tmp_path / "harvest"
    place.mkdir()
    write_shard(shard_path(place, 3), ARRAYS)
    return place / "000003.safetensors"


def test_what_is_read_is_what_was_written_and_any_reader_of_safetensors_can_read_it(file: Path) -> None:
    assert shard_fault(file) == ""
    for read in (read_shard, load_file):
        found = read(file)
        assert found.keys() == ARRAYS.keys()
        for name, array in ARRAYS.items():
            assert found[name].dtype == array.dtype
            assert torch.equal(found[name], array)


def test_a_shard_without_rows_is_proved_as_well(tmp_path: Path) -> None:
    file = tmp_path / "000000.safetensors"
    write_shard(file, {"ids": torch.empty(0, dtype=torch.int32)})
    assert shard_fault(file) == ""


def test_no_bit_can_be_flipped_unseen(file: Path) -> None:
    whole = file.read_bytes()
    for at in range(8 * len(whole)):
        content = bytearray(whole)
        content[at // 8] ^= 1 << at % 8
        file.write_bytes(content)
        assert shard_fault(file), f"bit {at}"


def test_no_end_can_be_cut_off_or_put_on_unseen(file: Path) -> None:
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        assert shard_fault(file), f"{length} bytes"
    file.write_bytes(whole + b"\0")
    assert "bytes of numbers" in shard_fault(file)


def test_a_shard_is_bound_to_its_harvest_and_its_number(file: Path) -> None:
    other = shard_path(file.parent, 4)
    other.write_bytes(file.read_bytes())
    assert shard_fault(other) == "is not what was written"
    file.parent.rename(file.parent.with_name("other"))
    assert shard_fault(shard_path(file.parent.with_name("other"), 3)) == "is not what was written"


def test_a_file_of_safetensors_without_a_hash_is_no_shard(file: Path) -> None:
    save_file(ARRAYS, file)
    assert shard_fault(file) == "has a damaged header"
    save_file(ARRAYS, file, metadata={"format": "pt"})
    assert shard_fault(file) == "has a damaged header"


def test_what_cannot_be_read_is_told_and_what_is_missing_is_told_apart(file: Path) -> None:
    assert shard_fault(file.with_name("000009.safetensors")) == MISSING
    assert "cannot be read" in shard_fault(file.parent)


def test_reading_a_damaged_shard_is_an_error_that_says_what_to_do(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(StoreError, match="damaged") as caught:
        read_shard(file)
    assert caught.value.where == str(file)
    assert caught.value.seen == "has 39 of 40 bytes of numbers"
    assert "harvested anew" in caught.value.hint


def test_a_reader_maps_a_shard_once_and_proves_it_again_when_the_file_was_touched(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = shard_reader(file.parent)
    first = read(3)
    assert read(3) is first
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match="not what was written"):
        read(3)
    write_shard(file, ARRAYS)
    assert torch.equal(read(3)["half"], ARRAYS["half"])


def test_a_file_is_put_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a", b"one", memoryview(b"two"))
    assert (tmp_path / "a").read_bytes() == b"onetwo"

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        put(tmp_path / "a", b"three")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"onetwo"
