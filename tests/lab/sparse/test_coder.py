"""Coders: sparse and dense codes agree, scale folds away, thresholds infer, impossible widths are refused."""

from dataclasses import replace

import pytest
import torch

from engine.errors import DataError
from engine.lab.sparse.architectures.by_name import ArchitectureName
from engine.lab.sparse.coder import Coder, random_coder, unit_rows
from engine.lab.sparse.codes import joined

D, LATENTS, K = 12, 40, 5
X = torch.randn(30, D, generator=torch.Generator().manual_seed(0))


def coder(architecture: ArchitectureName = "topk", threshold=None, scale=1.0) -> Coder:
    g = torch.Generator().manual_seed(1)
    W_dec = unit_rows(torch.randn(LATENTS, D, generator=g))
    W_enc = torch.randn(D, LATENTS, generator=g)
    biases = torch.randn(LATENTS, generator=g), torch.randn(D, generator=g)
    return Coder(W_enc, biases[0], W_dec, biases[1], architecture, K, threshold, scale)


def test_topk_keeps_the_k_largest_positive_ones():
    c = coder()
    pre = (X - c.b_dec) @ c.W_enc + c.b_enc
    top = pre.topk(K, dim=1)
    expected = torch.zeros_like(pre).scatter(1, top.indices, top.values.relu())
    torch.testing.assert_close(c.encode(X), expected)
    torch.testing.assert_close(c.decode(expected), expected @ c.W_dec + c.b_dec)


@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "jumprelu", "relu"])
def test_sparse_and_dense_agree_for_every_architecture(architecture):
    thresholds = {"batchtopk": 1.5, "jumprelu": torch.linspace(0, 3, LATENTS)}
    c = coder(architecture, thresholds.get(architecture), scale=0.4)
    codes = c.codes(X)
    torch.testing.assert_close(codes.dense(), c.encode(X))
    torch.testing.assert_close(c.decode_sparse(codes), c.decode(c.encode(X)))
    torch.testing.assert_close(c.reconstruct(X.view(5, 6, D)).view(30, D), c.decode_sparse(codes))
    assert codes.fired().tolist() == (c.encode(X) > 0).sum(dim=0).tolist()
    if architecture in thresholds:
        assert (codes.values > 0).all() and len(codes.values) < len(coder("relu").codes(X * 0.4).values)


@pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
def test_scale_folds_away(architecture):
    c = coder(architecture, 1.5 if architecture == "batchtopk" else None, scale=0.25)
    folded = c.folded()
    assert folded.scale == 1.0
    torch.testing.assert_close(folded.encode(X), c.encode(X) / 0.25)
    torch.testing.assert_close(folded.reconstruct(X), c.reconstruct(X))
    torch.testing.assert_close(folded.W_dec, c.W_dec)


@pytest.mark.parametrize(("n_features", "k"), [(0, 1), (8, 9), (8, 0), (8, -1)])
def test_impossible_widths_are_refused(n_features, k):
    with pytest.raises(DataError):
        random_coder(D, n_features, k, seed=0)


def test_weights_that_do_not_fit_are_refused(unchecked_shapes):
    with pytest.raises(DataError, match="no sparse coder"):
        replace(coder(), b_dec=torch.zeros(D + 1))
    with pytest.raises(DataError, match="architecture one of"):
        replace(coder(), architecture="gated")


def test_codes_of_batches_are_joined():
    whole = coder().codes(X)
    parts = joined(coder().codes(x) for x in X.split(7))
    assert torch.equal(whole.starts, parts.starts) and torch.equal(whole.latents, parts.latents)
    torch.testing.assert_close(whole.values, parts.values)
