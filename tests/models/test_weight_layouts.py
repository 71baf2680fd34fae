"""Every architecture of the table against Hugging Face and TransformerLens, on random small models."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.errors import ModelError
from engine.models.anatomy import Anatomy
from engine.models.forward import Extent, differentiate, forward
from engine.models.hooked import HookedModel
from engine.models.huggingface import parity, require_parity
from engine.models.sites import Site
from engine.models.weight_layouts import LAYOUTS, known_classes, style_of
from engine.spec.sites import ATTN_OUT, MLP_OUT, READABLE_SITES, RESID_MID, RESID_POST, RESID_PRE, Z
from tests.models.random_models import (
    N_LAYERS,
    NAMES,
    TEXT,
    hooked,
    random_hugging_face,
    random_model,
    token_ids,
)

EXACT = 1e-5
"""Rounding of float32 through three blocks, of the largest value."""


EDITED = (RESID_PRE, Z, ATTN_OUT, MLP_OUT, RESID_POST)
"""Not the stream between attention and MLP: a hook of TransformerLens there changes the MLP's input alone."""


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest) -> HookedModel:
    return random_model(request.param)


def kinds_of(model: HookedModel) -> list[Any]:
    return [kind for kind in READABLE_SITES if not (kind is RESID_MID and model.decoder.parallel)]


def largest(seen: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest value where that is above 1."""
    assert seen.shape == expected.shape
    return float((seen - expected).abs().max() / expected.abs().max().clamp(min=1.0))


def test_every_architecture_of_the_table_has_a_random_model() -> None:
    assert {random_model(name).anatomy.style for name in NAMES} | {"gpt2"} == set(LAYOUTS)
    assert style_of("MambaForCausalLM") is None
    assert [style_of(name) is not None for name in known_classes()] == [True] * len(known_classes())


def test_logits_are_hugging_faces(model: HookedModel) -> None:
    ids = token_ids(model)
    assert largest(model.logits(ids), model.hf(ids, use_cache=False).logits) <= EXACT


def test_logits_in_a_padded_batch_are_hugging_faces(model: HookedModel) -> None:
    texts = [TEXT, "a red cat", "people speak a language in Rome"]
    ids, mask, last = model.pad(model.token_ids(texts))
    together = model.unembed(model.forward(ids, attention_mask=mask).resid)
    theirs = model.hf(ids, attention_mask=mask, use_cache=False).logits
    for row, end in enumerate(last.tolist()):
        alone = model.logits(ids[[row], : end + 1])
        assert largest(together[row, : end + 1], alone[0]) <= EXACT
        assert largest(together[row, : end + 1], theirs[row, : end + 1]) <= EXACT


def test_bfloat16_is_within_what_rounding_explains(model: HookedModel) -> None:
    weights = {name: weight.bfloat16() for name, weight in model.weights.items()}
    narrow = dataclasses.replace(model, dtype="bfloat16", weights=weights)
    require_parity(parity(narrow), narrow)


def test_every_site_is_transformer_lenss(model: HookedModel) -> None:
    ids = token_ids(model)
    sites = model.sites(*kinds_of(model))
    with torch.no_grad():
        run = model.forward(ids, read=sites)
        _, cache = model.bridge.run_with_cache(ids, prepend_bos=False)
    for site in sites:
        assert largest(run.activations[site], cache[str(site)]) <= EXACT, site


def test_what_a_block_adds_is_the_streams_difference(model: HookedModel) -> None:
    run = model.forward(token_ids(model), read=model.sites(RESID_PRE, ATTN_OUT, MLP_OUT, RESID_POST))
    for layer in range(N_LAYERS):
        added = run.activations[Site(layer, ATTN_OUT)] + run.activations[Site(layer, MLP_OUT)]
        before = run.activations[Site(layer, RESID_PRE)]
        assert largest(before + added, run.activations[Site(layer, RESID_POST)]) <= EXACT


def test_an_edit_is_what_a_hook_of_transformer_lens_does(model: HookedModel) -> None:
    ids = token_ids(model)
    plain = model.logits(ids)
    for kind in EDITED:
        site = Site(1, kind)
        with torch.no_grad():
            run = model.forward(ids, edit={site: lambda x: x.flip(-1)})
            hooks: list[Any] = [(str(site), lambda value, hook: value.flip(-1))]
            expected = model.bridge.run_with_hooks(ids, fwd_hooks=hooks, prepend_bos=False)
        assert largest(model.unembed(run.resid), expected) <= EXACT, site
        assert largest(expected, plain) > 1e-2, site


def test_a_gradient_is_the_bridges(model: HookedModel) -> None:
    ids = token_ids(model)
    sites = [Site(1, kind) for kind in EDITED]
    found = differentiate(model.decoder, model.embed(ids), sites, lambda r: model.unembed(r[:, -1])[:, 5])
    for site in sites:
        leaf = found.activations[site].clone().requires_grad_()
        hooks: list[Any] = [(str(site), lambda value, hook, leaf=leaf: leaf)]
        model.bridge.run_with_hooks(ids, fwd_hooks=hooks, prepend_bos=False)[0, -1, 5].backward()
        assert leaf.grad is not None
        torch.testing.assert_close(found.gradients[site], leaf.grad, atol=2e-5, rtol=1e-4)
        assert float(leaf.grad.abs().max()) > 1e-4, site


@pytest.mark.parametrize("start", [0, 2])
@pytest.mark.parametrize("first", [1, 7, 17])
def test_it_goes_on_from_a_prefix(model: HookedModel, start: int, first: int) -> None:
    ids = token_ids(model)
    whole = model.forward(ids, read=model.sites(RESID_PRE), keep_prefix=True)
    resid = whole.activations[Site(start, RESID_PRE)][:, first:]
    part = forward(model.decoder, resid, extent=Extent(start, None, None, first, whole.prefix))
    assert largest(part.resid, whole.resid[:, first:]) <= EXACT


class RowStore:
    """Each row's new keys and values go to that row's position."""

    def __init__(self, prefix: Any, positions: Tensor) -> None:
        self.prefix = prefix
        self.positions = positions

    def extended(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.arange(len(key))
        keys = self.prefix.keys[layer].clone()
        values = self.prefix.values[layer].clone()
        keys[rows, :, self.positions] = key[:, :, 0]
        values[rows, :, self.positions] = value[:, :, 0]
        return keys, values


def test_texts_of_unequal_length_go_on_together(model: HookedModel) -> None:
    ids, mask, last = model.pad(model.token_ids([TEXT, "a red cat sat on Paris", "people speak"]))
    whole = model.forward(ids, attention_mask=mask)
    every = torch.arange(len(ids))
    # The last token of each row is hidden from the first call and computed in the second.
    hidden = ids.clone()
    hidden[every, last] = 0
    store = RowStore(model.forward(hidden, keep_prefix=True).prefix, last)
    resid = model.decoder.embed(ids[every, last][:, None], last[:, None])
    step = forward(model.decoder, resid, extent=Extent(store=store, next_positions=last))
    assert largest(step.resid[:, 0], whole.resid[every, last]) <= EXACT


def test_an_anatomy_survives_its_record(model: HookedModel) -> None:
    import json

    assert Anatomy.from_json(json.loads(json.dumps(model.anatomy.to_json()))) == model.anatomy


CONSTANTS = {
    "windows": (),
    "local_rotary_frequencies": (),
    "attention_cap": 0.0,
    "logit_cap": 0.0,
    "embedding_scale": 1.0,
    "parallel": False,
    "rotary_scaling": 1.0,
}


@pytest.mark.parametrize("name", NAMES)
def test_each_constant_has_an_effect(name: str) -> None:
    """A test with a part that does nothing would not see it left out."""
    model = random_model(name)
    ids = token_ids(model)
    for constant, neutral in CONSTANTS.items():
        if getattr(model.anatomy, constant) != neutral:
            without = dataclasses.replace(model.anatomy, **{constant: neutral})
            changed = dataclasses.replace(model, anatomy=without)
            assert largest(changed.logits(ids), model.logits(ids)) > 1e-2, constant


@pytest.mark.parametrize("name", NAMES)
def test_each_weight_has_an_effect(name: str) -> None:
    model = random_model(name)
    ids = token_ids(model)
    plain = model.logits(ids)
    for key, weight in model.weights.items():
        changed = dataclasses.replace(model, weights={**model.weights, key: weight.flip(0)})
        assert largest(changed.logits(ids), plain) > 1e-3, key


def test_where_attention_and_mlp_read_one_stream_there_is_none_between_them() -> None:
    model = random_model("gpt_neox")
    ids = token_ids(model)
    with pytest.raises(
        ModelError, match=r"(?s)no stream between attention and MLP.*blocks\.1\.hook_resid_mid"
    ):
        model.forward(ids, read=[Site(1, RESID_MID)])
    with pytest.raises(ModelError, match="no stream between"):
        model.forward(ids, edit={Site(1, RESID_MID): lambda x: x})
    with pytest.raises(ModelError, match="does not reach"):
        model.forward(ids, read=[Site(9, RESID_MID)])


def test_longrope_has_the_frequencies_of_short_texts_and_refuses_longer_ones() -> None:
    model = random_model("phi3 with longrope")
    assert model.anatomy.context_tokens == 24
    with pytest.raises(ModelError, match="at most 24 tokens"):
        model.embed(torch.ones(1, 25, dtype=torch.long))


def test_a_window_that_hugging_face_would_not_look_at_is_refused() -> None:
    hf = random_hugging_face("llama")
    hf.config.sliding_window = 4
    with pytest.raises(ModelError, match="sliding windows"):
        hooked(hf, "llama")


@pytest.mark.parametrize("kind", [Z, ATTN_OUT])
def test_attention_out_is_after_the_post_norm_and_z_before_it(kind: Any) -> None:
    model = random_model("olmo2")
    ids = token_ids(model)
    site = Site(1, kind)
    run = model.forward(ids, edit={site: lambda x: 2 * x}, read=[Site(1, ATTN_OUT)])
    plain = model.forward(ids, read=[Site(1, ATTN_OUT)])
    doubled = 2 if kind is ATTN_OUT else 1  # a norm takes the size of what it reads away
    a, b = run.activations[Site(1, ATTN_OUT)], plain.activations[Site(1, ATTN_OUT)]
    assert largest(a, doubled * b) <= 1e-3
