"""What a model's own files say of its sizes is what its conversion finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.models.declared_shape import declared_shape
from engine.models.load import load
from engine.models.micro import micro_model

WriteFolder = Callable[..., Path]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_folder_declares_the_shape_of_its_model(
    tmp_path: Path, write_folder: WriteFolder, architecture: str
) -> None:
    sizes = {"n_layers": 3, "d_model": 16, "n_heads": 2}
    folder = write_folder(tmp_path / "mine", architecture, **sizes)
    model = micro_model(architecture, **sizes)  # pyright: ignore[reportArgumentType]
    assert declared_shape(folder) == model.shape


def test_a_gguf_header_declares_the_shape_of_its_model(cache: Path, gguf_file: Path) -> None:
    assert declared_shape(gguf_file) == load(str(gguf_file)).shape


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"model_type": "llama"})])
def test_a_configuration_that_says_too_little_declares_nothing(tmp_path: Path, content: str) -> None:
    assert declared_shape(tmp_path) is None
    (tmp_path / "config.json").write_text(content)
    assert declared_shape(tmp_path) is None


def test_a_file_that_is_no_gguf_declares_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"no model")
    assert declared_shape(tmp_path / "model.gguf") is None
