"""ReLU: what is positive is active, and a SAELens folder holds nothing of it but the weights."""

import torch

from engine.lab.sparse.architectures import relu

PRE = torch.tensor([[3.0, -1.0, 2.0], [0.5, 1.0, 0.0]])


def test_a_relu_keeps_what_is_positive():
    assert torch.equal(relu.infer(PRE, 0, None).dense(), PRE.relu())
    assert relu.save(0, None, torch.zeros(3)) == ({}, {})


def test_zero_is_not_active():
    codes = relu.infer(PRE, 0, None)
    assert codes.latents.tolist() == [0, 2, 0, 1]
    assert codes.fired().tolist() == [2, 1, 1]


def test_a_threshold_and_a_k_change_nothing():
    assert torch.equal(relu.infer(PRE, 1, torch.full((3,), 2.5)).dense(), PRE.relu())


def test_saelens_calls_it_standard_and_its_four_weights_are_the_coders():
    weights = {"W_enc": torch.ones(2, 3), "b_enc": torch.zeros(3)}
    assert relu.SAELENS == "standard"
    assert relu.load(weights, {}, "cfg.json") == weights
