"""A local model's sizes as its files declare them, before anything is converted: what a plan needs at once.

Nothing here imports torch. Where a file says too little there is no answer; the conversion will have one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.models.known import ModelShape


def declared_shape(path: Path) -> ModelShape | None:
    """The sizes in a folder's config.json or in a GGUF file's header; None where they are not all there."""
    try:
        return (
            _of_gguf(path) if path.is_file() else _of_config(json.loads((path / "config.json").read_text()))
        )
    # No configuration, none that can be read, or one that leaves sizes to its class's defaults.
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _of_config(config: dict[str, Any]) -> ModelShape:
    if config["model_type"] == "gpt2":
        n_heads = config["n_head"]
        d_model = config["n_embd"]
        return ModelShape(
            n_layers=config["n_layer"],
            n_heads=n_heads,
            n_key_value_heads=n_heads,
            d_model=d_model,
            d_head=d_model // n_heads,
            d_mlp=config.get("n_inner") or 4 * d_model,
            vocab=config["vocab_size"],
        )
    n_heads = config["num_attention_heads"]
    return ModelShape(
        n_layers=config["num_hidden_layers"],
        n_heads=n_heads,
        n_key_value_heads=config.get("num_key_value_heads") or n_heads,
        d_model=config["hidden_size"],
        d_head=config.get("head_dim") or config["hidden_size"] // n_heads,
        d_mlp=config["intermediate_size"],
        vocab=config["vocab_size"],
    )


def _of_gguf(file: Path) -> ModelShape:
    from gguf import GGUFReader

    fields = GGUFReader(file).fields
    architecture = fields["general.architecture"].contents()

    def size(key: str) -> int:
        return int(fields[f"{architecture}.{key}"].contents())

    n_heads = size("attention.head_count")
    d_model = size("embedding_length")
    return ModelShape(
        n_layers=size("block_count"),
        n_heads=n_heads,
        n_key_value_heads=size("attention.head_count_kv"),
        d_model=d_model,
        d_head=d_model // n_heads,
        d_mlp=size("feed_forward_length"),
        # The reader takes as many rows as there are tokens, where no size is given.
        vocab=len(fields["tokenizer.ggml.tokens"].data),
    )
