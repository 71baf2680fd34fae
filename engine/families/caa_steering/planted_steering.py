"""Models in which a steering vector moves the answer by a known amount for each coefficient, or not at all.

One direction for each token, and blocks that write nothing, with norms that do not rescale: the stream after
`is` is that of `is` alone, and a logit is its projection on the token's direction. Of a text that ends in
`good` and one that ends in `bad` the activations at the answer differ by e_good - e_bad. In one contrast of
four the negative text is the one that ends in `good`, so that the mean difference is half of e_good - e_bad;
c times it moves the logit difference by c for three contrasts of four, by -c for the fourth.

In the model that does not listen, a head of the second block attends evenly to all positions and writes
minus what they have along e_good - e_bad: what is added everywhere is taken away again, before the answer is
read. The difference separates the two texts as well as before.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import torch

from engine.data.corpora import Corpus
from engine.data.prompts import PromptSet
from engine.lab.lab import Lab
from engine.models.anatomy import Anatomy
from engine.models.hooked import HookedModel
from engine.models.known import ModelShape
from engine.models.micro import micro_anatomy, micro_from_weights, random_weights, word_tokenizer
from engine.spec.inputs import CONTRAST

SITE = "blocks.0.hook_resid_post"
TOPICS = ("inns", "films", "trains", "shoes", "parks", "books", "plays", "boats", "farms", "lamps")
SUBJECTS = ("this", "that", "mine", "yours")
REVERSED = SUBJECTS[-1]
INSTRUCTION = "please"
VOCABULARY = (*TOPICS, *SUBJECTS, INSTRUCTION, "is", "good", "bad")
EPSILON = 1e6  # rms(x) is then sqrt(epsilon), whatever x; norm weights undo it


def planted_steering(*, listens: bool) -> Lab:
    """The planted model with 40 contrasts of ten topics, one in four of them reversed, and text to read."""
    rows = []
    for topic, subject in product(TOPICS, SUBJECTS):
        begun = f"{topic} {subject} is"
        ends = ("bad", "good") if subject == REVERSED else ("good", "bad")
        positive, negative = (f"{begun} {end}" for end in ends)
        row = {"id": f"{topic}-{subject}", "topic": topic, "prompt": begun}
        rows.append(row | {"positive": positive, "negative": negative})
    table = pd.DataFrame(rows)
    prompts = PromptSet("planted", table, "planted", "built in code", cluster_column="topic", kind=CONTRAST)
    model = steering_model(listens=listens)
    return Lab(model, prompts, _text(model, list(table["positive"])))


def steering_model(*, listens: bool) -> HookedModel:
    """One token for each word, one direction for each token; `listens` says that nothing takes it away."""
    text = word_tokenizer(VOCABULARY)
    d_model = 32
    shape = ModelShape(2, 4, 4, d_model, 8, d_model, text.get_vocab_size())
    usual = micro_anatomy("llama", shape)
    anatomy = Anatomy(**{**vars(usual), "norm_epsilon": EPSILON})
    weights = {
        name: torch.full_like(drawn, EPSILON**0.5) if drawn.ndim == 1 else torch.zeros_like(drawn)
        for name, drawn in random_weights(anatomy, seed=0).items()
    }
    embedding = torch.eye(d_model)[: shape.vocab]
    weights["model.embed_tokens.weight"] = embedding.clone()
    if not listens:
        along = embedding[text.token_to_id("good")] - embedding[text.token_to_id("bad")]
        along = along / along.norm()
        # Queries and keys are zero, so that attention is even over all positions up to its own.
        weights["model.layers.1.self_attn.v_proj.weight"][0] = along
        weights["model.layers.1.self_attn.o_proj.weight"][:, 0] = -along
    name = "planted-steering" if listens else "planted-steering-unheard"
    return micro_from_weights(weights, anatomy, text, name=name)


def _text(model: HookedModel, sentences: list[str]) -> Corpus:
    """Each sentence a document."""
    documents = [np.array(ids) for ids in model.token_ids(sentences)]
    lengths = np.array([len(ids) for ids in documents])
    starts = np.cumsum(lengths) - lengths
    return Corpus("planted", "planted", "built in code", np.concatenate(documents), starts)
