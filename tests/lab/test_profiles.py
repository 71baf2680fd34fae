"""Small statistics that the families share."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from engine.lab.profiles import block_at_depth, first_for_good, known_answer, spearman


@pytest.mark.parametrize(
    ("holds", "layer"),
    [([0, 1, 0, 1, 1], 3), ([1, 1, 1, 1, 1], 0), ([0, 0, 0, 0, 1], 4), ([1, 1, 1, 1, 0], -1)],
)
def test_first_for_good_ignores_what_does_not_last(holds, layer):
    assert first_for_good(np.array([holds], dtype=bool), never=-1).tolist() == [layer]


def test_spearman_equals_scipys_on_every_row():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 5, size=(2, 4, 30)).astype(float)
    expected = np.array([spearmanr(a, b)[0] for a, b in zip(one, other, strict=True)])
    np.testing.assert_allclose(spearman(one, other), expected)
    assert spearman(np.ones((1, 5)), rng.normal(size=(1, 5))).tolist() == [0.0]


@pytest.mark.parametrize(
    ("depth", "n_layers", "block"), [(0.75, 12, 9), (0.75, 30, 23), (0.0, 12, 0), (0.99, 12, 11)]
)
def test_a_depth_is_a_block(depth, n_layers, block):
    assert block_at_depth(depth, n_layers) == block


@pytest.mark.parametrize(("seen", "passed"), [(1.0, True), (1.05, True), (1.2, False), (float("nan"), False)])
def test_a_known_answer_is_met_or_not(seen, passed):
    assert known_answer("name", "about", seen, 1.0, 0.1).passed is passed
