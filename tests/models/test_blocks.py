"""Each part of a block against its formula, written out head by head and position by position."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.models.blocks import Block, Decoder, Linear, Norm, Span, decoder
from engine.models.micro import micro_model

POSITIONS, D_MODEL, D_HEAD = 7, 32, 8


@pytest.fixture(scope="module")
def llama() -> Decoder:
    """Four heads of queries that share two of keys and values."""
    return micro_model("llama", seed=3).decoder


@pytest.fixture(scope="module")
def gpt2() -> Decoder:
    return micro_model("gpt2", seed=3).decoder


@pytest.fixture
def resid() -> Tensor:
    return normal(2, POSITIONS, D_MODEL)


def normal(*size: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)).to(dtype)


def exact(tensor: Tensor) -> np.ndarray:
    return tensor.double().numpy()


def close(seen: Tensor, expected: np.ndarray) -> bool:
    assert seen.shape == expected.shape
    return bool(np.abs(exact(seen) - expected).max() <= 1e-5)


def softmax(scores: np.ndarray) -> np.ndarray:
    raised = np.exp(scores - scores.max())
    return raised / raised.sum()


def test_rms_norm_divides_by_the_root_of_the_mean_square() -> None:
    x, weight = normal(3, D_MODEL), normal(D_MODEL, seed=1)
    wide = exact(x)
    expected = exact(weight) * wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-5)
    assert close(Norm(weight, None, 1e-5)(x), expected)


def test_layer_norm_also_takes_the_mean_away_and_adds_a_bias() -> None:
    x, weight, bias = normal(3, D_MODEL) + 2, normal(D_MODEL, seed=1), normal(D_MODEL, seed=2)
    wide = exact(x)
    away = wide - wide.mean(-1, keepdims=True)
    scaled = away / np.sqrt((away**2).mean(-1, keepdims=True) + 1e-5)
    assert close(Norm(weight, bias, 1e-5)(x), exact(weight) * scaled + exact(bias))


@pytest.mark.parametrize("epsilon", [1e-6, 1.0])
def test_rms_norm_in_bfloat16_is_hugging_faces_bit_for_bit(epsilon: float) -> None:
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    theirs = LlamaRMSNorm(D_MODEL, eps=epsilon).to(torch.bfloat16)
    weight = normal(D_MODEL, seed=1, dtype=torch.bfloat16)
    x = 30 * normal(4, D_MODEL, dtype=torch.bfloat16)
    theirs.weight.data.copy_(weight)
    with torch.no_grad():
        assert torch.equal(Norm(weight, None, epsilon)(x), theirs(x))


def test_rotary_positions_turn_each_pair_of_dimensions_as_a_complex_number(
    llama: Decoder, resid: Tensor
) -> None:
    block = llama.blocks[0]
    span = llama.span(resid, None, 0)
    plain = block.query_key_value(resid, Span(0, None, None))
    turned = block.query_key_value(resid, span)
    frequencies = 10_000.0 ** (-np.arange(0, D_HEAD, 2) / D_HEAD)
    turn = np.exp(1j * np.arange(POSITIONS)[:, None] * frequencies)
    for before, after in zip(plain[:2], turned[:2], strict=True):
        wide = exact(before)
        pairs = (wide[..., : D_HEAD // 2] + 1j * wide[..., D_HEAD // 2 :]) * turn
        assert close(after, np.concatenate([pairs.real, pairs.imag], axis=-1))
    assert torch.equal(plain[2], turned[2])  # values are not compared, so they are not turned


def test_with_rotary_positions_a_score_depends_on_the_distance_alone(llama: Decoder) -> None:
    same = normal(1, 1, D_MODEL).expand(1, POSITIONS, D_MODEL)
    query, key, _ = llama.blocks[0].query_key_value(same, llama.span(same, None, 0))
    scores = query[0, 0] @ key[0, 0].T
    for distance in range(POSITIONS):
        diagonal = scores.diagonal(-distance)
        assert torch.allclose(diagonal, diagonal[0].expand_as(diagonal), atol=1e-5)
    assert not torch.allclose(scores[0, 0], scores[-1, 0], atol=1e-3)


def test_rotary_positions_are_hugging_faces(llama: Decoder, resid: Tensor) -> None:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    config = LlamaConfig(hidden_size=D_MODEL, num_attention_heads=4, head_dim=D_HEAD)
    theirs = LlamaRotaryEmbedding(config)(resid, torch.arange(5, 5 + POSITIONS)[None])
    ours = llama.span(resid, None, 5).rotary
    assert ours is not None
    for seen, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(seen, expected[0], atol=1e-5, rtol=0)


def test_neighbours_far_along_a_text_keep_their_own_angle_in_bfloat16(llama: Decoder) -> None:
    # bf16 has 8 significant bits: 300 and 301 are one number there, were the angle computed in it.
    assert torch.equal(*torch.tensor([300.0, 301.0]).bfloat16())
    rotary = llama.span(normal(1, 2, D_MODEL, dtype=torch.bfloat16), None, 300).rotary
    assert rotary is not None
    cos, sin = rotary
    assert cos.dtype == sin.dtype == torch.bfloat16
    assert abs(float(cos[1, 0]) - math.cos(301)) < 0.01
    assert abs(float(cos[0, 0]) - math.cos(300)) < 0.01


def test_heads_share_keys_and_values_in_consecutive_groups(llama: Decoder, resid: Tensor) -> None:
    block = llama.blocks[0]
    span = llama.span(resid, None, 0)
    query, key, value = block.query_key_value(resid, span)
    assert (query.shape[1], key.shape[1], value.shape[1]) == (4, 2, 2)
    z = block.attend(query, key, value, span)
    q, k, v = exact(query), exact(key), exact(value)
    expected = np.zeros((2, POSITIONS, 4, D_HEAD))
    for row, pos, head in np.ndindex(2, POSITIONS, 4):
        group = head // 2
        scores = k[row, group, : pos + 1] @ q[row, head, pos] / math.sqrt(D_HEAD)
        expected[row, pos, head] = softmax(scores) @ v[row, group, : pos + 1]
    assert close(z, expected)


def test_padding_is_no_key_and_a_later_start_sees_what_came_before(llama: Decoder) -> None:
    padding = torch.tensor([[0, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    span = llama.span(normal(2, 3, D_MODEL), padding, 2)
    assert span.mask is not None
    expected = [
        [[key <= 2 + query and bool(padding[row, key]) for key in range(5)] for query in range(3)]
        for row in range(2)
    ]
    assert span.mask[:, 0].tolist() == expected
    alone = llama.span(normal(2, 3, D_MODEL), None, 2).mask
    assert alone is not None
    assert alone[0, 0].tolist() == torch.ones(3, 5).tril(2).bool().tolist()


def test_a_mask_that_says_no_more_than_causal_gives_what_none_gives(llama: Decoder, resid: Tensor) -> None:
    block = llama.blocks[0]
    spans = [llama.span(resid, mask, 0) for mask in (None, torch.ones(2, POSITIONS, dtype=torch.long))]
    assert spans[0].mask is None and spans[1].mask is not None
    one, other = (block.attend(*block.query_key_value(resid, span), span) for span in spans)
    torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_the_joint_projection_of_gpt2_is_query_key_and_value_side_by_side(
    gpt2: Decoder, resid: Tensor
) -> None:
    weights = micro_model("gpt2", seed=3).weights
    W = exact(weights["transformer.h.0.attn.c_attn.weight"])  # stored "in out"
    b = exact(weights["transformer.h.0.attn.c_attn.bias"])
    block = gpt2.blocks[0]
    assert block.attention_norm is not None
    x = exact(block.attention_norm(resid))
    assert gpt2.rotary_frequencies is None and gpt2.span(resid, None, 0).rotary is None
    for part, seen in enumerate(block.query_key_value(resid, gpt2.span(resid, None, 0))):
        columns = slice(part * D_MODEL, (part + 1) * D_MODEL)
        flat = x @ W[:, columns] + b[columns]
        assert close(seen, flat.reshape(2, POSITIONS, 4, D_HEAD).transpose(0, 2, 1, 3))


def test_gpt2_adds_learned_positions_to_its_embedding(gpt2: Decoder) -> None:
    weights = micro_model("gpt2", seed=3).weights
    ids = torch.tensor([[4, 4, 9]])
    positions = weights["transformer.wpe.weight"]
    assert torch.equal(gpt2.embed(ids)[0], weights["transformer.wte.weight"][ids[0]] + positions[:3])


def test_an_mlp_with_a_gate_is_swiglu(llama: Decoder, resid: Tensor) -> None:
    block = llama.blocks[0]
    assert block.gate is not None and block.mlp_norm is not None
    x = exact(block.mlp_norm(resid))
    gate = x @ exact(block.gate.weight).T
    up = x @ exact(block.up.weight).T
    expected = (gate / (1 + np.exp(-gate)) * up) @ exact(block.down.weight).T
    assert close(block.mlp_out(resid), expected)


def test_an_mlp_without_a_gate_is_the_tanh_approximation_of_gelu(gpt2: Decoder, resid: Tensor) -> None:
    block = gpt2.blocks[0]
    assert block.up.bias is not None and block.down.bias is not None and block.mlp_norm is not None
    x = exact(block.mlp_norm(resid))
    up = x @ exact(block.up.weight).T + exact(block.up.bias)
    gelu = up / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (up + 0.044715 * up**3)))
    assert close(block.mlp_out(resid), gelu @ exact(block.down.weight).T + exact(block.down.bias))


@pytest.mark.parametrize("style", ["llama", "gpt2"])
def test_the_output_projection_is_a_matrix_for_each_head_and_a_bias_of_none(
    style: str, request: pytest.FixtureRequest
) -> None:
    block: Block = request.getfixturevalue(style).blocks[1]
    z = normal(2, POSITIONS, 4, D_HEAD)
    W_O = exact(block.W_O)
    assert W_O.shape == (4, D_HEAD, D_MODEL)
    by_head = sum(exact(z[:, :, head]) @ W_O[head] for head in range(4))
    assert close(block.attn_out(z), by_head + exact(block.b_O))
    assert bool(block.b_O.any()) == (style == "gpt2")


def test_weights_are_used_where_they_lie_and_the_embedding_serves_as_unembedding() -> None:
    model = micro_model("llama")
    built = decoder(model.weights, model.anatomy)
    embedding = model.weights["model.embed_tokens.weight"]
    assert built.unembedding.weight.data_ptr() == built.token_embedding.data_ptr() == embedding.data_ptr()
    untied = decoder({**model.weights, "lm_head.weight": embedding + 1}, model.anatomy)
    assert torch.equal(untied.unembedding.weight, embedding + 1)


def test_a_projection_adds_its_bias_where_it_has_one() -> None:
    x, weight, bias = normal(3, 4), normal(5, 4, seed=1), normal(5, seed=2)
    assert close(Linear(weight, None)(x), exact(x) @ exact(weight).T)
    assert close(Linear(weight, bias)(x), exact(x) @ exact(weight).T + exact(bias))
