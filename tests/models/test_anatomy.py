"""The constants of a decoder are read off the Hugging Face model, and what is not known is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.errors import ModelError
from engine.models.anatomy import Anatomy, describe
from engine.models.micro import micro_model


def test_an_unknown_architecture_names_those_that_are_known() -> None:
    from transformers import BioGptConfig, BioGptForCausalLM, LlamaConfig, LlamaForCausalLM

    small: dict[str, Any] = {
        "num_hidden_layers": 1,
        "hidden_size": 8,
        "num_attention_heads": 2,
        "intermediate_size": 8,
    }
    with pytest.raises(ModelError, match=r"(?s)LlamaForCausalLM.*TransformerLens's bridge.*BioGpt"):
        describe(BioGptForCausalLM(BioGptConfig(**small, vocab_size=8)))
    with pytest.raises(ModelError, match="activation"):
        describe(LlamaForCausalLM(LlamaConfig(**small, vocab_size=8, hidden_act="relu")))


def test_rotary_frequencies_are_those_of_hugging_face() -> None:
    m = micro_model()
    assert describe(m.hf).rotary_frequencies == pytest.approx(m.anatomy.rotary_frequencies, rel=1e-6)


DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}


def llama(**changes: Any) -> Any:
    """A Hugging Face Llama of one layer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 24}
    return LlamaForCausalLM(LlamaConfig(**{**sizes, "vocab_size": 8, **changes}))


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_an_anatomy_survives_its_record(architecture: Any) -> None:
    anatomy = micro_model(architecture).anatomy
    assert Anatomy.from_json(json.loads(json.dumps(anatomy.to_json()))) == anatomy


def test_constants_are_those_of_the_configuration() -> None:
    found = describe(llama(num_key_value_heads=2, head_dim=8, rms_norm_eps=1e-3, max_position_embeddings=77))
    assert (found.style, found.norm_epsilon, found.context_tokens) == ("llama", 1e-3, 77)
    assert (found.shape.n_heads, found.shape.n_key_value_heads, found.shape.d_head) == (4, 2, 8)
    assert (found.shape.d_mlp, found.shape.vocab) == (24, 8)
    assert found.attention_scales == pytest.approx((8**-0.5,))
    assert len(found.rotary_frequencies) == 4


def test_stretched_rotary_frequencies_are_the_models_and_not_a_formula_of_ours() -> None:
    linear = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10_000.0}
    plain = describe(llama()).rotary_frequencies
    assert describe(llama(rope_parameters=linear)).rotary_frequencies == pytest.approx(
        [frequency / 4 for frequency in plain]
    )


def test_gpt2_can_be_told_to_scale_each_layer_by_its_depth() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    small: dict[str, Any] = {"n_layer": 2, "n_embd": 8, "n_head": 2, "vocab_size": 8}
    found = describe(GPT2LMHeadModel(GPT2Config(**small, scale_attn_by_inverse_layer_idx=True)))
    assert found.attention_scales == pytest.approx((0.5, 0.25))  # 1 / sqrt(d_head) / (layer + 1)
    assert found.shape.d_mlp == 32 and found.rotary_frequencies == ()


@pytest.mark.parametrize(
    ("changes", "what", "seen"),
    [
        ({"hidden_act": "relu"}, "activation", "relu"),
        (
            {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
            "rotary",
            "dynamic",
        ),
    ],
)
def test_what_the_plain_blocks_cannot_do_is_refused_by_name(
    changes: dict[str, Any], what: str, seen: str
) -> None:
    with pytest.raises(ModelError, match=what) as caught:
        describe(llama(**changes))
    assert caught.value.seen == seen and caught.value.expected


def test_the_layers_that_see_a_window_are_the_configurations() -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    small: dict[str, Any] = {"num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 2}
    small |= {"intermediate_size": 8, "vocab_size": 8, "num_key_value_heads": 2}
    kinds = ["full_attention", "sliding_attention"]
    assert describe(Qwen2ForCausalLM(Qwen2Config(**small))).windows == ()
    windowed = Qwen2Config(**small, layer_types=kinds, use_sliding_window=True, sliding_window=3)
    assert describe(Qwen2ForCausalLM(windowed)).windows == (0, 3)


def test_layers_of_a_kind_that_the_plain_path_has_not_are_refused() -> None:
    hf = llama()
    hf.config.layer_types = ["chunked_attention"]
    with pytest.raises(ModelError, match="chunked_attention"):
        describe(hf)


def test_a_record_of_before_names_no_activation_and_is_read() -> None:
    for architecture, activation in (("llama", "silu"), ("gpt2", "gelu_tanh")):
        anatomy = micro_model(architecture).anatomy  # pyright: ignore[reportArgumentType]
        old = ("style", "shape", "context_tokens", "norm_epsilon", "attention_scales", "rotary_frequencies")
        record = {
            name: value for name, value in anatomy.to_json().items() if name in (*old, "rotary_scaling")
        }
        assert Anatomy.from_json(json.loads(json.dumps(record))) == anatomy
        assert anatomy.activation == activation
