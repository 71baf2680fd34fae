"""How often the interval holds the truth, and how often a true null is called supported.

Each tail is held to its own 2.5 %, since a claim is judged on one side. Monte-Carlo error: 3000 data sets
give a tail of 2.5 % to 0.29 points, the limits below are two such errors wider. Fractions are computed
exactly, over all outcomes. `python -m tests.evidence.simulate` prints the whole table, measured as a family
measures.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom, t

from engine.evidence import intervals, resampling
from engine.evidence.bootstrap import difference, measure
from engine.evidence.estimates import Resampled, Sample, _spread
from engine.evidence.resampling import SamplingUnits, leave_one_out_means, units_of
from tests.evidence import simulate
from tests.evidence.simulate import SOURCES

DATA_SETS = 3000
SIZES = (20, 50, 200)
NULL = 0.025 + 2 * 0.0029
COVERED = 0.94 - 2 * 0.0043

Misses = tuple[float, float, float]
"""How often the interval lies above the truth, how often below it, and the share of data sets with one."""


def student_misses(
    value: np.ndarray, influences: np.ndarray, truth: float, n: int, level: float = 0.025
) -> Misses:
    """Of numbers "data set" with influences "unit data set": by the quantiles of their replicates."""
    skew = intervals.skewness(influences)
    spread = (influences**2).sum(axis=0)
    given = np.array(
        [
            s > 0 and not intervals.carried_by_one(float(g), n) and intervals.off_the_mode(i) is None
            for s, g, i in zip(spread, skew, influences.T, strict=True)
        ]
    )
    error = np.sqrt(spread / (n * (n - 1)))
    above = below = 0
    replicates = 400 if level == 0.025 else 4000  # enough to hold the level
    for block in np.array_split(np.flatnonzero(given), max(1, given.sum() // 250)):
        found = intervals.student_values(value[block], error[block], skew[block], n, replicates)
        low, high = np.quantile(found, [level, 1 - level], axis=0)
        above += (low > truth).sum()
        below += (high < truth).sum()
    return above / len(given), below / len(given), float(given.mean())


def mean_misses(source: str, n: int, level: float = 0.025) -> Misses:
    draw, truth = SOURCES[source]
    rng = np.random.default_rng(n)
    samples = draw(rng, n * DATA_SETS).reshape(n, DATA_SETS)
    value = samples.mean(axis=0)
    return student_misses(value, samples - value, truth, n, level)


@pytest.mark.parametrize("n", [5, 6, 12, 50, 200])
@pytest.mark.parametrize("source", SOURCES)
def test_a_mean_misses_the_truth_on_neither_side_in_more_than_a_fortieth(source: str, n: int) -> None:
    above, below, given = mean_misses(source, n)
    assert max(above, below) <= NULL
    if given > 0.2:
        assert 1 - (above + below) / given >= COVERED


@pytest.mark.parametrize("n", [6, 50])
def test_a_mean_holds_at_the_levels_of_compound_claims_too(n: int) -> None:
    above, below, _ = mean_misses("lognormal", n, 0.005)
    assert max(above, below) <= 0.005 + 2.5 * np.sqrt(0.005 / DATA_SETS)


@pytest.mark.parametrize("n", [12, 50, 200])
def test_symmetric_data_pay_for_the_skew_that_their_number_cannot_exclude(n: int) -> None:
    above, below, given = mean_misses("normal", n)
    assert given == 1
    assert 1 - above - below <= {12: 0.995, 50: 0.975, 200: 0.965}[n]


def test_without_room_for_skew_lognormal_means_would_fail_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "MOST_SKEWED", 0.0)
    for n in (6, 50):
        assert mean_misses("lognormal", n)[1] > 0.045


def test_few_units_of_which_most_agree_have_no_interval() -> None:
    rng = np.random.default_rng(4)
    for n in (6, 12, 20):
        found = [measure("score", SOURCES["90 % zeros"][0](rng, n), unit="seed") for _ in range(60)]
        assert np.mean([m.replicates is None for m in found]) > 0.9
        # `x <= 0` is false of a mean of 0.1; resamples of zeros alone would support it.
        assert not any(m.replicates is not None and (m.replicates <= 0).mean() >= 0.975 for m in found)


@pytest.mark.parametrize("n", [5, 6, 12, 50])
def test_a_difference_of_two_means_is_spread_by_t_whatever_they_share(n: int) -> None:
    """As a claim `a > b` sees it: what both have in common cancels, and t holds at every level."""
    rng = np.random.default_rng(n)
    ratios = []
    for _ in range(25):
        base = 3 * rng.normal(size=n)
        gain = rng.normal(size=n)
        found = [measure(name, rows, unit="prompt") for name, rows in (("a", base + gain), ("b", base))]
        first, second = (m.replicates for m in found)
        if first is None or second is None:
            continue
        levels = np.array([0.025, 0.005])
        width = np.quantile(first - second, 1 - levels) - np.quantile(first - second, levels)
        ratios.append(width / (2 * t.ppf(1 - levels, n - 1) * gain.std(ddof=1) / np.sqrt(n)))
    assert (np.median(ratios, axis=0) > 0.97).all()


@pytest.mark.parametrize("n", [6, 12])
def test_paired_differences_of_skewed_data_are_rarely_contradicted(n: int) -> None:
    rng = np.random.default_rng(0)
    contradicted = 0
    for _ in range(150):
        base = rng.normal(size=n)
        m = difference("gain", base + rng.lognormal(size=n) - np.exp(0.5), base, unit="prompt")
        contradicted += m.replicates is not None and (m.replicates < 0).mean() >= 0.975
    assert contradicted <= 8  # 4 expected; with Student's interval 24


def fraction_tails(n: int, level: float = 0.025) -> Callable[[float], tuple[float, float]]:
    found = [measure("hits", np.arange(n) < hits, unit="prompt").replicates for hits in range(n + 1)]
    low, high = np.quantile(np.array(found), [level, 1 - level], axis=1)

    def at(truth: float) -> tuple[float, float]:
        chance = binom.pmf(np.arange(n + 1), n, truth)
        return float(chance[low > truth].sum()), float(chance[high < truth].sum())

    return at


@pytest.mark.parametrize("n", [8, *SIZES])
def test_no_true_fraction_is_missed_on_either_side_in_more_than_a_fortieth(n: int) -> None:
    at = fraction_tails(n)
    assert max(max(at(truth)) for truth in np.linspace(0, 1, 401)) <= 0.0251
    covered = {truth: 1 - sum(at(truth)) for truth in (0.5, 0.2, 0.05, 1.0)}
    assert min(covered.values()) >= 0.95
    if n >= 50:  # below, whole outcomes are too coarse for less than 98 or 99 %
        assert max(covered[0.5], covered[0.2]) <= 0.97


@pytest.mark.parametrize("level", [0.005, 0.0025, 1 / 4001])
def test_no_true_fraction_is_missed_more_often_at_lower_levels(level: float) -> None:
    at = fraction_tails(20, level)
    assert max(max(at(truth)) for truth in np.linspace(0, 1, 401)) <= 1.02 * level


@pytest.mark.parametrize("n", [6, *SIZES])
@pytest.mark.parametrize("source", ["normal", "exponential"])
def test_medians_are_covered(source: str, n: int) -> None:
    places = measure("places", np.arange(1.0, n + 1), "median", unit="prompt")
    draw = SOURCES[source][0]
    ordered = np.sort(draw(np.random.default_rng(n), n * DATA_SETS).reshape(n, DATA_SETS), axis=0)
    truth = 0 if source == "normal" else np.log(2)

    def at(place: float | None) -> np.ndarray:
        whole, part = divmod(place or 0, 1)
        return ordered[int(whole) - 1] * (1 - part) + ordered[min(int(whole), n - 1)] * part

    above, below = np.mean(at(places.low) > truth), np.mean(at(places.high) < truth)
    assert COVERED <= 1 - above - below <= 0.977
    assert max(above, below) <= NULL


def test_medians_of_tied_values_are_covered_too() -> None:
    rng, truth = np.random.default_rng(0), 5
    found = [measure("layer", rng.poisson(5, 20), "median", unit="prompt") for _ in range(150)]
    assert np.mean([(m.low or 0) <= truth <= (m.high or 0) for m in found]) > 0.95


def influences_of(samples: np.ndarray, units: SamplingUnits) -> np.ndarray:
    """Of the mean of "row data set": "unit data set", about 0."""
    pseudo = (units.n - 1) * (samples.mean(axis=0) - leave_one_out_means(samples, units))
    return pseudo - pseudo.mean(axis=0)


@pytest.mark.parametrize("source", ["normal", "lognormal"])
@pytest.mark.parametrize("n", [5, 6, 10])
def test_pairs_of_seeds_are_covered_also_where_seeds_are_skewed(source: str, n: int) -> None:
    draw, truth = SOURCES[source]
    rng = np.random.default_rng(n)
    pairs = np.column_stack(np.triu_indices(n, 1))
    seeds = draw(rng, n * DATA_SETS).reshape(n, DATA_SETS)
    samples = seeds[pairs].sum(axis=1) + 0.3 * rng.normal(size=(len(pairs), DATA_SETS))
    units = units_of("match", len(pairs), "seed", None, pairs)
    misses = student_misses(samples.mean(axis=0), influences_of(samples, units), 2 * truth, n)
    assert max(misses[:2]) <= NULL + 0.003


def test_pairs_as_if_they_were_independent_would_not_be_covered() -> None:
    rng = np.random.default_rng(1)
    pairs = np.column_stack(np.triu_indices(10, 1))
    samples = rng.normal(size=(10, 1000))[pairs].sum(axis=1)
    units = units_of("match", len(pairs), "pair", None, None)
    misses = student_misses(samples.mean(axis=0), influences_of(samples, units), 0.0, units.n)
    assert sum(misses[:2]) > 0.2


@pytest.mark.parametrize("n", [6, 12, 24])
@pytest.mark.parametrize("shared", [0.05, 0.4])
def test_means_over_clusters_of_unequal_size_are_covered(shared: float, n: int) -> None:
    rng = np.random.default_rng(n)
    clusters = np.repeat(np.arange(n), rng.integers(5, 21, size=n))
    common = np.sqrt(shared) * rng.normal(size=(n, DATA_SETS))[clusters]
    samples = common + np.sqrt(1 - shared) * rng.normal(size=(len(clusters), DATA_SETS))
    units = units_of("score", len(clusters), "relation", None, clusters)
    above, below, given = student_misses(samples.mean(axis=0), influences_of(samples, units), 0.0, n)
    assert max(above, below) <= NULL
    assert 1 - (above + below) / given >= COVERED


def test_clusters_of_unequal_size_are_worth_fewer_of_equal_size() -> None:
    assert intervals.equal_units(np.full(6, 3.0)) == pytest.approx(6)
    assert intervals.equal_units(np.array([10.0, 1, 1, 1, 1, 1])) == pytest.approx(225 / 105)
    sizes = np.array([60, 5, 5, 5, 5, 5])
    rows = np.random.default_rng(0).normal(size=sizes.sum())
    clusters = np.repeat(np.arange(6), sizes)
    uneven = measure("score", rows, unit="relation", clusters=clusters)
    assert uneven.replicates is None and "One or two of 6 relations carry" in uneven.note


@pytest.mark.parametrize("statistic", ["fraction", "median", "ratio"])
@pytest.mark.parametrize("n", [6, 24])
def test_clusters_are_covered(statistic: str, n: int) -> None:
    found = [
        simulate.outcome(case, 60)
        for case in simulate.cases()
        if case.statistic == f"{statistic}, clustered" and case.n == n
    ]
    assert len(found) == 2
    for o in found:
        assert o.coverage is not None and o.coverage >= 0.88  # 94 % less two errors
        assert max(o.lower_miss, o.upper_miss) <= 0.085


@pytest.mark.parametrize("statistic", ["pearson", "spearman"])
def test_correlations_are_covered(statistic: str) -> None:
    (case,) = (c for c in simulate.cases() if c.statistic == statistic and c.n == 20)
    found = simulate.outcome(case, 60)
    assert found.coverage is not None and found.coverage >= 0.88


def deviations(weights: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """The standard deviation on each resample, all at once: what `on_rows` would give one by one."""
    total = weights.sum(axis=1)
    mean = weights @ samples / total
    return np.sqrt(np.maximum(weights @ samples**2 / total - mean**2, 0) * total / (total - 1))


@pytest.mark.parametrize("n", [8, 12, 20])
def test_a_function_of_the_rows_is_covered(n: int) -> None:
    rng = np.random.default_rng(n)
    units = units_of("spread", n, "prompt", None, None)
    misses = np.zeros(2)
    given = 0
    for _ in range(150):
        rows = rng.normal(size=n)
        raw = resampling.resampled(deviations, rows, units)
        left_out = resampling.leave_one_out(deviations, rows, units)
        value = float(rows.std(ddof=1))
        found = _spread(
            Sample("spread", "prompt", rows, units), Resampled(value, raw, left_out, value, n), True
        )
        if found.replicates is not None:
            low, high = np.quantile(found.replicates, [0.025, 0.975])
            misses += (low > 1, high < 1)
            given += 1
    assert given > 120
    assert 1 - misses.sum() / given >= 0.94 - 0.04
    assert misses.max() / 150 <= 0.05
