"""A micro model that reads a made-up corpus: what the families of sparse coders run on within seconds."""

from __future__ import annotations

import numpy as np

from engine.data.corpora import Corpus
from engine.lab.lab import Lab
from engine.models.micro import micro_model

SITE = "blocks.1.hook_resid_post"


def made_up_corpus(vocab: int, *, documents: int = 120, seed: int = 0) -> Corpus:
    """Documents of 20 to 40 tokens from a random chain of words."""
    rng = np.random.default_rng(seed)
    follows = rng.integers(2, vocab, size=(vocab, 3))
    texts = []
    for length in rng.integers(20, 41, size=documents):
        words = [int(rng.integers(2, vocab))]
        while len(words) < length:
            words.append(int(follows[words[-1], rng.integers(3)]))
        texts.append(words)
    starts = np.cumsum([0, *(len(t) for t in texts[:-1])])
    ids = np.concatenate(texts).astype(np.int32)
    return Corpus("made up", "made-up", "built in code", ids, starts)


def sparse_lab(site: str | None = SITE, **more) -> Lab:
    """A workplace with that corpus; activations stay in memory."""
    model = micro_model("llama", n_layers=2)
    corpus = made_up_corpus(model.shape.vocab)
    return Lab(model, hook_site=site, corpus=corpus, folder=None, **more)
