"""JumpReLU: a threshold for each latent, at inference and in a SAELens folder."""

import torch

from engine.lab.sparse.architectures import jumprelu

PRE = torch.tensor([[3.0, -1.0, 2.0], [0.5, 1.0, 2.5]])


def test_latents_above_their_own_threshold_keep_their_whole_pre_activation():
    codes = jumprelu.infer(PRE, 0, torch.tensor([1.0, -2.0, 2.0]))
    assert codes.dense().tolist() == [[3, 0, 0], [0, 1, 2.5]]


def test_thresholds_are_saved_latent_by_latent():
    threshold = torch.tensor([0.5, 1.0, 2.0])
    _, tensors = jumprelu.save(0, threshold, torch.zeros(3))
    assert torch.equal(tensors["threshold"], threshold)
    assert jumprelu.load(tensors, {}, "cfg.json") == tensors
