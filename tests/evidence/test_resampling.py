"""Which units are drawn and how often each row counts, against draws written out one by one."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from engine.errors import ResultError
from engine.evidence import resampling
from engine.evidence.resampling import REPLICATES, SamplingUnits, units_of

RNG = np.random.default_rng(0)


def weights_of(units: SamplingUnits) -> np.ndarray:
    """How often each row counts: "replicate row"."""
    return np.concatenate(list(units.weights()))


def all_pairs(n: int) -> np.ndarray:
    return np.column_stack(np.triu_indices(n, 1))


def test_rows_are_units_clusters_are_units_or_both_ends_of_a_pair_are() -> None:
    rows = units_of("m", 4, "prompt", ["d", "a", "c", "b"], None)
    assert (rows.n, rows.clustered, rows.one_each) == (4, False, True)
    clusters = units_of("m", 4, "subject", None, ["x", "y", "x", "y"])
    assert (clusters.n, clusters.clustered, clusters.one_each) == (2, True, False)
    assert clusters.members.tolist() == [[0], [1], [0], [1]]
    pairs = units_of("m", 3, "seed", None, all_pairs(3))
    assert (pairs.n, pairs.one_each) == (3, False)
    assert pairs.members.tolist() == [[0, 1], [0, 2], [1, 2]]


def test_a_label_is_the_same_unit_whether_it_is_a_number_or_text() -> None:
    numbers = units_of("m", 3, "seed", [7, 3, 5], None)
    texts = units_of("m", 3, "seed", ["3", "5", "7"], None)
    assert numbers.seed == texts.seed


def test_named_units_are_paired_across_measurements_of_other_kinds_and_numbered_ones_are_not() -> None:
    named = [units_of("m", 2, unit, ["a", "b"], None).seed for unit in ("prompt", "fact")]
    numbered = [units_of("m", 2, unit, None, None).seed for unit in ("prompt", "head")]
    assert named[0] == named[1]
    assert numbered[0] != numbered[1]


def test_names_run_together_are_other_units() -> None:
    assert units_of("m", 2, "x", ["ab", "c"], None).seed != units_of("m", 2, "x", ["a", "bc"], None).seed


@pytest.mark.parametrize(
    ("ids", "clusters", "seen"),
    [(["a", "b"], None, "2 x 1"), (None, [[0, 1, 2]] * 3, "3 x 3"), ([[0, 1]] * 3, None, "3 x 2")],
)
def test_labels_that_do_not_fit_the_rows_are_refused_with_their_shape(ids, clusters, seen: str) -> None:
    with pytest.raises(ResultError, match=r"m: the (ids|clusters) do not fit") as caught:
        units_of("m", 3, "prompt", ids, clusters)
    assert (caught.value.expected, caught.value.seen) == ("one for each of 3 rows", seen)


def test_the_first_ids_that_stand_twice_are_named_with_what_to_do() -> None:
    with pytest.raises(ResultError, match="several rows for one prompt") as caught:
        units_of("m", 5, "prompt", ["b", "a", "b", "c", "a"], None)
    assert caught.value.seen == "a, b"
    assert "clusters=" in caught.value.hint


def test_every_resample_draws_as_many_units_as_there_are() -> None:
    weights = weights_of(units_of("m", 9, "prompt", None, None))
    assert weights.shape == (REPLICATES, 9)
    assert (weights.sum(axis=1) == 9).all()
    # Each unit is drawn binomial(n, 1/n) times: mean 1, variance 1 - 1/n.
    assert weights.mean(axis=0) == pytest.approx(np.ones(9), abs=0.06)
    assert weights.var(axis=0) == pytest.approx(np.full(9, 1 - 1 / 9), abs=0.1)


def test_draws_are_those_of_the_seed_counted_one_by_one() -> None:
    units = units_of("m", 6, "prompt", list("fedcba"), None)
    picks = np.random.default_rng(units.seed).integers(6, size=(REPLICATES, 6))
    weights = weights_of(units)
    for replicate in (0, 1, REPLICATES - 1):
        for row, name in enumerate("fedcba"):
            drawn = (picks[replicate] == sorted("fedcba").index(name)).sum()
            assert weights[replicate, row] == drawn


def test_rows_of_a_cluster_count_together() -> None:
    weights = weights_of(units_of("m", 5, "subject", None, ["x", "y", "x", "z", "x"]))
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 0] == weights[:, 4]).all()
    assert (weights[:, 0] + weights[:, 1] + weights[:, 3] == 3).all()


def test_a_pair_counts_once_for_each_pair_of_copies_of_its_ends() -> None:
    """The vertex bootstrap, by listing the drawn vertices and walking over all their pairs."""
    pairs = all_pairs(5)
    units = units_of("m", len(pairs), "seed", None, pairs)
    picks = np.random.default_rng(units.seed).integers(5, size=(REPLICATES, 5))
    weights = weights_of(units)
    for replicate in range(50):
        drawn = picks[replicate]
        times = {tuple(pair): 0 for pair in pairs.tolist()}
        for i in range(5):
            for j in range(i + 1, 5):
                ends = tuple(sorted((int(drawn[i]), int(drawn[j]))))
                if ends in times:  # two copies of one vertex have no edge between them
                    times[ends] += 1
        if any(times.values()):
            assert weights[replicate].tolist() == list(times.values())


def test_a_resample_of_one_vertex_alone_is_the_sample_itself() -> None:
    pairs = all_pairs(3)
    units = units_of("m", 3, "seed", None, pairs)
    picks = np.random.default_rng(units.seed).integers(3, size=(REPLICATES, 3))
    alone = (picks == picks[:, :1]).all(axis=1)
    assert alone.mean() == pytest.approx(1 / 9, abs=0.02)
    weights = weights_of(units)
    assert (weights[alone] == 1).all()
    assert (weights.sum(axis=1) > 0).all()


def test_pairs_of_independent_units_vary_as_the_theory_of_u_statistics_says() -> None:
    """The variance of a mean over pairs, h(x, y) = x + y, is 4 var(x) / n: far above var(h) / pairs."""
    n = 40
    vertex = RNG.normal(size=n)
    pairs = all_pairs(n)
    units = units_of("m", len(pairs), "seed", None, pairs)
    samples = vertex[pairs].sum(axis=1)
    replicates = resampling.resampled(resampling.weighted_means, samples, units)
    assert replicates.var() == pytest.approx(4 * vertex.var() / n, rel=0.2)
    assert replicates.var() > 5 * samples.var() / len(pairs)


def test_blocks_of_replicates_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    units = units_of("m", 6, "subject", None, list("aabbcc"))
    whole = weights_of(units)
    monkeypatch.setattr(resampling, "_CELLS_AT_ONCE", 6 * 7)
    blocks = list(units.weights())
    assert blocks[0].shape == (7, 6) and len(blocks) == -(-REPLICATES // 7)
    assert (np.concatenate(blocks) == whole).all()


def test_more_units_than_are_drawn_share_random_groups_that_other_measurements_share_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resampling, "_MOST_DRAWN", 10)
    ids = [f"u{i:02d}" for i in range(30)]
    units = units_of("m", 30, "token", ids, None)
    assert (units.n, units.drawn, units.one_each) == (30, 10, False)
    assert np.bincount(units.members[:, 0]).tolist() == [3] * 10
    assert np.ptp(units.members[:3, 0]) > 0  # neighbours are not put together
    backwards = units_of("other", 30, "token", ids[::-1], None)
    assert (backwards.members[::-1] == units.members).all()
    assert (weights_of(backwards)[:, ::-1] == weights_of(units)).all()


def test_means_keep_their_digits_far_from_zero() -> None:
    """In single precision 1e8 + 0.1 is 1e8, were the mean not taken away first."""
    spread = RNG.normal(size=50)
    units = units_of("m", 50, "prompt", None, None)
    weights = weights_of(units)[:100].astype(float)
    expected = weights @ spread / weights.sum(axis=1)
    far = resampling.weighted_means(weights.astype(np.float32), 1e8 + spread)
    assert far - 1e8 == pytest.approx(expected, abs=1e-6)


def test_means_of_columns_are_those_of_each_and_of_a_constant_the_constant() -> None:
    columns = np.column_stack([RNG.normal(size=12), np.full(12, 3.0), 1e-9 * RNG.normal(size=12)])
    weights = weights_of(units_of("m", 12, "prompt", None, None))[:20]
    together = resampling.weighted_means(weights, columns)
    for i, column in enumerate(columns.T):
        assert together[:, i] == pytest.approx(np.average(np.tile(column, (20, 1)), 1, weights), rel=1e-5)
    assert (together[:, 1] == 3).all()


def test_sorted_samples_and_their_counts_are_the_rows_and_their_weights() -> None:
    samples = RNG.normal(size=8)
    units = units_of("m", 8, "prompt", list("hgfedcba"), None)
    assert units.one_each
    quick = resampling.resampled(resampling.weighted_means, samples, units)
    assert quick == pytest.approx(weights_of(units) @ samples / 8, abs=1e-6)


def test_a_resample_that_is_constant_in_a_column_has_no_correlation() -> None:
    columns = np.array([[1.0, 2.0], [1.0, 5.0], [4.0, 3.0]])
    weights = np.array([[1, 2, 0], [1, 1, 1]], dtype=np.float32)
    for statistic in (resampling.weighted_pearson, resampling.weighted_spearman):
        first, second = statistic(weights, columns)
        assert np.isnan(first) and np.isfinite(second)


def test_a_correlation_does_not_change_with_the_origin_or_the_unit() -> None:
    columns = RNG.normal(size=(20, 2))
    weights = weights_of(units_of("m", 20, "prompt", None, None))[:30]
    for statistic in (resampling.weighted_pearson, resampling.weighted_spearman):
        moved = statistic(weights, columns * [1e-6, -1e4] + [1e3, 5.0])
        assert moved == pytest.approx(-statistic(weights, columns), abs=1e-4)


def test_a_function_is_given_each_row_as_often_as_it_was_drawn() -> None:
    weights = np.array([[0, 2, 1], [3, 0, 0]], dtype=np.float32)
    total = resampling.on_rows(lambda rows: float((rows**2).sum()))
    assert total(weights, np.array([1.0, 10.0, 100.0])).tolist() == [10_200.0, 3.0]


def test_the_percentiles_before_they_are_spread_are_those_of_scipy() -> None:
    sample = RNG.exponential(size=200)
    units = resampling.units_of("m", 200, "prompt", None, None)
    ours = np.quantile(resampling.resampled(resampling.weighted_means, sample, units), [0.025, 0.975])
    theirs = scipy.stats.bootstrap((sample,), np.mean, method="percentile", rng=np.random.default_rng(1))
    width = np.diff(theirs.confidence_interval)
    assert np.abs(ours - theirs.confidence_interval).max() < 0.05 * width


def test_correlations_are_those_of_the_resampled_rows() -> None:
    columns = np.column_stack([RNG.integers(0, 6, size=25), RNG.normal(size=25)]).astype(float)
    units = resampling.units_of("m", 25, "prompt", None, None)
    counts = next(units.weights())[:40]
    pearson = resampling.on_rows(lambda rows: np.corrcoef(rows.T)[0, 1])
    spearman = resampling.on_rows(lambda rows: np.corrcoef(scipy.stats.rankdata(rows, axis=0).T)[0, 1])
    assert np.allclose(resampling.weighted_pearson(counts, columns), pearson(counts, columns), atol=1e-5)
    assert np.allclose(resampling.weighted_spearman(counts, columns), spearman(counts, columns), atol=1e-5)
