"""Children and parents of planted dictionaries, counted also the slow way."""

import numpy as np
import pytest
import torch

from engine.errors import DataError
from engine.families.feature_splitting.kinship import kinship, relabelled
from engine.lab.sparse.synthetic import known_dictionary, sparse_batches, split_features, tied_coder


@pytest.fixture(scope="module")
def planted():
    parents = known_dictionary(48, 20, seed=0)
    children = split_features(parents, 8, children=3, cosine=0.8, seed=1)
    x = next(sparse_batches(children, active=2, batch_size=3000, n_batches=1, seed=2))
    narrow, wide = tied_coder(parents, 3), tied_coder(children, 3)
    return narrow, narrow.codes(x), wide, wide.codes(x)


def test_planted_children_are_found(planted):
    narrow, narrow_codes, wide, wide_codes = planted
    kin = kinship(narrow.W_dec, narrow_codes, wide.W_dec, wide_codes)
    assert kin.nearest.tolist() == [i for i in range(8) for _ in range(3)] + list(range(8, 20))
    assert kin.cosine[:24] == pytest.approx(0.8, abs=1e-5)
    assert kin.children(0.5, 0.5).tolist() == [3] * 8 + [1] * 12
    assert kin.children(0.9, 0.5).tolist() == [0] * 8 + [1] * 12


def test_shares_equal_those_of_dense_codes(planted):
    narrow, narrow_codes, wide, wide_codes = planted
    kin = kinship(narrow.W_dec, narrow_codes, wide.W_dec, wide_codes)
    p, c = narrow_codes.dense().numpy() > 0, wide_codes.dense().numpy() > 0
    given = [(p[:, kin.nearest[i]] & c[:, i]).sum() / c[:, i].sum() for i in range(c.shape[1])]
    assert kin.given_child == pytest.approx(np.array(given))
    mine = [np.flatnonzero(kin.is_child(0.5, 0.5) & (kin.nearest == i)) for i in range(p.shape[1])]
    covered = [(p[:, i] & c[:, of].any(axis=1)).sum() / p[:, i].sum() for i, of in enumerate(mine)]
    assert kin.covered(0.5, 0.5) == pytest.approx(np.array(covered))


def test_relabelling_keeps_how_often_but_not_who(planted):
    codes = planted[3]
    other = relabelled(codes, seed=0)
    assert sorted(other.fired().tolist()) == sorted(codes.fired().tolist())
    assert other.dense().sum() == pytest.approx(float(codes.dense().sum()), rel=1e-5)
    assert not torch.equal(other.fired(), codes.fired())


def test_codes_of_other_tokens_are_refused(planted):
    narrow, narrow_codes, wide, _ = planted
    other = wide.codes(torch.randn(5, 48))
    with pytest.raises(DataError, match="same activations"):
        kinship(narrow.W_dec, narrow_codes, wide.W_dec, other)
