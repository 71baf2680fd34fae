"""The curve of recovered edges, against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from engine.errors import DataError
from engine.lab.circuits.recovery import recovery


def test_the_curve_and_its_area_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    true = rng.random(200) < 0.2
    # Rounded, so that scores are tied.
    scores = np.round(rng.normal(size=200) + true, 1)
    found = recovery(scores, true)
    false, hit, _ = roc_curve(true, np.abs(scores), drop_intermediate=False)
    np.testing.assert_allclose(found.false_positive_rate, false)
    np.testing.assert_allclose(found.true_positive_rate, hit)
    assert found.area == pytest.approx(roc_auc_score(true, np.abs(scores)))


def test_a_circuit_of_everything_tells_nothing():
    with pytest.raises(DataError, match="some of the edges"):
        recovery(np.ones(3), np.ones(3, dtype=bool))
