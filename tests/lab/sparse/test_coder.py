"""Coders: sparse and dense codes agree, scale folds away, thresholds infer, impossible widths are refused."""

from dataclasses import replace

import pytest
import torch

from engine.errors import DataError
from engine.lab.sparse.coder import Coder, Codes, Kind, random_coder, unit_rows

D, LATENTS, K = 12, 40, 5
X = torch.randn(30, D, generator=torch.Generator().manual_seed(0))


def coder(kind: Kind = "topk", threshold=None, scale=1.0) -> Coder:
    g = torch.Generator().manual_seed(1)
    W_dec = unit_rows(torch.randn(LATENTS, D, generator=g))
    W_enc = torch.randn(D, LATENTS, generator=g)
    biases = torch.randn(LATENTS, generator=g), torch.randn(D, generator=g)
    return Coder(W_enc, biases[0], W_dec, biases[1], kind, K, threshold, scale)


def test_topk_keeps_the_k_largest_positive_ones():
    c = coder()
    pre = (X - c.b_dec) @ c.W_enc + c.b_enc
    top = pre.topk(K, dim=1)
    expected = torch.zeros_like(pre).scatter(1, top.indices, top.values.relu())
    torch.testing.assert_close(c.encode(X), expected)
    torch.testing.assert_close(c.decode(expected), expected @ c.W_dec + c.b_dec)


@pytest.mark.parametrize("kind", ["topk", "batchtopk", "jumprelu", "relu"])
def test_sparse_and_dense_agree_for_every_kind(kind):
    thresholds = {"batchtopk": 1.5, "jumprelu": torch.linspace(0, 3, LATENTS)}
    c = coder(kind, thresholds.get(kind), scale=0.4)
    codes = c.codes(X)
    torch.testing.assert_close(codes.dense(), c.encode(X))
    torch.testing.assert_close(c.decode_sparse(codes), c.decode(c.encode(X)))
    torch.testing.assert_close(c.reconstruct(X.view(5, 6, D)).view(30, D), c.decode_sparse(codes))
    assert codes.fired().tolist() == (c.encode(X) > 0).sum(dim=0).tolist()
    if kind in thresholds:
        assert (codes.values > 0).all() and len(codes.values) < len(coder("relu").codes(X * 0.4).values)


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_scale_folds_away(kind):
    c = coder(kind, 1.5 if kind == "batchtopk" else None, scale=0.25)
    folded = c.folded()
    assert folded.scale == 1.0
    torch.testing.assert_close(folded.encode(X), c.encode(X) / 0.25)
    torch.testing.assert_close(folded.reconstruct(X), c.reconstruct(X))
    torch.testing.assert_close(folded.W_dec, c.W_dec)


def test_dots_and_order_of_active_entries():
    codes = coder().codes(X)
    left, right = torch.randn(30, D), torch.randn(LATENTS, D)
    expected = (left[codes.rows] * right[codes.latents]).sum(dim=1)
    torch.testing.assert_close(codes.dots(left, right), expected)
    order, starts = codes.by_latent()
    assert codes.latents[order].tolist() == sorted(codes.latents.tolist())
    assert starts.diff().tolist() == codes.fired().tolist()


def test_codes_without_an_entry():
    none = Codes(torch.zeros(4, dtype=torch.long), torch.zeros(0, dtype=torch.long), torch.zeros(0), 6)
    assert none.dense().shape == (3, 6) and not none.fired().any()
    assert none.times(torch.ones(6, 2)).tolist() == [[0, 0]] * 3


@pytest.mark.parametrize(("n_features", "k"), [(0, 1), (8, 9), (8, 0), (8, -1)])
def test_impossible_widths_are_refused(n_features, k):
    with pytest.raises(DataError):
        random_coder(D, n_features, k, seed=0)


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="no sparse coder"):
        replace(coder(), b_dec=torch.zeros(D + 1))
    with pytest.raises(DataError, match="kind one of"):
        replace(coder(), kind="gated")
