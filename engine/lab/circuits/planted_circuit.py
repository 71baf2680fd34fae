"""Models whose circuit is known by construction, for attribution, ACDC and causal scrubbing.

`planted_edges`: facts that travel over a chain of three edges. Head L0H1 turns the subject into a code, head
L1H2 the code into the answer; whatever else there is writes nothing.

`induction_circuit`: `D B ... E C ... D` is followed by B. Head L0H0 writes to each token what the token
before it was; head L1H1 looks for a token that has the present one before it, and copies that token. Three
relations of pairs each make another part of it differ: what stands before (`before`), the present token
(`present`), and what is copied (`copied`). Scores of its heads are of a size at which attention is not
saturated, since a gradient through saturated attention is 0 (Kramár et al. 2024).

Source: Elhage et al. 2021, Olsson et al. 2022 (induction heads).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool

from engine.data.prompts import PromptSet
from engine.lab.circuits.graph import Graph
from engine.lab.lab import Lab
from engine.lab.planted import ANSWERS, FILLERS, OPENINGS, SUBJECTS
from engine.models.anatomy import Anatomy
from engine.models.hooked import HookedModel
from engine.models.known import ModelShape
from engine.models.micro import MicroStyle, micro_anatomy, micro_from_weights, random_weights, word_tokenizer

CHAIN = ("embedding -> L0H1.v", "L0H1 -> L1H2.v", "L1H2 -> logits")
INDUCTION = (
    "embedding -> L0H0.v",
    "L0H0 -> L1H1.k",
    "embedding -> L1H1.q",
    "embedding -> L1H1.v",
    "L1H1 -> logits",
)
STRENGTH = 40.0  # enough that the answer outdoes the last token's own direction
LOUDNESS = 6.0  # of what the induction head writes, in embeddings
MATCH = 4.0  # how much higher a match scores than another position, in nats
LETTERS = tuple("ABCDEFGH")
PADDING = ("x", "y")
POSITIONS = 8
LINEAR_EPSILON = 1e6  # rms(x) is then sqrt(epsilon), whatever x; a norm's weight undoes it


@dataclass(frozen=True)
class PlantedCircuit:
    """A model with its prompts, and the edges that its behaviour runs over."""

    lab: Lab
    edges: tuple[str, ...]

    def true_edges(self, graph: Graph) -> Bool[np.ndarray, " edge"]:
        """True at the edges of the circuit."""
        true = np.zeros(graph.n_edges, dtype=bool)
        true[[graph.edge_index(name) for name in self.edges]] = True
        return true


def planted_edges() -> PlantedCircuit:
    """Facts that travel over three edges, and 32 prompts of them in two relations."""
    rows = []
    for opening, (i, subject) in product(OPENINGS, enumerate(SUBJECTS)):
        # Another partner under each opening, never the subject itself.
        other = (i + 1 + OPENINGS.index(opening)) % len(SUBJECTS)
        rows.append(
            {
                "id": f"{opening}-{subject}",
                "relation": OPENINGS[OPENINGS.index(opening) % 2],
                "clean": f"{opening} {subject} is in",
                "corrupted": f"{opening} {SUBJECTS[other]} is in",
                "answer": f" {ANSWERS[i]}",
                "wrong_answer": f" {ANSWERS[other]}",
                "subject": subject,
                "corrupted_subject": SUBJECTS[other],
            }
        )
    return PlantedCircuit(_lab(_chain_model(), rows, "planted edges"), CHAIN)


def induction_circuit() -> PlantedCircuit:
    """Induction over two heads, and 24 prompts whose corrupted ones differ in three ways."""
    rows = []
    for shift, (relation, corrupted) in product(
        range(len(LETTERS)),
        {"before": "x E B y D C y D", "present": "x D B y E C y E", "copied": "x D C y E B y D"}.items(),
    ):
        # Other letters in the same places: D E before, B C after.
        letters = dict(zip("DEBC", np.roll(LETTERS, shift)[:4], strict=True))
        clean, wrong_side = (
            " ".join(letters.get(word, word) for word in text.split())
            # The first token has none before it and attends to itself: it is none of the letters.
            for text in ("x D B y E C y D", corrupted)
        )
        rows.append(
            {
                "id": f"{relation}-{shift}",
                "relation": relation,
                "clean": clean,
                "corrupted": wrong_side,
                "answer": f" {letters['B']}",
                "wrong_answer": f" {letters['C']}",
                "subject": clean,
                "corrupted_subject": wrong_side,
            }
        )
    return PlantedCircuit(_lab(_induction_model(), rows, "induction"), INDUCTION)


def _lab(model: HookedModel, rows: list[dict[str, str]], name: str) -> Lab:
    prompts = PromptSet(name, pd.DataFrame(rows), name, "built in code", cluster_column="relation")
    return Lab(model, prompts)


def _chain_model() -> HookedModel:
    text = word_tokenizer((*SUBJECTS, *ANSWERS, *OPENINGS, *FILLERS))
    # A direction for each token, and from CODE on one for each subject's code.
    code, d_head = 32, 16
    shape = ModelShape(3, 4, 4, 64, d_head, 64, text.get_vocab_size())
    weights, anatomy = _silent("llama", shape)
    weights["model.embed_tokens.weight"] = torch.eye(64)[: shape.vocab].clone()
    size = shape.d_model**0.5  # the norm makes a unit vector this long
    for i, (subject, answer) in enumerate(zip(SUBJECTS, ANSWERS, strict=True)):
        # Queries and keys are 0, so that attention is even: values carry on to every later position.
        first, second = (
            ("model.layers.0.self_attn", 1 * d_head + i),
            ("model.layers.1.self_attn", 2 * d_head + i),
        )
        weights[f"{first[0]}.v_proj.weight"][first[1], text.token_to_id(subject)] = 1.0
        weights[f"{first[0]}.o_proj.weight"][code + i, first[1]] = 4.0 / size
        weights[f"{second[0]}.v_proj.weight"][second[1], code + i] = 1.0
        weights[f"{second[0]}.o_proj.weight"][text.token_to_id(answer), second[1]] = STRENGTH / size
    return micro_from_weights(weights, anatomy, text, name="planted-edges")


def _induction_model() -> HookedModel:
    text = word_tokenizer((*LETTERS, *PADDING))
    vocab = text.get_vocab_size()
    # A direction for each token, one for each position, and one for each token that stood before.
    d_head, d_model = 20, 40
    before = vocab + POSITIONS
    shape = ModelShape(2, 2, 2, d_model, d_head, 40, vocab)
    weights, anatomy = _silent("gpt2", shape)
    weights["transformer.wte.weight"] = torch.eye(d_model)[:vocab].clone()
    weights["transformer.wpe.weight"][:POSITIONS] = torch.eye(d_model)[vocab:before]
    # Scores are q k / sqrt(d_head), and MATCH where both are 1.
    sharp = (MATCH * d_head**0.5) ** 0.5
    previous, induction = (weights[f"transformer.h.{layer}.attn.c_attn.weight"] for layer in (0, 1))
    for position in range(1, POSITIONS):
        # Head 0: the query of a position matches the key of the one before it.
        previous[vocab + position, position] = 2 * sharp
        previous[vocab + position - 1, d_model + position] = sharp
    for token in range(vocab):
        previous[token, 2 * d_model + token] = 1.0
        weights["transformer.h.0.attn.c_proj.weight"][token, before + token] = 1.0
        # Head 1: the query is the present token, a key what stood before, the value what stands there.
        induction[token, d_head + token] = sharp
        induction[before + token, d_model + d_head + token] = sharp
        induction[token, 2 * d_model + d_head + token] = 1.0
        weights["transformer.h.1.attn.c_proj.weight"][d_head + token, token] = LOUDNESS
    return micro_from_weights(weights, anatomy, text, name="induction-circuit")


def _silent(style: MicroStyle, shape: ModelShape) -> tuple[dict[str, torch.Tensor], Anatomy]:
    """Weights with which no block writes anything; GPT-2's norms only centre, so that sums stay sums."""
    usual = micro_anatomy(style, shape)
    linear = style == "gpt2"
    anatomy = Anatomy(**{**vars(usual), "norm_epsilon": LINEAR_EPSILON}) if linear else usual
    weights = {}
    for name, drawn in random_weights(anatomy, seed=0).items():
        is_norm = drawn.ndim == 1 and name.endswith("weight")
        weights[name] = (
            torch.full_like(drawn, LINEAR_EPSILON**0.5 if linear else 1.0) if is_norm else drawn * 0
        )
    return weights, anatomy
