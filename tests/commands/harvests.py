"""Harvested activations on the disk of a toy project, as a run would leave them."""

from __future__ import annotations

import json
from pathlib import Path

from engine.lab.activation_cache import FORMAT
from tests.runs.toy import Toy

CORPUS = {"name": "words.csv", "tokens": 2}


def harvest(toy: Toy, name: str, model_hash: str = "", corpus_hash: str = "", n_bytes: int = 50_000) -> Path:
    """A harvest on the disk; by default the one that the toy's experiment would read."""
    inputs = toy.plan().runs[0].examined.inputs
    folder = toy.root / ".engine/activations" / name
    folder.mkdir(parents=True)
    about = {
        "format": FORMAT,
        "model": "tiny",
        "model_hash": model_hash or str(inputs.model),
        "corpus": "words.csv",
        "corpus_hash": corpus_hash or inputs.data["corpus"],
        "sites": ["blocks.2.hook_resid_pre"],
        "tokens": 2,
        "shards": 1,
    }
    (folder / "about.json").write_text(json.dumps(about))
    (folder / "00000.safetensors").write_bytes(bytes(n_bytes))
    return folder


def harvests(toy: Toy) -> set[str]:
    return {path.name for path in (toy.root / ".engine/activations").glob("*/")}
