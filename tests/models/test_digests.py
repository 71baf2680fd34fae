"""A damaged file of the model cache is never used: it is made anew, and a line says so."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.errors import ModelCorrupt, ModelUnavailable
from engine.models import fetch as fetching
from engine.models import load as loading
from engine.models.cards import availability, find_card, is_cached
from engine.models.digests import damage, digest_of, digests_of
from engine.models.fetch import fetch, renew
from engine.models.load import load

WriteFolder = Callable[..., Path]
CONVERTED = ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json")


def flip(file: Path, place: float = 0.5) -> None:
    """Flip one bit of a file, so far into it."""
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", CONVERTED)
@pytest.mark.parametrize("place", [0.001, 0.5, 0.999])
def test_a_flipped_bit_is_mended_and_told(
    cache: Path,
    tmp_path: Path,
    write_folder: WriteFolder,
    caplog: pytest.LogCaptureFixture,
    name: str,
    place: float,
) -> None:
    source = str(write_folder(tmp_path / "mine", seed=3))
    first = load(source)
    assert caplog.text == "" and first.folder is not None
    whole = (first.folder / name).read_bytes()
    ids = torch.tensor(first.token_ids(["The capital city of France"]))
    # Before the flip, which its weights see too: they are mapped from the file.
    expected = first.logits(ids)
    flip(first.folder / name, place)
    said: list[str] = []
    second = load(source, progress=lambda what, done, total: said.append(what))
    assert (first.folder / name).read_bytes() == whole
    assert f"{source} in the cache is not used and is made anew: {name} is not what was written" in said
    assert f"made anew: {name}" in caplog.text
    assert torch.equal(second.logits(ids), expected)
    caplog.clear()
    load(source)
    assert caplog.text == ""


@pytest.mark.parametrize("harm", ["cut", "empty", "gone", "record", "no record", "earlier"])
def test_any_other_damage_is_mended_and_told(
    cache: Path, tmp_path: Path, write_folder: WriteFolder, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    source = str(write_folder(tmp_path / "mine", seed=3))
    first = load(source)
    assert first.folder is not None
    weights, card = first.folder / "model.safetensors", first.folder / "card.json"
    whole = weights.read_bytes()
    if harm in ("cut", "empty"):
        weights.write_bytes(whole[: 2000 if harm == "cut" else 0])
    elif harm == "gone":
        weights.unlink()
    elif harm == "record":
        # Still JSON, but of another model: 0.35 is the scale of attention.
        card.write_text(card.read_text().replace("0.35", "0.36", 1))
    elif harm == "no record":
        card.write_text("{")
    else:
        record = json.loads(card.read_text())
        card.write_text(json.dumps({k: v for k, v in record.items() if k not in ("conversion", "seal")}))
    second = load(source)
    assert weights.read_bytes() == whole and second.anatomy == first.anatomy
    assert "is made anew" in caplog.text


def test_what_is_damaged_and_cannot_be_had_again_is_not_used(
    cache: Path, tmp_path: Path, write_folder: WriteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(write_folder(tmp_path / "mine"))
    flip(fetch(source) / "model.safetensors")

    def refuse(*arguments: object) -> None:
        raise ModelUnavailable("out of reach")

    monkeypatch.setattr(fetching, "_obtain", refuse)
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match="out of reach"):
            load(source)
    assert not is_cached(find_card(source)) and availability(source)[1].startswith("would be converted")


def test_a_disk_that_damages_what_it_is_given_is_told(
    cache: Path, tmp_path: Path, write_folder: WriteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(write_folder(tmp_path / "mine"))
    monkeypatch.setattr(loading, "damage", lambda folder, digests: "model.safetensors is not what it was")
    with pytest.raises(ModelCorrupt, match="right after they were written"):
        load(source)


def test_two_processes_that_find_damage_renew_it_once(
    cache: Path, tmp_path: Path, write_folder: WriteFolder
) -> None:
    source = str(write_folder(tmp_path / "mine"))
    flip(fetch(source) / "model.safetensors")
    said: list[str] = []
    tell = lambda what, done, total: said.append(what)  # noqa: E731
    threads = [threading.Thread(target=renew, args=(source, tell)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([line for line in said if "is made anew" in line]) == 1
    assert is_cached(find_card(source))


def test_a_damaged_proof_is_measured_again(cache: Path, tmp_path: Path, write_folder: WriteFolder) -> None:
    source = str(write_folder(tmp_path / "mine"))
    file = fetch(source) / "parity.json"
    load(source)
    file.write_text("{")
    assert load(source).parity <= 5e-5
    assert json.loads(file.read_text())


def test_every_bit_of_every_file_counts(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "empty").write_bytes(b"")
    digests = digests_of(tmp_path)
    assert set(digests) == {"a", "empty"} and damage(tmp_path, digests) == ""
    seen = {digest_of(tmp_path / "a")}
    for bit in range(24):
        content = bytearray(b"abc")
        content[bit // 8] ^= 1 << bit % 8
        (tmp_path / "a").write_bytes(content)
        seen.add(digest_of(tmp_path / "a"))
        assert damage(tmp_path, digests) == "a is not what was written"
    assert len(seen) == 25
    (tmp_path / "a").unlink()
    assert damage(tmp_path, digests) == "a is missing"


def test_a_record_may_be_carried_to_another_cache(
    cache: Path, tmp_path: Path, write_folder: WriteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(write_folder(tmp_path / "mine"))
    fetch(source)
    shutil.copytree(cache, tmp_path / "lent")
    monkeypatch.setenv("MECH_CACHE", str(tmp_path / "lent"))
    assert is_cached(find_card(source))
