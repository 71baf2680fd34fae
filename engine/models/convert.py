"""From downloaded weights to what the engine loads: safetensors, tokenizer.json, config.json, anatomy.

Nothing here unpickles or runs a model's own code. Quantised GGUF weights are dequantised to fp32 once.
"""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest import mock

from engine.errors import ModelCorrupt
from engine.models.anatomy import Anatomy, describe

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
GGUF_MAGIC = b"GGUF"


def inspect_source(path: Path) -> None:
    """ModelCorrupt unless `path` is a GGUF file, or a Hugging Face folder with safetensors."""
    if path.is_dir():
        return _inspect_folder(path)
    if path.suffix in PICKLES:
        raise _refusal(path, "a safetensors folder or a GGUF file", "a pickle, which can run code when read")
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != GGUF_MAGIC:
        raise _refusal(path, f"a file that begins with {GGUF_MAGIC!r}", repr(magic))
    return None


def _inspect_folder(folder: Path) -> None:
    names = sorted(p.name for p in folder.iterdir())
    if "config.json" not in names:
        raise _refusal(folder, "a config.json beside the weights", ", ".join(names[:5]) or "an empty folder")
    if any(name.endswith(".safetensors") for name in names):
        return
    pickles = [name for name in names if Path(name).suffix in PICKLES]
    seen = f"{', '.join(pickles)} (pickles, which can run code when read)" if pickles else "no weights"
    raise _refusal(folder, "weights in safetensors files", seen)


def convert(source: Path, target: Path) -> Anatomy:
    """Write the model of a GGUF file or a Hugging Face folder to `target`, and say what it is made of.

    ModelCorrupt where the files cannot be read; ModelError where the architecture is not supported.
    """
    from engine.models.huggingface import quiet

    inspect_source(source)
    with quiet(), contextlib.redirect_stderr(io.StringIO()):  # a bar of the GGUF reader knows no other way
        try:
            hf, tokenizer = _read_gguf(source) if source.is_file() else _read_folder(source)
        except MemoryError:
            raise
        except Exception as problem:  # what a reader raises on broken bytes has no common base
            raise _refusal(source, "weights that transformers can read", _first_line(problem)) from problem
        anatomy = describe(hf)
        hf.save_pretrained(target)
        tokenizer.save_pretrained(target)
    if not (target / "tokenizer.json").is_file():
        raise _refusal(source, "a tokenizer that can be saved as tokenizer.json", type(tokenizer).__name__)
    return anatomy


def _read_gguf(file: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    with _headers_read_once():
        hf = AutoModelForCausalLM.from_pretrained(
            file.parent, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True), **where
        )
        return hf, AutoTokenizer.from_pretrained(file.parent, **where)


def _headers_read_once() -> AbstractContextManager[Any]:
    """transformers 5.23 parses the header three times and maps all tensor names anew for each submodule.

    Remembering both halves the time of a conversion.
    """
    import gguf

    slow = ("GGUFReader", "get_tensor_name_map")
    remembered: dict[str, Any] = {name: functools.cache(getattr(gguf, name)) for name in slow}
    return mock.patch.multiple(gguf, **remembered)


def _read_folder(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    hf = AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", use_safetensors=True, local_files_only=True, trust_remote_code=False
    )
    return hf, AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def gguf_quantisation(file: Path) -> str:
    """`dequantised from Q4_1`, from the file's own header; empty for unquantised weights."""
    from gguf import GGUFReader, LlamaFileType

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        entry = GGUFReader(file).fields.get("general.file_type")
    if entry is None:
        return "dequantised from GGUF"
    name = LlamaFileType(entry.contents()).name.removeprefix("MOSTLY_").removeprefix("ALL_")
    return "" if name in ("F32", "BF16", "F16") else f"dequantised from {name}"


def _refusal(path: Path, expected: str, seen: str) -> ModelCorrupt:
    return ModelCorrupt(
        "these are not weights the engine reads", where=str(path), expected=expected, seen=seen
    )


def _first_line(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {next(iter(str(problem).splitlines()), '')}"
