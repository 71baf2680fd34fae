"""One estimator for each statistic: values and intervals against closed forms, and every reason for none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats

from engine.errors import ResultError
from engine.evidence.estimates import ESTIMATORS, Estimate, Sample, estimate
from engine.evidence.resampling import REPLICATES, units_of

RNG = np.random.default_rng(0)
TAILS = [0.025, 0.975]


def sample(
    rows: Any, *, name: str = "m", unit: str = "prompt", ids: Any = None, clusters: Any = None
) -> Sample:
    rows = np.asarray(rows, dtype=float)
    return Sample(name, unit, rows, units_of(name, len(rows), unit, ids, clusters))


def interval(found: Estimate) -> np.ndarray:
    assert found.replicates is not None, found.note
    assert found.replicates.shape == (REPLICATES,)
    return np.quantile(found.replicates, TAILS)


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    return float(((x - x.mean()) * (y - y.mean())).mean() / (x.std() * y.std()))


def test_values_are_those_of_numpy_and_scipy() -> None:
    one = RNG.normal(3, 1, size=15)
    two = np.column_stack([one, one + RNG.normal(size=15)])
    hits = one > 3
    expected = {
        "mean": (one, np.mean(one)),
        "median": (one, np.median(one)),
        "fraction": (hits, np.mean(hits)),
        "ratio": (two, two[:, 0].sum() / two[:, 1].sum()),
        "pearson": (two, correlation(*two.T)),
        "spearman": (two, correlation(*scipy.stats.rankdata(two, axis=0).T)),
    }
    assert set(expected) == set(ESTIMATORS)
    for statistic, (rows, value) in expected.items():
        assert estimate(sample(rows), statistic).value == pytest.approx(value, abs=1e-6), statistic


def test_a_correlation_has_fishers_interval() -> None:
    x = RNG.normal(size=400)
    rows = np.column_stack([x, 0.8 * x + 0.6 * RNG.normal(size=400)])
    theirs = scipy.stats.pearsonr(*rows.T).confidence_interval(0.95)
    assert interval(estimate(sample(rows), "pearson")) == pytest.approx(list(theirs), abs=0.012)


@pytest.mark.parametrize("statistic", ["pearson", "spearman"])
def test_a_correlation_near_one_ends_before_one_and_is_longer_towards_zero(statistic: str) -> None:
    x = np.arange(30.0)
    rows = np.column_stack([x, x + RNG.normal(0, 2, size=30)])
    found = estimate(sample(rows), statistic)
    low, high = interval(found)
    assert high < 1
    assert found.value - low > high - found.value


@pytest.mark.parametrize("hits", [0, 3, 19, 20])
def test_a_fraction_has_the_exact_binomial_interval(hits: int) -> None:
    exact = scipy.stats.binomtest(hits, 20).proportion_ci(method="exact")
    assert interval(estimate(sample(np.arange(20) < hits), "fraction")) == pytest.approx(exact, abs=1e-3)


def test_a_median_lies_between_the_order_statistics_of_the_sign_test() -> None:
    rows = RNG.normal(size=25)
    ordered = np.sort(rows)
    below = int(scipy.stats.binom.ppf(0.025, 25, 0.5))  # 8th smallest to 8th largest, by the sign test
    low, high = interval(estimate(sample(rows), "median"))
    assert ordered[below - 2] <= low <= ordered[below]
    assert ordered[-below - 1] <= high <= ordered[-below + 1]


@pytest.mark.parametrize(("n", "has_interval"), [(5, False), (6, True)])
def test_a_median_has_an_interval_once_all_rows_on_one_side_would_be_unlikely(
    n: int, has_interval: bool
) -> None:
    found = estimate(sample(RNG.normal(size=n)), "median")  # 2^-5 is more than 2.5 %, 2^-6 is less
    assert (found.replicates is not None) == has_interval
    assert bool(found.note) != has_interval


def test_clustered_rows_are_worth_fewer_than_they_are() -> None:
    hits = np.repeat(RNG.random(20) < 0.5, 10)
    clusters = np.repeat(np.arange(20), 10)
    apart = interval(estimate(sample(hits), "fraction"))
    together = interval(estimate(sample(hits, clusters=clusters), "fraction"))
    # Within a cluster all rows agree, so that 200 rows are worth 20: the interval is about root 10 wider.
    assert np.ptp(together) > 2.5 * np.ptp(apart)
    exact = scipy.stats.binomtest(int(hits[::10].sum()), 20).proportion_ci(method="exact")
    assert together == pytest.approx(exact, abs=0.05)


def test_a_ratio_keeps_the_correlation_of_its_sides() -> None:
    under = RNG.gamma(2, size=60)
    rows = np.column_stack([2 * under + 1e-6 * RNG.normal(size=60), under])
    assert np.ptp(interval(estimate(sample(rows), "ratio"))) < 1e-5
    exact = estimate(sample(np.column_stack([2 * under, under])), "ratio")
    assert exact.replicates is None and "All 60 prompts gave this same value" in exact.note
    apart = np.column_stack([RNG.permutation(2 * under), under])
    assert np.ptp(interval(estimate(sample(apart), "ratio"))) > 0.5


def test_a_function_that_is_the_mean_has_its_value_and_room_for_more_skewness() -> None:
    rows = RNG.normal(size=30)
    own = estimate(sample(rows), lambda x: float(x.mean()))
    named = estimate(sample(rows), "mean")
    assert own.value == pytest.approx(named.value)
    assert 1 < np.ptp(interval(own)) / np.ptp(interval(named)) < 1.5


def test_a_function_of_few_rows_or_of_the_extreme_ones_has_no_interval() -> None:
    few = estimate(sample(RNG.normal(size=7)), lambda x: float(x.std()))
    assert few.replicates is None and "a function of the rows has no interval over so few" in few.note
    for n in (12, 20):
        high = estimate(sample(RNG.normal(size=n)), lambda x: float(np.quantile(x, 0.9)))
        assert high.replicates is None and f"the most extreme of {n} prompts" in high.note
    assert estimate(sample(RNG.normal(size=50)), lambda x: float(np.quantile(x, 0.9))).replicates is not None


@pytest.mark.parametrize(
    ("rows", "statistic", "note"),
    [
        (np.arange(3.0), "mean", "Only 3 prompts: no 95 % interval over so few can be trusted."),
        ([1.0], "mean", "Only 1 prompt: no 95 % interval over so few can be trusted."),
        (np.column_stack([np.arange(3.0), [0, 2, 1]]), "pearson", "Only 3 prompts"),
        (np.column_stack([np.arange(9), -np.arange(9)]), "pearson", "Perfect over these 9 prompts"),
        ([*np.linspace(0, 0.1, 39), 5.0], "mean", "One or two of 40 prompts carry this number"),
        ([0.0] * 39 + [5.0], "mean", "All but 1 of 40 prompts gave the same value"),
        (np.column_stack([np.ones(8), [-3, 4, -3, 4, -3, 4, -3, 4]]), "ratio", "the denominator may be zero"),
        (np.column_stack([[0, 0, 0, 1], np.arange(4)]), "pearson", "does not exist on"),
    ],
)
def test_an_interval_is_withheld_with_the_reason_and_the_value_stays(rows, statistic: str, note: str) -> None:
    found = estimate(sample(rows), statistic)
    assert found.replicates is None
    assert note in found.note
    assert np.isfinite(found.value)


def test_three_clusters_are_too_few_however_many_rows_they_hold() -> None:
    found = estimate(sample(np.arange(60) % 2, clusters=np.repeat(list("abc"), 20)), "fraction")
    assert found.replicates is None and "Only 3 prompts" in found.note


@pytest.mark.parametrize(
    ("rows", "statistic", "expected", "seen"),
    [
        (np.ones((4, 2)), "mean", "one value in each row", "shape (4, 2)"),
        (np.ones(4), "pearson", "2 columns", "shape (4,)"),
        (np.ones((4, 3)), "ratio", "2 columns", "shape (4, 3)"),
    ],
)
def test_rows_that_do_not_fit_the_statistic_are_refused_with_their_shape(
    rows: np.ndarray, statistic: str, expected: str, seen: str
) -> None:
    with pytest.raises(ResultError, match="m: the statistic does not fit") as caught:
        estimate(sample(rows), statistic)
    assert (caught.value.expected, caught.value.seen) == (expected, seen)


def test_an_unknown_statistic_names_all_and_the_nearest() -> None:
    with pytest.raises(ResultError, match="m: no statistic 'persson'") as caught:
        estimate(sample(np.ones(4)), "persson")
    assert caught.value.near[0] == "pearson"
    assert "mean, median, fraction, ratio, pearson, spearman" in caught.value.expected


@pytest.mark.parametrize(
    ("rows", "statistic", "says"),
    [
        ([0, 1, 2], "fraction", "a fraction of rows that are true"),
        ([[1, 1], [2, -1]], "ratio", "m divides by zero"),
        ([[1, 1], [1, 2], [1, 3]], "spearman", "does not exist for these samples"),
    ],
)
def test_a_number_that_does_not_exist_is_refused(rows: Any, statistic: str, says: str) -> None:
    with pytest.raises(ResultError, match=says):
        estimate(sample(rows), statistic)


def test_ties_are_broken_by_name_and_numbers_and_not_by_the_order_of_rows() -> None:
    hits = np.array([1.0, 0, 1, 1, 0, 0, 1, 1])
    ids = np.array(list("abcdefgh"))
    order = RNG.permutation(8)
    first = sample(hits, ids=ids).tie_breaker().random()
    assert sample(hits[order], ids=ids[order]).tie_breaker().random() == first
    assert sample(hits, name="other", ids=ids).tie_breaker().random() != first
    assert sample(1 - hits, ids=ids).tie_breaker().random() != first
