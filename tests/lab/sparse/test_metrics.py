"""Metrics against numbers that are known by construction."""

import numpy as np
import pytest
import torch

from engine.errors import DataError
from engine.lab.sparse.metrics import (
    encoder_decoder_cosines,
    mean_of,
    nearest_cosines,
    principal,
    reconstruction,
    splice,
)

X = torch.randn(60, 8, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 9.0)
CONTEXT = torch.arange(60) // 10
MEAN = X.mean(dim=0)


def batches():
    yield X[:25], CONTEXT[:25]
    yield X[25:], CONTEXT[25:]


def test_both_explained_variances():
    sums = reconstruction(batches(), lambda x: MEAN + 0.5 * (x - MEAN), MEAN, 6)
    assert sums.tokens.tolist() == [10] * 6
    assert sums.explained_variance == pytest.approx(0.75, abs=1e-6)
    assert sums.explained_variance_per_token == pytest.approx(0.75, abs=1e-6)
    shifted = reconstruction(batches(), lambda x: x + 1.0, MEAN, 6)
    total = (X - MEAN).square().sum(dim=1)
    assert shifted.explained_variance == pytest.approx(float(1 - 60 * 8 / total.sum()), abs=1e-6)
    assert shifted.explained_variance_per_token == pytest.approx(float((1 - 8 / total).mean()), abs=1e-6)


def test_the_mean_and_what_does_not_vary():
    assert torch.allclose(mean_of(batches()), MEAN, atol=1e-6)
    with pytest.raises(DataError, match="all the same"):
        reconstruction([(torch.ones(4, 2), torch.zeros(4).long())], lambda x: x, torch.ones(2), 1)
    with pytest.raises(DataError, match="held out"):
        mean_of([])


def test_principal_components_are_those_of_numpy():
    fitted = principal(x for x, _ in batches())
    singular = np.linalg.svd((X - MEAN).numpy(), compute_uv=False) ** 2
    sums = reconstruction(batches(), fitted.reconstruct(3), MEAN, 6)
    assert sums.explained_variance == pytest.approx(singular[:3].sum() / singular.sum(), abs=1e-4)
    curve = fitted.curve(batches(), float(sums.total.sum()))
    assert curve == pytest.approx(np.cumsum(singular) / singular.sum(), abs=1e-4)


def test_splicing_scores_between_zeros_and_the_model_itself():
    table = torch.randn(11, 11, generator=torch.Generator().manual_seed(1))
    ids = torch.randint(11, (4, 6), generator=torch.Generator().manual_seed(2))

    def forward(batch, f):
        return f(torch.nn.functional.one_hot(batch, 11).float()) @ table

    def clean(batch):
        return table[batch]

    found = splice(ids.split(2), clean, forward, {"half": lambda x: x / 2, "whole": lambda x: x})
    assert found.identity_error <= 1e-6
    assert found.ce["whole"] == pytest.approx(found.clean, abs=1e-6)
    assert found.kl["whole"] == pytest.approx(0.0, abs=1e-6)
    assert found.zero == pytest.approx(np.log(11), abs=1e-6)
    logprobs, half = table.log_softmax(-1), (table / 2).log_softmax(-1)
    kl = (logprobs.exp() * (logprobs - half)).sum(-1)[ids].mean(dim=1)
    assert found.kl["half"] == pytest.approx(kl.numpy(), abs=1e-5)
    ce = -logprobs[ids[:, 1:-1], ids[:, 2:]].mean(dim=1)
    later = splice([ids], clean, forward, {}, first_position=1)
    assert later.clean == pytest.approx(ce.numpy(), abs=1e-5)


def test_geometry():
    rows = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    assert nearest_cosines(rows, block=2) == pytest.approx([0.5**0.5] * 3, abs=1e-6)
    assert nearest_cosines(rows[:1]).tolist() == [-1.0]
    assert encoder_decoder_cosines(rows.T, rows) == pytest.approx([1.0] * 3, abs=1e-6)
