"""How the packaged sparse autoencoders were made: two seeds of one Top-K training on SmolLM2-135M-Instruct.

1. Activations at half depth over the whole packaged corpus (`engine.lab.harvest`), BOS left out.
2. The documents of the first READ_TOKENS tokens are set aside: nothing is trained on them, nor on others that
   equal one of them. Massive activations are left out, as everywhere.
3. For each seed a Top-K autoencoder on the rest. The seed draws its start and the order of the tokens.
4. Written as a SAELens folder in half precision, read back, and measured on the text that was set aside with
   the functions of sae_evaluation: beside random directions and principal components with the same k.
5. A card beside the folders: this command, the model's hash, the training, the numbers, and a checksum of
   every file.

    python -m engine.lab.sparse.make_smollm2_coders              # into the package
    python -m engine.lab.sparse.make_smollm2_coders --to DIR     # elsewhere, to compare

On one thread, so that sums are taken in one order. Same machine and library versions: the same weights.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from engine.data.corpora import Corpus, load_corpus
from engine.data.packaged_coders import CARD, CODES, PACKAGED, file_hashes
from engine.lab.activations import Activations
from engine.lab.harvest import harvest
from engine.lab.massive_activations import massive_rows, norm_limit
from engine.lab.sparse.autoencoder import train
from engine.lab.sparse.corpus_codes import (
    READ,
    READ_TOKENS,
    CorpusCodes,
    corpus_codes,
    read_corpus,
    write_codes,
)
from engine.lab.sparse.saelens import read_saelens, write_saelens
from engine.lab.sparse.saelens_config import CONFIG, WEIGHTS
from engine.models.hooked import HookedModel
from engine.models.load import load
from engine.spec.models import CorpusChoice

MODEL = "smollm2-135m-instruct"
SITE = "blocks.15.hook_resid_pre"
CORPUS = "smollm2-samples"
NAME = "smollm2-135m-layer15-seed{seed}"
SEEDS = (0, 1)
LATENTS = 640
K = 16
EPOCHS = 4
BATCH_TOKENS = 1024
LEARNING_RATE = 1e-3
COMMAND = "python -m engine.lab.sparse.make_smollm2_coders"


def trained_rows(acts: Activations, read_tokens: int) -> Activations:
    """The rows to train on: of documents that neither begin in the first tokens nor equal one that does."""
    contexts = acts.contexts
    set_aside = np.unique(contexts.documents[contexts.starts < read_tokens])
    rest = replace(acts, chosen=np.flatnonzero(~np.isin(contexts.documents, set_aside)))
    limit = norm_limit(rest, rest.site, READ.max_norm)
    return rest.without(massive_rows(rest, rest.site, limit))


def make(
    model: HookedModel, corpus: Corpus, rows: Activations, folder: Path, seed: int, *, epochs: int = EPOCHS
) -> dict[str, Any]:
    """Train one seed, write its folder and measure it; what the card says of it."""
    # Of this process alone: the machine may do other work at the same time.
    started = time.process_time()
    n_steps = rows.n_tokens // BATCH_TOKENS * epochs
    batches = rows.batches(rows.site, BATCH_TOKENS, seed, epochs)
    outcome = train(
        (batch for batch in batches if len(batch) == BATCH_TOKENS),
        rows.d,
        LATENTS,
        K,
        lr=LEARNING_RATE,
        seed=seed,
        n_steps=n_steps,
        # Some passes over a small corpus never reach the ten million tokens of Gao et al. 2024.
        dead_after_tokens=rows.n_tokens * epochs // 10,
    )
    seconds = time.process_time() - started
    write_saelens(
        outcome.coder,
        folder,
        model_name=model.name,
        hook_name=rows.site,
        context_size=READ.context_tokens,
        dataset_path=corpus.name,
        training_tokens=outcome.n_tokens,
        engine={"command": COMMAND, "model_hash": model.hash, "seed": seed},
    )
    halve(folder)
    found = measured(model, corpus, folder)
    write_codes(found, folder / CODES)
    return {
        "seed": seed,
        "tokens_trained": outcome.n_tokens,
        "training_processor_seconds": round(seconds, 1),
        "live": int(found.live.sum()),
        "dead": int((~found.live).sum()),
        **found.numbers,
    }


def halve(folder: Path) -> None:
    """A SAELens folder's weights in half precision."""
    weights = load_file(folder / WEIGHTS)
    save_file({name: tensor.half() for name, tensor in weights.items()}, folder / WEIGHTS)
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8")) | {"dtype": "float16"}
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def measured(model: HookedModel, corpus: Corpus, folder: Path) -> CorpusCodes:
    """What the dictionary in a folder does on the text that was set aside."""
    coder, config = read_saelens(folder)
    rows = read_corpus(model, head_of(corpus), config.hook_site, READ)
    return corpus_codes(rows, coder, coder.k)


def head_of(corpus: Corpus) -> Corpus:
    """The first tokens of a corpus, as `{name: ..., tokens: READ_TOKENS}` in a spec."""
    starts = corpus.starts[corpus.starts < READ_TOKENS]
    return replace(corpus, ids=corpus.ids[:READ_TOKENS], starts=starts)


def card(model: HookedModel, corpus: Corpus, rows: Activations, made: list[dict[str, Any]]) -> dict[str, Any]:
    """What the package says of its autoencoders."""
    return {
        "what": "two seeds of a Top-K sparse autoencoder of the residual stream at half depth",
        "made_by": COMMAND,
        "model": model.name,
        "model_sha256": model.hash,
        "quantisation": model.quantisation,
        "hook_site": rows.site,
        "d_model": rows.d,
        "latents": LATENTS,
        "k": K,
        "corpus": corpus.name,
        "corpus_sha256": corpus.hash,
        "training_text_tokens": rows.n_tokens,
        "epochs": EPOCHS,
        "batch_tokens": BATCH_TOKENS,
        "learning_rate": LEARNING_RATE,
        "context_tokens": READ.context_tokens,
        "dtype": "float16",
        "torch": torch.__version__.partition("+")[0],
        "measured_on": {
            "corpus": {"name": corpus.name, "tokens": READ_TOKENS},
            "held_out": READ.held_out,
            "note": "these documents, and any equal to one of them, were not trained on",
        },
        "seeds": made,
        "sha256": {},
    }


def main(arguments: list[str]) -> None:
    """Train and measure both seeds, and write the card."""
    parser = argparse.ArgumentParser(description="Make the packaged sparse autoencoders.")
    parser.add_argument("--to", type=Path, default=PACKAGED, help="where the folders are written")
    parser.add_argument("--cache", type=Path, help="a project's .engine/, where activations are kept")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    model = load(MODEL)
    corpus = load_corpus(CorpusChoice(name=CORPUS), Path.cwd(), model)
    rows = trained_rows(harvest(model, corpus, [SITE], folder=options.cache), READ_TOKENS)
    made = []
    for seed in SEEDS:
        folder = options.to / NAME.format(seed=seed)
        folder.mkdir(parents=True, exist_ok=True)
        made.append(make(model, corpus, rows, folder, seed))
        print(made[-1], flush=True)
    said = card(model, corpus, rows, made) | {"sha256": file_hashes(options.to)}
    (options.to / CARD.name).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
