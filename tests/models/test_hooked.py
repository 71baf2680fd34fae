"""Every path through a model gives what Hugging Face gives, whole or in part."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.errors import ModelError
from engine.models.forward import KVPrefix
from engine.models.hooked import HookedModel
from engine.models.micro import micro_model
from engine.models.sites import Site
from engine.spec.sites import ATTN_OUT, MLP_OUT, MLP_POST, READABLE_SITES, RESID_PRE, Z

TEXTS = ["Fact : The capital city of France is Paris .", "one red cat sat", "People speak a language in Rome"]
ARCHITECTURES = ("llama", "gpt2")


@cache
def model(architecture: str) -> HookedModel:
    return micro_model(architecture, n_layers=3, seed=1)  # pyright: ignore[reportArgumentType]


def padded(m: HookedModel) -> tuple[Tensor, Tensor, Tensor]:
    return m.pad(m.token_ids(TEXTS))


def furthest(seen: Tensor, expected: Tensor) -> float:
    assert seen.shape == expected.shape
    return float((seen - expected).abs().max())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_plain_path_equals_hugging_face_with_padding(architecture: str) -> None:
    m = model(architecture)
    input_ids, mask, _ = padded(m)
    expected = m.hf(input_ids, attention_mask=mask).logits
    assert furthest(m.logits(input_ids, mask)[mask.bool()], expected[mask.bool()]) <= 1e-5
    assert furthest(m.logits(input_ids)[mask.bool()], expected[mask.bool()]) <= 1e-5


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_prompt_alone_equals_the_same_prompt_in_a_padded_batch(architecture: str) -> None:
    m = model(architecture)
    input_ids, mask, last = padded(m)
    together = m.logits(input_ids, mask)
    for row, ids in enumerate(m.token_ids(TEXTS)):
        assert last[row] == len(ids) - 1
        assert furthest(together[row, : len(ids)], m.logits(torch.tensor([ids]))[0]) <= 1e-5


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_bridge_hooks_see_what_the_forward_reads(architecture: str) -> None:
    m = model(architecture)
    input_ids = torch.tensor(m.token_ids(TEXTS[:1]))
    logits, seen = m.bridge.run_with_cache(input_ids, prepend_bos=False)
    run = m.forward(input_ids, read=m.sites(*READABLE_SITES))
    assert furthest(m.unembed(run.resid), logits) <= 1e-5
    assert len(run.activations) == 7 * m.n_layers
    for site, activation in run.activations.items():
        assert furthest(activation, seen[str(site)]) <= 1e-5


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_suffix_after_a_prefix_equals_the_whole(architecture: str) -> None:
    m = model(architecture)
    input_ids, mask, _ = padded(m)
    run = m.forward(input_ids, attention_mask=mask, read=m.sites(RESID_PRE), keep_prefix=True)
    for start in range(m.n_layers):
        for position in range(1, input_ids.shape[1]):
            whole = run.resid[:, position:]
            suffix = m.layers(
                run.by_layer(RESID_PRE)[start][:, position:],
                start,
                attention_mask=mask,
                first_position=position,
                prefix=run.prefix,
            )
            assert furthest(suffix, whole) <= 1e-5


def test_one_prompts_prefix_serves_a_batch_and_rows_choose_prompts() -> None:
    m = model("llama")
    input_ids, _, _ = padded(m)
    run = m.forward(input_ids, read=m.sites(RESID_PRE), keep_prefix=True)
    stream = run.activations[Site(1, RESID_PRE)]
    changed = stream[:1, 2:] + torch.linspace(-1, 1, 5)[:, None, None]
    one = m.forward(input_ids[:1], keep_prefix=True).prefix
    together = m.layers(changed, 1, first_position=2, prefix=one)
    for row in range(5):
        full = torch.cat((stream[:1, :2], changed[row : row + 1]), dim=1)
        assert furthest(together[row : row + 1], m.layers(full, 1)[:, 2:]) <= 1e-5
    rows = [2, 0, 2]
    by_prompt = KVPrefix(tuple(k[rows] for k in run.prefix.keys), tuple(v[rows] for v in run.prefix.values))
    by_row = m.layers(stream[rows][:, 4:], 1, first_position=4, prefix=by_prompt.before(4))
    assert furthest(by_row, run.resid[rows][:, 4:]) <= 1e-5


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_parts_add_up(architecture: str) -> None:
    m = model(architecture)
    run = m.forward(torch.tensor(m.token_ids(TEXTS[:1])), read=m.sites(RESID_PRE, Z, ATTN_OUT, MLP_OUT))
    embedded = run.activations[Site(0, RESID_PRE)]
    total = embedded
    for layer in range(m.n_layers):
        attn_out = run.activations[Site(layer, ATTN_OUT)]
        by_head = m.head_outputs(layer, run.activations[Site(layer, Z)])
        assert by_head.shape[2] == m.shape.n_heads
        assert furthest(by_head.sum(2) + m.b_O(layer), attn_out) <= 1e-5
        total = total + attn_out + run.activations[Site(layer, MLP_OUT)]
    norm = m.frozen_norm(run.resid)
    parts = [embedded, *run.by_layer(ATTN_OUT), *run.by_layer(MLP_OUT)]
    linear = torch.stack([norm.apply(part) for part in parts]).sum(0) + norm.bias
    assert furthest(total, run.resid) <= 1e-5
    assert furthest(linear @ m.W_U, m.unembed(run.resid)) <= 1e-4


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_equal_hugging_faces(architecture: str) -> None:
    m = micro_model(architecture)  # pyright: ignore[reportArgumentType]
    input_ids = torch.tensor(m.token_ids(TEXTS[:1]))
    with torch.inference_mode():
        assert m.hf(input_ids).logits.shape == m.bridge(input_ids, prepend_bos=False).shape
    ours = m.embed(input_ids).requires_grad_()
    m.unembed(m.layers(ours))[0, -1, 5].backward()
    theirs = m.hf.get_input_embeddings()(input_ids).requires_grad_()
    m.hf(inputs_embeds=theirs).logits[0, -1, 5].backward()
    assert ours.grad is not None and theirs.grad is not None
    assert furthest(ours.grad, theirs.grad) <= 1e-5
    hooked = m.embed(input_ids).requires_grad_()
    stream: Any = [("blocks.0.hook_resid_pre", lambda value, hook: hooked)]
    m.bridge.run_with_hooks(input_ids, prepend_bos=False, fwd_hooks=stream)[0, -1, 5].backward()
    assert hooked.grad is not None and furthest(hooked.grad, ours.grad) <= 1e-5


def test_a_later_position_without_a_prefix_is_refused() -> None:
    m = model("gpt2")
    resid = m.embed(torch.tensor([[1, 2, 3]]))
    with pytest.raises(ModelError, match="a prefix of at least 2 positions"):
        m.layers(resid[:, 2:], first_position=2)
    with pytest.raises(ModelError, match="seen: 1"):
        m.layers(
            resid[:, 2:], first_position=2, prefix=m.forward(torch.tensor([[1]]), keep_prefix=True).prefix
        )


def test_a_text_longer_than_the_context_is_refused() -> None:
    with pytest.raises(ModelError, match="at most 128 tokens"):
        model("gpt2").embed(torch.ones(1, 129, dtype=torch.long))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_neurons_are_what_hugging_faces_output_projection_reads(architecture: str) -> None:
    m = model(architecture)
    input_ids, _, _ = padded(m)
    seen: list[Tensor] = []
    handles: list[Any] = []
    for block in m.hf.model.layers if architecture == "llama" else m.hf.transformer.h:
        projection = block.mlp.down_proj if architecture == "llama" else block.mlp.c_proj
        handles.append(projection.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0])))
    with torch.no_grad():
        m.hf(input_ids)
        for handle in handles:
            handle.remove()
        found = m.forward(input_ids, read=m.sites(MLP_POST)).by_layer(MLP_POST)
    assert len(seen) == len(found) == m.n_layers
    for ours, theirs in zip(found, seen, strict=True):
        assert ours.shape[-1] == m.shape.d_mlp
        assert furthest(ours, theirs) <= 1e-5
