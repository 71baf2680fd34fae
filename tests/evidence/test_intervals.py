"""The parts of an interval against closed forms: the exact binomial, the t interval, the sign test."""

import numpy as np
import pytest
from scipy import stats

from engine.evidence.intervals import (
    MOST_SKEWED,
    TAIL,
    Worth,
    carried_by_one,
    fraction_values,
    in_order_of,
    levels,
    median_values,
    off_the_mode,
    room_for_skewness,
    skewness,
    student_values,
    unseen_share,
)

LEVELS = (0.025, 0.005, 0.0025, 1 / 4001)


@pytest.mark.parametrize(("hits", "n"), [(0, 12), (5, 12), (12, 12), (37, 40), (3, 2048)])
@pytest.mark.parametrize("level", LEVELS)
def test_a_fractions_tails_are_those_of_clopper_and_pearson_at_every_level(hits: int, n: int, level: float):
    values = fraction_values(hits / n, Worth(n), 4000)
    exact = stats.binomtest(hits, n).proportion_ci(1 - 2 * level, "exact")
    assert np.quantile(values, [level, 1 - level]) == pytest.approx(
        [exact.low, exact.high], rel=2e-3, abs=1e-9
    )
    assert (np.diff(values) >= 0).all()


@pytest.mark.parametrize(("hits", "share"), [(0, 0.5), (12, 1.0)])
def test_nothing_seen_is_no_evidence_against_nothing(hits: int, share: float):
    assert (fraction_values(hits / 12, Worth(12), 4000) > 0).mean() == share


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", [5, 16, 1000])
def test_a_mean_without_room_for_skewness_is_spread_by_t_at_every_level(n: int, level: float):
    values = student_values(3.0, 0.5, -50.0, n, 4000)  # skewed downwards: the upper side stays as it is
    assert np.quantile(values, 1 - level) == pytest.approx(3 + 0.5 * stats.t.ppf(1 - level, n - 1), rel=1e-3)


def test_room_for_skewness_grows_with_what_is_shown_and_shrinks_with_what_is_known():
    assert room_for_skewness(0.0, 12) == pytest.approx(4.2, abs=0.1)
    assert room_for_skewness(1.0, 12) == MOST_SKEWED
    assert room_for_skewness(-2.0, 12) == 0
    rooms = [float(room_for_skewness(0.0, n)) for n in (12, 50, 200, 2000)]
    assert rooms == sorted(rooms, reverse=True) and rooms[-1] < 0.15
    assert room_for_skewness(1.0, 12, function=True) == 2 * MOST_SKEWED


@pytest.mark.parametrize("n", [4, 5, 6, 8, 20, 200])
def test_one_outlier_carries_a_sample_whatever_its_size(n: int):
    rows = np.r_[np.zeros(n - 1), 1.0]
    assert skewness(rows) == pytest.approx((n - 2) / np.sqrt(n - 1))
    assert carried_by_one(float(skewness(rows)), n)
    assert not carried_by_one(float(skewness(np.arange(n) ** 2)), n)


def test_rows_off_the_mode_are_counted_where_they_are_too_few():
    assert off_the_mode(np.array([0.0, 0, 0, 0, 0, 0, 1, 2])) == 2
    assert off_the_mode(np.array([0.0, 0, 0, 0, 0, 1, 2, 3])) is None
    assert off_the_mode(np.r_[np.zeros(100), np.arange(1.0, 16)]) is None


@pytest.mark.parametrize("n", [6, 8, 11])
def test_a_median_is_unbounded_at_levels_at_which_all_rows_may_lie_on_one_side(n: int):
    values = median_values(np.arange(1.0, n + 1), Worth(n), 4000)
    share = (values >= 1).mean()  # no row lies lower
    assert share == pytest.approx(1 - 0.5**n, abs=5e-4)
    assert np.isfinite(values).all()
    assert values[100] >= 1


def test_levels_reach_one_in_all_replicates_and_one():
    assert levels(4000)[0] == 1 / 4001
    assert levels(4000)[100] == pytest.approx(TAIL, abs=1e-5)


@pytest.mark.parametrize("n", [4, 5, 20, 238])
def test_a_share_beyond_the_one_told_would_have_been_seen_in_39_of_40_samples(n: int) -> None:
    share = unseen_share(n)
    assert share == pytest.approx(stats.beta.ppf(0.975, 1, n))
    other = np.random.default_rng(n).random((20_000, n)) < share
    assert np.mean(~other.any(axis=1)) == pytest.approx(0.025, abs=0.0045)  # four standard errors


def test_values_are_dealt_in_the_order_of_the_scores():
    scores = np.array([2.0, 0.0, 1.0])
    ascending = np.array([10.0, 20.0, 30.0])
    assert in_order_of(scores, ascending, np.random.default_rng(0)).tolist() == [30.0, 10.0, 20.0]
    assert in_order_of(scores, ascending).tolist() == [30.0, 10.0, 20.0]
