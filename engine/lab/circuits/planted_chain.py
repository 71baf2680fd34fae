"""A model whose circuit is known by construction: two heads in a row carry each answer to the last token.

Head 1 of block 0 attends evenly and writes a code of the subject at every later position; head 3 of block 2
reads that code in its values, attends evenly as well, and writes the answer. Everything else writes nothing.
Between two prompts of a pair three edges differ in what they carry:

    embedding -> L0H1.v      L0H1 -> L2H3.v      L2H3 -> logits
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool

from engine.lab.circuits.graph import Graph
from engine.lab.lab import Lab
from engine.lab.planted import ANSWERS, FILLERS, OPENINGS, SUBJECTS, planted_lab
from engine.models.hooked import HookedModel
from engine.models.known import ModelShape
from engine.models.micro import micro_anatomy, micro_from_weights, random_weights, word_tokenizer

FIRST = (0, 1)
SECOND = (2, 3)
N_LAYERS = 3
N_HEADS = 4
D_HEAD = 10
EDGES = ("embedding -> L0H1.v", "L0H1 -> L2H3.v", "L2H3 -> logits")
CODE_STRENGTH = 8.0
ANSWER_STRENGTH = 60.0


def planted_chain_lab() -> Lab:
    """The model with the 32 prompts of the planted facts, each opening a relation of its own."""
    prompts = planted_lab().prompts
    assert prompts is not None
    table = prompts.table.assign(relation=[row.partition("-")[0] for row in prompts.table["id"]])
    # Subjects of one opening under several relations, so that there are clusters to resample.
    table["relation"] = [f"{r} {i % 2}" for i, r in enumerate(table["relation"])]
    return Lab(planted_chain_model(), replace(prompts, table=table, name="planted-chain"))


def planted_chain_model() -> HookedModel:
    """One direction for each token, and behind these one for each subject's code."""
    text = word_tokenizer((*SUBJECTS, *ANSWERS, *OPENINGS, *FILLERS))
    vocab = text.get_vocab_size()
    ids = text.get_vocab()
    d_model = N_HEADS * D_HEAD
    shape = ModelShape(N_LAYERS, N_HEADS, N_HEADS, d_model, D_HEAD, d_model, vocab)
    anatomy = micro_anatomy("llama", shape)
    drawn = random_weights(anatomy, seed=0)
    weights = {name: (torch.ones_like if w.ndim == 1 else torch.zeros_like)(w) for name, w in drawn.items()}
    weights["model.embed_tokens.weight"] = torch.eye(d_model)[:vocab].clone()
    for i, (subject, answer) in enumerate(zip(SUBJECTS, ANSWERS, strict=True)):
        code = vocab + i
        _carry(weights, FIRST, i, ids[subject], code, CODE_STRENGTH)
        _carry(weights, SECOND, i, code, ids[answer], ANSWER_STRENGTH)
    return micro_from_weights(weights, anatomy, text, name="planted-chain")


def planted_edges(graph: Graph) -> Bool[np.ndarray, " edge"]:
    """The three edges of the circuit."""
    planted = np.zeros(graph.n_edges, dtype=bool)
    planted[[graph.edge_index(name) for name in EDGES]] = True
    return planted


def _carry(
    weights: dict[str, torch.Tensor], head: tuple[int, int], unit: int, read: int, write: int, strength: float
) -> None:
    """One dimension of a head's values reads one direction of the stream and writes another."""
    layer, index = head
    attention = f"model.layers.{layer}.self_attn"
    place = index * D_HEAD + unit
    # Queries and keys are zero, so that attention is even; the norm makes a unit vector sqrt(d_model) long.
    weights[f"{attention}.v_proj.weight"][place, read] = 1.0
    weights[f"{attention}.o_proj.weight"][write, place] = strength / (N_HEADS * D_HEAD) ** 0.5
