"""Local files: what is read, what is refused, and when a change is noticed."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from engine.errors import ModelCorrupt, ModelError
from engine.models.cards import find_card as card_of
from engine.models.cards import is_cached, model_hash
from engine.models.convert import convert
from engine.models.fetch import fetch
from engine.models.huggingface import quiet
from engine.models.source_files import hash_of
from tests.models.conftest import write_gguf

Leftovers = Callable[[], list[str]]
WriteFolder = Callable[..., Path]


def test_a_changed_folder_is_converted_again(
    cache: Path, tmp_path: Path, leftovers: Leftovers, write_folder: WriteFolder
) -> None:
    name = str(write_folder(tmp_path / "mine", seed=3))
    fetch(name)
    before = model_hash(name)
    write_folder(tmp_path / "mine", seed=4)
    assert not is_cached(card_of(name))
    known = model_hash(name)
    fetch(name)
    assert before != known == model_hash(name)
    assert len(leftovers()) == 1


def test_a_gguf_file_says_what_it_was_quantised_from(cache: Path, gguf_file: Path) -> None:
    folder = fetch(str(gguf_file))
    assert json.loads((folder / "card.json").read_text())["quantisation"] == ""
    assert model_hash(str(gguf_file)) == hash_of(gguf_file)


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_a_gguf_file_becomes_what_transformers_makes_of_it(tmp_path: Path, architecture: str) -> None:
    """The header is parsed once here, and three times by these two calls."""
    file = write_gguf(tmp_path / "tiny.gguf", architecture)
    where: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    with quiet(), contextlib.redirect_stderr(io.StringIO()):
        exact = GgufConfig(dequantize=True)
        hf = AutoModelForCausalLM.from_pretrained(
            tmp_path, dtype=torch.float32, quantization_config=exact, **where
        )
        hf.save_pretrained(tmp_path / "theirs")
        AutoTokenizer.from_pretrained(tmp_path, **where).save_pretrained(tmp_path / "theirs")
    convert(file, tmp_path / "ours")
    names = {path.name for path in (tmp_path / "theirs").iterdir()}
    assert {"model.safetensors", "tokenizer.json", "config.json"} <= names
    assert {path.name for path in (tmp_path / "ours").iterdir()} == names
    for name in names:
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes(), name


def test_a_gguf_file_that_lacks_a_tensor_is_refused(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", without="blk.1.ffn_up.weight")
    with pytest.raises(ModelCorrupt, match="every parameter"):
        convert(file, tmp_path / "ours")


@pytest.mark.parametrize("suffix", ["bin", "pt", "pth"])
def test_pickles_are_refused_unread(
    cache: Path,
    tmp_path: Path,
    suffix: str,
    leftovers: Leftovers,
    write_folder: WriteFolder,
) -> None:
    folder = write_folder(tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / f"pytorch_model.{suffix}")
    for path in (folder, folder / f"pytorch_model.{suffix}"):
        with pytest.raises(ModelCorrupt, match="pickle"):
            fetch(str(path))
    assert leftovers() == []


@pytest.mark.parametrize(
    ("name", "content"), [("model.gguf", b"<!DOCTYPE html>"), ("model.gguf", b""), ("notes.txt", b"hello")]
)
def test_a_file_without_the_magic_is_no_gguf(
    cache: Path, tmp_path: Path, name: str, content: bytes, leftovers: Leftovers
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelCorrupt, match="begins with b'GGUF'"):
        fetch(str(tmp_path / name))
    assert leftovers() == []


def test_a_truncated_gguf_is_corrupt(
    cache: Path, tmp_path: Path, gguf_file: Path, leftovers: Leftovers
) -> None:
    (tmp_path / "cut.gguf").write_bytes(gguf_file.read_bytes()[:5000])
    with pytest.raises(ModelCorrupt, match="weights that transformers can read"):
        fetch(str(tmp_path / "cut.gguf"))
    assert leftovers() == []


def test_a_folder_needs_a_config_weights_and_a_tokenizer(
    cache: Path, tmp_path: Path, leftovers: Leftovers, write_folder: WriteFolder
) -> None:
    folder = write_folder(tmp_path / "mine")
    for missing, words in (
        ("tokenizer.json", "tokenizer|weights"),
        ("model.safetensors", "no weights"),
        ("config.json", "config"),
    ):
        (folder / missing).unlink()
        with pytest.raises(ModelCorrupt, match=words):
            fetch(str(folder))
    assert leftovers() == []


def test_truncated_safetensors_are_corrupt(
    cache: Path, tmp_path: Path, leftovers: Leftovers, write_folder: WriteFolder
) -> None:
    weights = write_folder(tmp_path / "mine") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:3000])
    with pytest.raises(ModelCorrupt):
        fetch(str(tmp_path / "mine"))
    assert leftovers() == []


def test_what_the_blocks_have_not_is_refused_before_anything_is_written(
    cache: Path, tmp_path: Path, leftovers: Leftovers, write_folder: WriteFolder
) -> None:
    folder = write_folder(tmp_path / "mine")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))
    with pytest.raises(ModelError, match="activation"):
        fetch(str(folder))
    assert leftovers() == []
