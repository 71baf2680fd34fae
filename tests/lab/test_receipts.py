"""The identities hold on real forwards, and each one fails when its identity is broken."""

from dataclasses import replace

import pytest
import torch

from engine.lab import receipts
from engine.lab.facts import known_facts
from engine.lab.lens import read_lens
from engine.lab.planted import planted_lab


@pytest.fixture(scope="module")
def model():
    return planted_lab().model


@pytest.fixture(scope="module")
def facts(model):
    return known_facts(model, planted_lab().tokenized())


def test_they_hold(model, facts):
    checks = receipts.model_receipts(model, facts)
    assert [c.name for c in checks] == ["hugging_face_logits", "padding"]
    assert all(c.passed for c in checks)


def test_other_weights_are_seen(model, facts):
    weights = {name: weight * 1.01 for name, weight in model.weights.items()}
    parts = receipts.model_receipts(
        replace(model, weights=weights) if False else _mismatched(model, weights), facts
    )
    assert not parts[0].passed


def _mismatched(model, weights):
    """A model whose plain path and Hugging Face model have different weights."""
    other = replace(model)
    other.__dict__["hf"] = replace(model, weights=weights).hf
    return other


def test_padding_that_leaks_is_seen(model, facts, monkeypatch):
    leaky = type(model).layers

    def without_mask(self, resid, *args, attention_mask=None, **kwargs):
        return leaky(self, resid.flip(1) if attention_mask is not None else resid, *args, **kwargs)

    monkeypatch.setattr(type(model), "layers", without_mask)
    assert not receipts.model_receipts(model, facts)[1].passed


def test_a_lens_that_ends_elsewhere_is_seen(model, facts):
    targets = facts.prompts.answer[:, None]
    reading = read_lens(model, facts.prompts.clean, facts.prompts.last, targets)
    assert receipts.lens_receipt(model, facts, reading).passed
    reading.logprob[:, -1] += 0.001
    assert not receipts.lens_receipt(model, facts, reading).passed
    assert torch.is_tensor(targets)
