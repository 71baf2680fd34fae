"""What a file says of its architecture is read at once, and refused before any weight is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import ModelError
from engine.models.cards import availability
from engine.models.convert import convert
from engine.models.declared_architecture import gguf_architecture, require_readable
from tests.models.conftest import write_gguf


def write_header(path: Path, architecture: str) -> Path:
    """A GGUF file that is nothing but its first entry."""
    name = b"general.architecture"
    value = architecture.encode()
    entry = len(name).to_bytes(8, "little") + name + (8).to_bytes(4, "little")
    counts = (0).to_bytes(8, "little") + (1).to_bytes(8, "little")
    head = b"GGUF" + (3).to_bytes(4, "little") + counts
    path.write_bytes(head + entry + len(value).to_bytes(8, "little") + value)
    return path


def folder_of(path: Path, architecture: str) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    (path / "model.safetensors").write_bytes(b"not read")
    return path


def test_the_architecture_of_a_gguf_file_is_its_first_entry(tmp_path: Path) -> None:
    assert gguf_architecture(write_gguf(tmp_path / "a.gguf", "qwen2")) == "qwen2"
    assert gguf_architecture(write_header(tmp_path / "b.gguf", "gemma3")) == "gemma3"
    (tmp_path / "c.gguf").write_bytes(b"GGUF" + 20 * b"\xff" + 8 * b"\xff")
    assert gguf_architecture(tmp_path / "c.gguf") == ""


def test_a_gemma_3_file_is_refused_before_it_is_read(cache: Path, tmp_path: Path) -> None:
    file = write_header(tmp_path / "gemma.gguf", "gemma3")
    with pytest.raises(ModelError, match=r"(?s)architecture gemma3.*llama, qwen2.*safetensors"):
        convert(file, tmp_path / "out")
    possible, reason = availability(str(file))
    assert not possible and "gemma3" in reason


def test_a_model_that_reads_images_is_refused_by_its_configuration(cache: Path, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "gemma", "Gemma3ForConditionalGeneration")
    with pytest.raises(ModelError, match=r"(?s)decoders of text.*Gemma3ForConditionalGeneration.*text-only"):
        convert(folder, tmp_path / "out")
    possible, reason = availability(str(folder))
    assert not possible and "decoders of text" in reason


def test_what_says_nothing_is_not_refused(tmp_path: Path) -> None:
    require_readable(folder_of(tmp_path / "other", "FutureForCausalLM"))
    (tmp_path / "empty").mkdir()
    require_readable(tmp_path / "empty")


def test_it_is_read_without_torch() -> None:
    code = "import sys, engine.models.declared_architecture; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
