"""A cache of its own for each test, and tiny models in every shape a source can have."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.models import wheels
from engine.models.micro import micro_model

torch.set_num_threads(1)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty model cache."""
    monkeypatch.setenv("MECH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def leftovers(cache: Path) -> Callable[[], list[str]]:
    """Lists what lies among the models: nothing, after a fetch that failed."""
    return lambda: sorted(p.name for p in cache.glob("models/*"))


@pytest.fixture
def write_folder() -> Callable[..., Path]:
    """Writes a Hugging Face folder of a micro model: config.json, model.safetensors, tokenizer.json."""

    def write(folder: Path, architecture: Any = "llama", **sizes: Any) -> Path:
        model = micro_model(architecture, **sizes)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(dict(model.weights), folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(dict(model.config)))
        model.text.save(str(folder / "tokenizer.json"))
        tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>", "pad_token": "<pad>"}
        (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
        return folder

    return write


@pytest.fixture(scope="session")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer Llama with a byte-level tokenizer, as llama.cpp would write it."""
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def write_gguf(
    path: Path,
    architecture: str = "llama",
    without: str = "",
    extra: Mapping[str, tuple[int, ...]] | None = None,
    broken: str = "",
    scaling: str = "",
    template: str = "",
) -> Path:
    """A tiny model of an architecture.

    `without` names a tensor that is left out, `extra` ones that are added or of another size, `broken` one
    that holds a NaN; `scaling` is how rotary positions are scaled, `template` a chat template.
    """
    import gguf

    writer = gguf.GGUFWriter(path, architecture)
    _describe(writer)
    if scaling:
        writer.add_rope_scaling_type(gguf.RopeScalingType(scaling))
        writer.add_rope_scaling_factor(2.0)
    if template:
        writer.add_chat_template(template)
    rng = np.random.default_rng(0)
    sizes = _tensors()
    if architecture == "qwen2":
        sizes |= {f"blk.{i}.attn_{p}.bias": (16 if p == "q" else 8,) for i in range(2) for p in "qkv"}
    for name, size in (sizes | dict(extra or {})).items():
        values = rng.normal(0, 0.3, size).astype(np.float32)
        if name == broken:
            values.flat[7] = np.nan
        if name != without:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _describe(writer: Any) -> None:
    import gguf

    sizes = {"context_length": 64, "embedding_length": 16, "block_count": 2, "feed_forward_length": 32}
    for key, value in (sizes | {"head_count": 4, "head_count_kv": 2, "vocab_size": 259}).items():
        getattr(writer, f"add_{key}")(value)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    letters = [chr(c) for c in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*letters, "th", "<s>", "<|endoftext|>"])
    writer.add_token_types([1] * 257 + [3, 3])
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(257)
    writer.add_eos_token_id(258)


def _tensors() -> dict[str, tuple[int, ...]]:
    block = {
        "attn_norm": (16,),
        "ffn_norm": (16,),
        "attn_q": (16, 16),
        "attn_k": (8, 16),
        "attn_v": (8, 16),
        "attn_output": (16, 16),
        "ffn_gate": (32, 16),
        "ffn_up": (32, 16),
        "ffn_down": (16, 32),
    }
    blocks = {f"blk.{i}.{name}.weight": size for i in range(2) for name, size in block.items()}
    return {"token_embd.weight": (259, 16), "output_norm.weight": (16,), **blocks}


@dataclass(frozen=True)
class WheelMaker:
    """A package index of wheels made here."""

    folder: Path

    def make(self, name: str, version: str, files: dict[str, bytes]) -> None:
        stem = f"{name.replace('-', '_')}-{version}"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
        info = {
            f"{stem}.dist-info/METADATA": metadata,
            f"{stem}.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{stem}.dist-info/RECORD": b"",
        }
        with zipfile.ZipFile(self.folder / f"{stem}-py3-none-any.whl", "w") as archive:
            for member, content in (files | info).items():
                archive.writestr(member, content)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WheelMaker:
    """An empty package index; pip sees nothing else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return WheelMaker(folder)


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
