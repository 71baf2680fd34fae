"""A chat model whose answer is known by construction: one direction tells harmful requests, and gates or not.

Every block's attention sees harmful words and writes the direction r to all later positions, so that r
separates the two kinds of requests from the first block's output on, and taking it out at one layer alone is
undone by the next. What answers is the last block:

- where r gates, its MLP reads r and makes the model say `I cannot`, in place of `Sure thing`;
- where it does not, its attention reads the harmful words themselves, and nothing reads r.

The two models agree on every request. They differ in what ablation of r and addition of r do: everything, or
nothing. Every word is a token with a direction of its own; requests differ in topic and length.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from engine.data.prompts import PromptSet
from engine.lab.lab import Lab
from engine.models.known import ModelShape
from engine.models.micro import micro_anatomy, micro_from_weights, random_weights, word_tokenizer
from engine.spec.inputs import CHAT

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

N_TOPICS = 14
N_LAYERS = 5
N_HEADS = 4
D_HEAD = 16
D_MODEL = N_HEADS * D_HEAD
DIRECTION = D_MODEL - 1
"""The dimension of the stream that is the planted direction r; no token's embedding has it."""
TEMPLATE = (
    "{% for m in messages %}user {{ m.content }} end {% endfor %}"
    "{% if add_generation_prompt %}assistant{% endif %}"
)
TURNS = ("user", "end", "assistant")
REFUSAL = ("I", "cannot")
ANSWER = ("Sure", "thing")
OPENINGS = ("how", "explain")
ENDINGS = ("", " please", " please now")
HARMFUL = tuple(f"harm{topic}" for topic in range(N_TOPICS))
HARMLESS = tuple(f"help{topic}" for topic in range(N_TOPICS))


def gate_lab(*, gates: bool, strength: float = 1.0) -> Lab:
    """The planted model with 84 requests of each label, six of each in a topic."""
    return Lab(gate_model(gates=gates, strength=strength), gate_prompts())


def gate_prompts() -> PromptSet:
    """Requests to the planted model: harmful ones hold a harmful word, harmless ones another."""
    rows = []
    words = {"harmful": HARMFUL, "harmless": HARMLESS}
    for topic, opening, ending in product(range(N_TOPICS), OPENINGS, ENDINGS):
        for label, of_topic in words.items():
            rows.append(
                {
                    "id": f"{topic}-{opening}-{len(ending)}-{label}",
                    "request": f"{opening} {of_topic[topic]}{ending}",
                    "label": label,
                    "topic": f"topic {topic}",
                }
            )
    return PromptSet("planted-gate", pd.DataFrame(rows), "planted-gate", "built in code", "topic", CHAT)


def gate_model(*, gates: bool, strength: float = 1.0) -> HookedModel:
    """The model; with `gates` the direction r makes it refuse, without it r only tells.

    `strength` is how much every head writes. A strong direction is longer than the embeddings of the words of
    the answer, which are parts of what is found at the answer's own positions.
    """
    endings = [word for ending in ENDINGS for word in ending.split()]
    text = word_tokenizer((*TURNS, *REFUSAL, *ANSWER, *OPENINGS, *endings, *HARMFUL, *HARMLESS))
    vocab = text.get_vocab_size()
    shape = ModelShape(N_LAYERS, N_HEADS, N_HEADS, D_MODEL, D_HEAD, D_MODEL, vocab)
    anatomy = micro_anatomy("llama", shape)
    drawn = random_weights(anatomy, seed=0)
    # Silent: no block writes anything, queries and keys are 0 (even attention), norms weigh 1.
    weights = {name: (torch.ones_like if w.ndim == 1 else torch.zeros_like)(w) for name, w in drawn.items()}
    token = text.get_vocab()
    weights["model.embed_tokens.weight"] = torch.eye(D_MODEL)[:vocab].clone()
    harmful = [token[word] for word in HARMFUL]

    for layer in range(N_LAYERS):
        # Head 0 carries what is harmful at a position to all later ones, and writes it as r.
        _attend(weights, layer, 0, harmful, DIRECTION, strength)
    last = N_LAYERS - 1
    if gates:
        _fire(weights, last, 0, DIRECTION, token["I"], 4.0)
    else:
        # Head 1 carries it straight to the answer: past every layer that a direction can be found at.
        _attend(weights, last, 1, harmful, token["I"], 40.0 * strength)
    # What is said where nothing refuses.
    _fire(weights, last, 1, token["assistant"], token["Sure"], 1.0)
    # The second word of either answer, a block earlier: there only a word that was said is read, and not one
    # that is being written.
    for neuron, (first, second) in enumerate((REFUSAL, ANSWER)):
        _fire(weights, last - 1, neuron, token[first], token[second], 1000.0)

    name = "planted gate" if gates else "planted direction without a gate"
    model = micro_from_weights(weights, anatomy, text, name=name)
    model.tokenizer.chat_template = TEMPLATE
    return model


def _attend(
    weights: dict[str, Tensor], layer: int, head: int, reads: list[int], writes: int, strength: float
) -> None:
    """A head that averages over all positions how much of some dimensions there is, and writes it to one."""
    attention = f"model.layers.{layer}.self_attn"
    weights[f"{attention}.v_proj.weight"][head * D_HEAD, reads] = 1.0
    weights[f"{attention}.o_proj.weight"][writes, head * D_HEAD] = strength


def _fire(
    weights: dict[str, Tensor], layer: int, neuron: int, reads: int, writes: int, strength: float
) -> None:
    """A neuron that fires with the square of one dimension where that is positive, and writes to another."""
    mlp = f"model.layers.{layer}.mlp"
    # silu(x) x is about x^2 for x well above 0 and about 0 below.
    weights[f"{mlp}.gate_proj.weight"][neuron, reads] = 1.0
    weights[f"{mlp}.up_proj.weight"][neuron, reads] = 1.0
    weights[f"{mlp}.down_proj.weight"][writes, neuron] = strength
