"""Made-up corpora in a micro model's tokens, and a harvest that a test can kill."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.data.corpora import Corpus
from engine.models.hooked import HookedModel
from engine.models.micro import MicroStyle, micro_model

BOS = 3


def made_up(n_documents: int = 40, longest: int = 50, seed: int = 0, vocab: int = 20) -> Corpus:
    """Documents of random lengths and tokens."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest, n_documents)
    ids = rng.integers(2, vocab, lengths.sum()).astype(np.int32)
    return Corpus("made-up", f"hash-{seed}", "made up", ids, np.cumsum(lengths) - lengths)


def with_bos(architecture: MicroStyle = "llama", **more) -> HookedModel:
    """A micro model that declares a BOS token."""
    model = micro_model(architecture, **more)
    return replace(model, config={**model.config, "bos_token_id": BOS})


if __name__ == "__main__":  # harvest, telling each shard, until killed or done
    import time

    import torch

    from engine.lab import harvest as module

    torch.set_num_threads(1)
    module.SHARD_TOKENS = 64

    def tell(fraction: float, message: str) -> None:
        print(f"{fraction:.3f}", flush=True)
        time.sleep(float(sys.argv[2]))

    module.harvest(
        with_bos(),
        made_up(),
        ["blocks.1.hook_resid_pre", "blocks.0.attn.hook_z"],
        folder=Path(sys.argv[1]),
        context_tokens=16,
        progress=tell,
    )
