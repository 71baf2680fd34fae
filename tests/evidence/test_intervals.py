"""The parts of an interval against closed forms: the exact binomial and the t interval."""

import numpy as np
import pytest
from scipy import stats

from engine.evidence.intervals import TAIL, expanded, fraction_values, in_order_of


@pytest.mark.parametrize(("hits", "n"), [(0, 12), (5, 12), (12, 12), (37, 40)])
def test_a_fractions_tails_are_those_of_clopper_and_pearson(hits: int, n: int):
    values = fraction_values(hits / n, n, 4000)
    exact = stats.binomtest(hits, n).proportion_ci(0.95, "exact")
    assert np.quantile(values, [TAIL, 1 - TAIL]) == pytest.approx([exact.low, exact.high], abs=1e-3)
    assert (np.diff(values) >= 0).all()


def test_symmetric_replicates_spread_to_the_t_interval():
    n = 16
    away = stats.norm.ppf((np.arange(4000) + 0.5) / 4000) / np.sqrt(n)  # of a sample of variance 1 over n
    low, high = np.quantile(expanded(3.0, 3.0 + away, n), [TAIL, 1 - TAIL])
    half = stats.t.ppf(1 - TAIL, n - 1) / np.sqrt(n - 1)
    assert (low, high) == (pytest.approx(3 - half, rel=1e-3), pytest.approx(3 + half, rel=1e-3))


def test_values_are_dealt_in_the_order_of_the_scores():
    dealt = in_order_of(np.array([2.0, 0.0, 1.0]), np.array([10.0, 20.0, 30.0]), np.random.default_rng(0))
    assert dealt.tolist() == [30.0, 10.0, 20.0]
