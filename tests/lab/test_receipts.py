"""The identities hold on real forwards, and each one fails when its identity is broken."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.lab import receipts
from engine.lab.attribution import Attribution, Component
from engine.lab.facts import known_facts
from engine.lab.lens import read_lens
from engine.lab.planted import planted_lab
from engine.models.forward import visited_sites
from engine.models.micro import WORDS, micro_model
from engine.models.sites import Site
from engine.spec.sites import Z
from tests.lab.forward_faults import FAULTS, planted


@pytest.fixture(scope="module")
def model():
    return planted_lab().model


@pytest.fixture(scope="module")
def facts(model):
    return known_facts(model, planted_lab().tokenized())


def test_they_hold(model, facts):
    checks = receipts.model_receipts(model, facts)
    assert [c.name for c in checks] == ["hugging_face_logits", "padding", "hooks_fired"]
    assert all(c.passed for c in checks)


def test_other_weights_are_seen(model, facts):
    weights = {name: weight * 1.01 for name, weight in model.weights.items()}
    other = _mismatched(model, weights)
    assert not receipts.model_receipts(other, facts)[0].passed
    assert not receipts.base_receipts_of_contexts(other, facts.prompts.clean)[0].passed


def test_contexts_owe_logits_and_hooks(model, facts):
    checks = receipts.base_receipts_of_contexts(model, facts.prompts.clean[:3])
    assert [c.name for c in checks] == ["hugging_face_logits", "hooks_fired"]
    assert all(c.passed for c in checks)
    assert "3 contexts" in checks[0].about


@pytest.mark.parametrize("times", [0, 2])
def test_a_hook_that_does_not_fire_once_is_seen(model, facts, monkeypatch, times):
    def visited(decoder, resid, edit):
        for site, value in visited_sites(decoder, resid, edit):
            if site == Site(1, Z):
                if not times:
                    continue
                edit[site](value)
            yield site, value

    monkeypatch.setattr(receipts, "visited_sites", visited)
    check = receipts.hooks_receipt(model, facts.prompts.clean[:1])
    assert not check.passed
    assert check.value == 1


def _mismatched(model, weights):
    """A model whose plain path and Hugging Face model have different weights."""
    other = replace(model)
    other.__dict__["hf"] = replace(model, weights=weights).hf
    return other


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_fault_of_a_padded_batch_is_seen_in_each_dtype(architecture, dtype, fault):
    micro = micro_model(architecture, n_layers=4, seed=2)
    weights = {name: weight.to(getattr(torch, dtype)) for name, weight in micro.weights.items()}
    micro = replace(micro, dtype=dtype, weights=weights)
    input_ids, _, last = micro.pad(micro.token_ids([" ".join(WORDS[i : 2 * i + 3]) for i in range(6)]))
    assert all(check.passed for check in receipts.base_receipts(micro, input_ids, last))
    with planted(fault):
        found, padding, hooks = receipts.base_receipts(micro, input_ids, last)
    assert not padding.passed
    assert found.passed and hooks.passed


def test_contributions_that_cancel_are_judged_by_their_size(model):
    """A difference near zero has the rounding of the large terms that make it, and is no worse for it."""
    components = (Component("embedding", "embedding"), Component("a head", "head", 0))
    values = np.array([[[40.0, -40.0 + 2e-6]]])
    cancelled = Attribution(components, values, np.array([[1e-6]]))
    assert receipts.attribution_receipt(model, cancelled).passed
    lost = Attribution(components, values, np.array([[0.1]]))
    assert not receipts.attribution_receipt(model, lost).passed


@pytest.mark.parametrize(("difference", "passed"), [(0.0, True), (1e-9, False)])
def test_where_nothing_contributes_there_is_no_difference(model, difference, passed):
    nothing = Attribution(
        (Component("embedding", "embedding"),), np.zeros((1, 1, 1)), np.array([[difference]])
    )
    assert receipts.attribution_receipt(model, nothing).passed == passed


def test_padding_that_leaks_is_seen(model, facts, monkeypatch):
    whole = type(model).forward

    def leaky(self, input_ids, *, attention_mask=None, **kwargs):
        return whole(self, input_ids.flip(1) if attention_mask is not None else input_ids, **kwargs)

    monkeypatch.setattr(type(model), "forward", leaky)
    assert not receipts.model_receipts(model, facts)[1].passed


def test_a_lens_that_ends_elsewhere_is_seen(model, facts):
    targets = facts.prompts.answer[:, None]
    reading = read_lens(model, facts.prompts.clean, facts.prompts.last, targets)
    assert receipts.lens_receipt(model, facts, reading).passed
    reading.logprob[:, -1] += 0.001
    assert not receipts.lens_receipt(model, facts, reading).passed
    assert torch.is_tensor(targets)
