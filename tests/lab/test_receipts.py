"""The identities hold on real forwards, and each one fails when its identity is broken."""

from dataclasses import replace

import pytest
import torch

from engine.lab import receipts
from engine.lab.facts import known_facts
from engine.lab.lens import read_lens
from engine.lab.planted import planted_lab
from engine.models.forward import visited_sites
from engine.models.sites import Site
from engine.spec.sites import Z


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
