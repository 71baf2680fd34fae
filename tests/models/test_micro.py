"""Models built in code: quick, drawn by their seed, and described as Hugging Face describes them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from engine.models.anatomy import describe
from engine.models.micro import CONTEXT_TOKENS, micro_model

TEXT = "Fact : The capital city of France is Paris ."


def test_a_micro_model_needs_neither_transformers_nor_seconds() -> None:
    code = """
import sys, time, torch
from engine.models.anatomy import describe
from engine.models.micro import CONTEXT_TOKENS, micro_model
start = time.perf_counter()
model = micro_model()
model.logits(torch.tensor(model.token_ids(["The cat sat"])))
assert time.perf_counter() - start < 1
assert not {"transformers", "transformer_lens"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_micro_model_is_its_seed() -> None:
    ids = torch.tensor(micro_model().token_ids([TEXT]))
    same, other = micro_model(n_layers=3, seed=1), micro_model(n_layers=3, seed=2)
    assert torch.equal(same.logits(ids), micro_model(n_layers=3, seed=1).logits(ids))
    assert not torch.allclose(other.logits(ids), same.logits(ids))


def test_words_are_tokens_with_and_without_their_space() -> None:
    m = micro_model()
    assert m.token_ids(["Paris", " Paris"])[0] == m.token_ids([" Paris"])[0]
    assert m.decode(m.token_ids(["Paris is in France"])[0]) == "Paris is in France"
    assert m.token_strings(m.token_ids(["Atlantis is"])[0]) == ["<unk>", "is"]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_its_configuration_says_what_its_anatomy_says(architecture: Any) -> None:
    m = micro_model(architecture, n_layers=1, n_heads=8, n_key_value_heads=2, d_model=64, d_mlp=40)
    described = describe(m.hf)
    assert described.shape == m.shape
    assert described.attention_scales == pytest.approx(m.anatomy.attention_scales)
    assert (described.norm_epsilon, described.context_tokens) == (1e-5, CONTEXT_TOKENS)
    assert m.shape.n_key_value_heads == (8 if architecture == "gpt2" else 2)
    assert {name: p.shape for name, p in m.hf.named_parameters()} == {
        name: weight.shape for name, weight in m.weights.items()
    }


def test_a_random_model_keeps_its_activations_near_one() -> None:
    m = micro_model(n_layers=4, d_model=64)
    run = m.forward(torch.tensor(m.token_ids([TEXT])))
    assert 0.5 < float(run.resid.pow(2).mean().sqrt()) < 5


def test_a_name_tells_models_of_other_sizes_or_seeds_apart() -> None:
    made = [micro_model(), micro_model(seed=1), micro_model(n_layers=3), micro_model("gpt2")]
    assert len({m.hash for m in made}) == len({m.name for m in made}) == 4
