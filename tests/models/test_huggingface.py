"""The Hugging Face model, the bridge and the plain path: shared weights, and the proof that they agree."""

from __future__ import annotations

import dataclasses
import logging
from functools import cache

import pytest
import torch

from engine.errors import ModelError
from engine.models.anatomy import describe
from engine.models.hooked import HookedModel
from engine.models.huggingface import (
    Parity,
    build,
    parity,
    quiet,
    require_parity,
    wrap_tokenizer,
)
from engine.models.micro import micro_model
from engine.models.rounding import rounding_limit

ARCHITECTURES = ("llama", "gpt2")


@cache
def model(architecture: str) -> HookedModel:
    return micro_model(architecture, n_layers=3, seed=1)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_parity_is_measured_and_a_wrong_constant_is_found(architecture: str) -> None:
    m = model(architecture)
    found = parity(m)
    assert max(found.plain, found.bridge) <= 5e-5
    assert dataclasses.replace(describe(m.hf), rotary_frequencies=()) == dataclasses.replace(
        m.anatomy, rotary_frequencies=()
    )
    wrong = dataclasses.replace(m, anatomy=dataclasses.replace(m.anatomy, norm_epsilon=0.01))
    with pytest.raises(
        ModelError, match=r"the plain logits of micro-.* do not equal the Hugging Face forward"
    ):
        require_parity(parity(wrong), wrong)
    with pytest.raises(ModelError, match="nan"):
        require_parity(Parity(0.0, float("nan"), 1.0), wrong)


def test_all_three_models_share_their_parameters() -> None:
    m = model("llama")
    for name, parameter in m.hf.named_parameters():
        assert parameter.data_ptr() == m.weights[name].data_ptr()
        assert not parameter.requires_grad
    held = {p.data_ptr() for p in m.bridge.original_model.parameters()}
    assert held == {w.data_ptr() for w in m.weights.values()}


def test_bfloat16_follows_hugging_face_too() -> None:
    m = model("llama")
    narrow = dataclasses.replace(
        m, dtype="bfloat16", weights={name: weight.bfloat16() for name, weight in m.weights.items()}
    )
    found = parity(narrow)
    require_parity(found, narrow)
    assert max(found.plain, found.bridge) <= 0.05


def test_weights_that_are_missing_are_named() -> None:
    m = model("llama")
    fewer = {name: w for name, w in m.weights.items() if "layers.2" not in name}
    with pytest.raises(ModelError, match=r"model\.layers\.2"):
        build(m.config, fewer)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_path_may_differ_by_what_rounding_explains_and_no_more(dtype: str) -> None:
    m = dataclasses.replace(model("llama"), dtype=dtype)
    limit = rounding_limit(dtype, m.shape, 30.0)
    require_parity(Parity(limit, limit, 30.0), m)
    with pytest.raises(ModelError, match=f"the bridge logits of micro-.* in {dtype}"):
        require_parity(Parity(0.0, 1.01 * limit, 30.0), m)


def test_a_weight_that_is_wrong_shows_in_the_plain_path() -> None:
    m = model("llama")
    name = "model.layers.1.self_attn.k_proj.weight"
    wrong = {**m.weights, name: m.weights[name].flip(0)}  # key-value heads in another order
    ids = torch.tensor(m.token_ids(["one red cat sat"]))
    changed = dataclasses.replace(m, weights=wrong)
    assert (changed.logits(ids) - build(m.config, m.weights)(ids).logits).abs().max() > 1e-2
    assert (changed.logits(ids) - build(m.config, wrong)(ids).logits).abs().max() <= 1e-5


def test_quiet_leaves_verbosity_and_progress_bars_as_they_were() -> None:
    from transformers.utils import logging as theirs

    before = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    with pytest.raises(RuntimeError), quiet():
        assert theirs.get_verbosity() == logging.ERROR
        assert not theirs.is_progress_bar_enabled()
        raise RuntimeError
    assert (theirs.get_verbosity(), theirs.is_progress_bar_enabled()) == before


def test_a_tokenizer_built_in_code_is_hugging_faces_too() -> None:
    m = model("llama")
    wrapped = wrap_tokenizer(m.text, None)
    assert wrapped("one red cat")["input_ids"] == m.token_ids(["one red cat"])[0]
    assert (wrapped.pad_token, wrapped.unk_token) == ("<pad>", "<unk>")
