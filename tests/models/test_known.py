"""The models known by name: complete, and of sizes that agree with each other."""

from __future__ import annotations

import pytest

from engine.models.cards import known_models
from engine.models.known import ModelCard


def test_the_table_is_complete_and_the_default_comes_first() -> None:
    names = [card.name for card in known_models()]
    assert names[0] == "smollm2-135m-instruct"
    assert {"qwen2.5-coder-0.5b-instruct", "qwen2.5-coder-1.5b-instruct", "gpt2", "qwen2.5-1.5b-instruct"} < {
        *names
    }
    for card in known_models():
        assert card.licence and card.size_bytes > 5e7 and card.shape is not None
        assert card.kind == "hub" or (
            len(card.pins.sha256) == 64 and all("==" in w for w in card.pins.wheels)
        )


@pytest.mark.parametrize("card", known_models(), ids=lambda card: card.name)
def test_sizes_agree_with_parameter_counts(card: ModelCard) -> None:
    s = card.shape
    assert s is not None and s.n_heads % s.n_key_value_heads == 0
    attention = s.d_model * s.d_head * (2 * s.n_heads + 2 * s.n_key_value_heads)
    mlp = (2 if card.name == "gpt2" else 3) * s.d_model * s.d_mlp
    assert s.vocab * s.d_model + s.n_layers * (attention + mlp) == pytest.approx(card.n_params, rel=0.01)
