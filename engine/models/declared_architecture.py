"""What a local model's files say of its architecture before any weight is read, and what is refused by that.

Nothing here imports torch. Where a file says too little nothing speaks against it; the conversion will know.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import BinaryIO

from engine.errors import ModelError
from engine.models.weight_layouts import known_classes

GGUF_ARCHITECTURES = ("llama", "qwen2", "gpt2", "mistral")
"""Those whose GGUF reader was compared with the model that the file was made of."""
TEXT_DECODERS = ("ForCausalLM", "LMHeadModel")
GGUF_STRING = 8


def require_readable(path: Path) -> None:
    """ModelError for a local folder or GGUF file of an architecture that cannot be had."""
    if path.is_file():
        seen = gguf_architecture(path)
        if seen and seen not in GGUF_ARCHITECTURES:
            raise ModelError(
                f"GGUF files of the architecture {seen} are not read",
                where=str(path),
                expected=", ".join(GGUF_ARCHITECTURES),
                seen=seen,
                hint="the Hugging Face folder of the same model, with safetensors",
            )
        return
    seen = _class_of(path)
    if seen and not seen.endswith(TEXT_DECODERS):
        raise ModelError(
            "the engine reads decoders of text alone",
            where=str(path),
            expected=f"{', '.join(known_classes())}, or another ...ForCausalLM",
            seen=seen,
            hint=_text_part(seen),
        )


def _class_of(folder: Path) -> str:
    """The class that config.json names; empty where it names none or cannot be read."""
    try:
        return str(json.loads((folder / "config.json").read_text())["architectures"][0])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return ""


def _text_part(seen: str) -> str:
    if seen.startswith("Gemma3"):
        return "a text-only Gemma 3, such as the 270m and 1b ones; the larger ones also read images"
    return ""


def gguf_architecture(file: Path) -> str:
    """`general.architecture`, the first entry of a GGUF header; empty where it is not that."""
    with file.open("rb") as stream:
        # Magic and version, then how many tensors and how many entries follow.
        if stream.read(4) != b"GGUF" or len(stream.read(20)) < 20:
            return ""
        if _string(stream) != "general.architecture":
            return ""
        kind = stream.read(4)
        return _string(stream) if kind == struct.pack("<I", GGUF_STRING) else ""


def _string(stream: BinaryIO) -> str:
    """A length in 8 bytes, then as many bytes of text; empty where the file is no such one."""
    head = stream.read(8)
    if len(head) < 8:
        return ""
    length = struct.unpack("<Q", head)[0]
    # A broken header may claim any length.
    return stream.read(length).decode("utf-8", "replace") if length < 256 else ""
