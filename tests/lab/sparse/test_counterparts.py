"""Counterparts of a latent: cosines and correlations equal the plain ones, and chance finds none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.errors import DataError
from engine.lab.sparse.codes import Codes, codes_at
from engine.lab.sparse.counterparts import (
    activation_correlations,
    chance_correlations,
    direction_cosines,
)
from engine.lab.sparse.matching import match

ROWS = 400
LATENTS = 12


def some_codes(seed: int, latents: int = LATENTS, rows: int = ROWS) -> Codes:
    """About three positive activations a row; latent 5 never fires."""
    pre = torch.randn(rows, latents, generator=torch.Generator().manual_seed(seed)) - 0.7
    pre[:, 5] = -1
    return codes_at(torch.arange(pre.numel()), pre)


def test_correlations_equal_numpys_own_over_dense_activations():
    own = some_codes(0)
    other = some_codes(1, latents=9)
    with np.errstate(invalid="ignore"):  # of a latent that never fires there is none; here it is 0
        expected = np.corrcoef(own.dense().T.double(), other.dense().T.double())[:LATENTS, LATENTS:]
    expected = np.nan_to_num(expected)
    found = activation_correlations(own, other, range(LATENTS))
    np.testing.assert_allclose(found, expected, atol=1e-10)
    assert (found[5] == 0).all()
    np.testing.assert_allclose(activation_correlations(own, other, [7, 2]), expected[[7, 2]], atol=1e-10)


def test_a_latent_finds_itself_by_activation_and_chance_does_not():
    codes = some_codes(2)
    found = activation_correlations(codes, codes, [0, 3])
    assert found.argmax(axis=1).tolist() == [0, 3]
    np.testing.assert_allclose(found.max(axis=1), 1, atol=1e-10)
    chance = chance_correlations(codes, codes, [0, 3], draws=30)
    assert chance.shape == (30, 2)
    # The largest of eleven correlations over 400 tokens that share nothing: 1.6 / sqrt(400) on average.
    assert 0.05 < chance.mean() < 0.12
    assert chance.max() < 0.3


def test_chance_is_drawn_alike_for_a_seed_and_keeps_how_often_each_latent_fires():
    one = some_codes(3)
    other = some_codes(4)
    first = chance_correlations(one, other, [1], draws=4, seed=7)
    np.testing.assert_array_equal(first, chance_correlations(one, other, [1], draws=4, seed=7))
    assert not np.array_equal(first, chance_correlations(one, other, [1], draws=4, seed=8))


def test_the_best_cosine_is_the_best_match_of_the_families():
    generator = np.random.default_rng(0)
    own = generator.normal(size=(6, 8)).astype(np.float32)
    other = generator.normal(size=(10, 8)).astype(np.float32)
    cosines = direction_cosines(own, other, range(6))
    np.testing.assert_allclose(cosines.max(axis=1), match(own, other).a_to_b, atol=1e-6)
    assert direction_cosines(own, own, [2]).argmax() == 2


def test_codes_of_other_texts_are_refused():
    with pytest.raises(DataError, match="different texts"):
        activation_correlations(some_codes(0), some_codes(1, rows=30), [0])
