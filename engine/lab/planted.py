"""Models whose answer is known by construction: what lens, attribution and patching must find, exactly.

`planted_lab` holds facts that one head looks up: layer 1, head 2 attends evenly to all positions and
turns the subject's direction into the answer's; everything else writes nothing. `linear_model` is a
random model in which attention patterns are fixed, MLPs write nothing and norms do not rescale, so that
effects add up.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from engine.data.corpora import Corpus
from engine.data.prompts import PromptSet
from engine.lab.attribution_patching import estimated_sweep
from engine.lab.lab import Lab
from engine.lab.patch_pairs import PatchPairs
from engine.lab.patching import sweep
from engine.models.anatomy import Anatomy
from engine.models.hooked import HookedModel
from engine.models.known import ModelShape
from engine.models.micro import (
    WORDS,
    MicroStyle,
    micro_anatomy,
    micro_from_weights,
    random_weights,
    word_tokenizer,
)

LAYER = 1
HEAD = 2
N_LAYERS = 3
N_HEADS = 4
D_HEAD = 8
SUBJECTS = ("France", "Spain", "Italy", "Germany", "Japan", "Egypt", "Peru", "Kenya")
ANSWERS = ("Paris", "Madrid", "Rome", "Berlin", "Tokyo", "Cairo", "Lima", "Nairobi")
OPENINGS = ("Fact", "Note", "Well", "Now")
FILLERS = ("is", "in")
STRENGTH = 40.0  # enough that the answer outdoes the last token's own direction


def planted_lab() -> Lab:
    """The planted model with 32 prompts of its facts, half of them a relation of their own."""
    rows = []
    for opening, (i, subject) in product(OPENINGS, enumerate(SUBJECTS)):
        # Another partner under each opening, never the subject itself (four openings, eight subjects).
        other = (i + 1 + OPENINGS.index(opening)) % len(SUBJECTS)
        rows.append(
            {
                "id": f"{opening}-{subject}",
                "relation": "north" if i < len(SUBJECTS) // 2 else "south",
                "clean": f"{opening} {subject} is in",
                "corrupted": f"{opening} {SUBJECTS[other]} is in",
                "answer": f" {ANSWERS[i]}",
                "wrong_answer": f" {ANSWERS[other]}",
                "subject": subject,
                "corrupted_subject": SUBJECTS[other],
            }
        )
    prompts = PromptSet("planted", pd.DataFrame(rows), "planted", "built in code", cluster_column="relation")
    return Lab(planted_model(), prompts)


def planted_text(model: HookedModel) -> Corpus:
    """The planted facts as documents, one sentence each, answer included."""
    places = zip(SUBJECTS, ANSWERS, strict=True)
    sentences = [f"{opening} {s} is in {a}" for opening, (s, a) in product(OPENINGS, places)]
    documents = [np.array(ids) for ids in model.token_ids(sentences)]
    lengths = np.array([len(ids) for ids in documents])
    starts = np.cumsum(lengths) - lengths
    return Corpus("planted", "planted", "built in code", np.concatenate(documents), starts)


def planted_model() -> HookedModel:
    """One token per word, one direction per token; only layer 1, head 2 writes anything."""
    text = word_tokenizer((*SUBJECTS, *ANSWERS, *OPENINGS, *FILLERS))
    vocab = text.get_vocab_size()
    d_model = N_HEADS * D_HEAD
    shape = ModelShape(N_LAYERS, N_HEADS, N_HEADS, d_model, D_HEAD, d_model, vocab)
    anatomy = micro_anatomy("llama", shape)
    weights = _silent_weights(anatomy)
    # One direction of its own for each token: nothing overlaps by accident.
    weights["model.embed_tokens.weight"] = torch.eye(d_model)[:vocab].clone()
    attention = f"model.layers.{LAYER}.self_attn"
    for i, (subject, answer) in enumerate(zip(SUBJECTS, ANSWERS, strict=True)):
        # The head has as many dimensions as there are subjects: each gets one of them.
        unit = HEAD * D_HEAD + i
        # Queries and keys are zero, so that attention is even: the value carries the subject to every later
        # position.
        weights[f"{attention}.v_proj.weight"][unit, text.token_to_id(subject)] = 1.0
        # The norm before the block makes a unit vector sqrt(d_model) long; this takes it back.
        weights[f"{attention}.o_proj.weight"][text.token_to_id(answer), unit] = STRENGTH / d_model**0.5
    return micro_from_weights(weights, anatomy, text, name="planted-facts")


def _silent_weights(anatomy: Anatomy) -> dict[str, Tensor]:
    """Weights of the right names and sizes with which no block writes anything, and norms weigh 1."""
    drawn = random_weights(anatomy, seed=0)
    return {name: (torch.ones_like if w.ndim == 1 else torch.zeros_like)(w) for name, w in drawn.items()}


def linear_model(architecture: MicroStyle, *, mlps: bool = False, seed: int = 0) -> HookedModel:
    """A random model whose output is linear in every activation; with `mlps` it is not."""
    text = word_tokenizer(WORDS)
    shape = ModelShape(3, 4, 4, 32, 8, 64, text.get_vocab_size())
    usual = micro_anatomy(architecture, shape)
    epsilon = 1e6  # rms(x) is then sqrt(epsilon), whatever x; norm weights undo it
    anatomy = Anatomy(**{**vars(usual), "norm_epsilon": epsilon})
    weights = random_weights(anatomy, seed)
    for name, weight in weights.items():
        if weight.ndim == 1 and name.endswith("weight"):
            weight.fill_(epsilon**0.5)
        # Scores are then 0 whatever the keys: the pattern no longer depends on the activations.
        elif "q_proj" in name or (".mlp." in name and not mlps):
            weight.zero_()
        # GPT-2's joint matrix: its first d_model columns are the queries.
        elif "c_attn" in name:
            weight[..., : shape.d_model] = 0.0
    return micro_from_weights(weights, anatomy, text, name=f"linear-{architecture}")


def estimate_gap(model: HookedModel) -> float:
    """The largest difference of estimated from exact patching on one pair, relative to the largest effect."""
    texts = ("the city of Spain is red", "the city of France is red")
    # The two texts differ in one token and are equally long, as a pair must be.
    base, source = (torch.tensor(model.token_ids([text])) for text in texts)
    pairs = PatchPairs(base, source, torch.tensor([base.shape[1] - 1]), torch.tensor([5]), torch.tensor([9]))
    exact = sweep(model, pairs).patched
    estimate = estimated_sweep(model, pairs).patched
    gap = max(float(np.abs(exact[site] - estimate[site]).max()) for site in exact)
    # Relative to the largest effect, since the size of a random model's logits means nothing.
    return gap / max(float(np.ptp(values)) for values in exact.values())
