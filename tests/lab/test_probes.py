"""Probes against scikit-learn and an exhaustive search; what is chosen is chosen on training clusters."""

import numpy as np
import pytest
from sklearn.feature_selection import f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from engine.errors import DataError
from engine.lab import probes
from engine.lab.directions import auc
from engine.lab.probes import (
    PENALTIES,
    chosen_penalty,
    coordinate_aucs,
    logistic_probe,
    mean_difference_probe,
    one_thread,
    ranked_coordinates,
    scaled_mean_differences,
    shuffled_labels,
)

N = 96
D = 12


@pytest.fixture(scope="module")
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.arange(N) % 2 == 0


@pytest.fixture(scope="module")
def clusters() -> np.ndarray:
    return np.array([f"topic{i // 2 % 8}" for i in range(N)])


@pytest.fixture(scope="module")
def vectors(labels: np.ndarray) -> np.ndarray:
    """Coordinate 3 tells the labels apart well, coordinate 7 less, in other units; the last is constant."""
    x = np.random.default_rng(1).normal(size=(N, D)).astype(np.float32)
    x[:, 3] += 2.0 * labels
    x[:, 7] = 100 * (x[:, 7] - labels)
    x[:, -1] = 4.0
    return x


def test_the_auc_of_every_coordinate_is_scikit_learns(vectors: np.ndarray, labels: np.ndarray) -> None:
    sparse = np.maximum(vectors - 1, 0)  # as codes, of which most are an exact zero
    for x in (vectors, sparse):
        expected = [roc_auc_score(labels, column) for column in x.T]
        assert coordinate_aucs(x, labels) == pytest.approx(expected, abs=1e-12)
        assert [auc(column, labels) for column in x.T] == pytest.approx(expected, abs=1e-12)


def test_the_best_single_coordinate_is_that_of_an_exhaustive_search(
    vectors: np.ndarray, labels: np.ndarray, clusters: np.ndarray
) -> None:
    """Every coordinate by itself: fitted, and judged by the AUC on the texts that it was fitted to."""
    found = []
    for coordinate in range(D):
        probe = logistic_probe(vectors, labels, clusters, np.array([coordinate]))
        found.append(roc_auc_score(labels, probe.scores(vectors)))
    assert ranked_coordinates(vectors, labels, "auc")[0] == np.argmax(found) == 3
    assert np.abs(coordinate_aucs(vectors, labels) - 0.5).max() + 0.5 == pytest.approx(max(found))


def test_differences_of_means_rank_as_the_f_statistic(vectors: np.ndarray, labels: np.ndarray) -> None:
    varying = vectors[:, :-1]
    statistic, _ = f_classif(varying, labels)
    assert ranked_coordinates(varying, labels).tolist() == np.argsort(-statistic).tolist()
    # F = t^2, which is the scaled difference squared times what the numbers of texts alone give.
    assert scaled_mean_differences(varying, labels) ** 2 * (N - 2) / 4 == pytest.approx(statistic, rel=1e-4)


def test_a_coordinate_that_is_constant_is_last_and_one_without_spread_first(labels: np.ndarray) -> None:
    x = np.random.default_rng(2).normal(size=(N, 4))
    x[:, 0] = 1.0
    x[:, 3] = np.where(labels, 2.0, 1.0)
    assert ranked_coordinates(x, labels)[0] == 3
    assert ranked_coordinates(x, labels)[-1] == 0


def test_a_logistic_probe_is_scikit_learns_in_the_units_of_the_activations(
    vectors: np.ndarray, labels: np.ndarray, clusters: np.ndarray
) -> None:
    kept = np.array([7, 3, 5])
    probe = logistic_probe(vectors, labels, clusters, kept)
    expected = make_pipeline(StandardScaler(), LogisticRegression(C=probe.penalty, max_iter=1000))
    expected.fit(vectors[:, kept].astype(float), labels)
    seen = probe.scores(vectors)
    assert seen == pytest.approx(expected.decision_function(vectors[:, kept].astype(float)), abs=1e-5)
    assert (seen[labels].mean() > 0) and (seen[~labels].mean() < 0)


def test_a_latent_that_never_fires_in_training_changes_no_score(
    labels: np.ndarray, clusters: np.ndarray
) -> None:
    x = np.random.default_rng(3).normal(size=(N, 3)) + labels[:, None]
    with_dead = np.column_stack([x, np.zeros(N)])
    probe = logistic_probe(with_dead, labels, clusters)
    later = with_dead.copy()
    later[:, 3] = 5.0
    assert np.array_equal(probe.scores(later), probe.scores(with_dead))


def test_the_difference_of_means_is_a_direction_with_its_boundary_in_the_middle(
    vectors: np.ndarray, labels: np.ndarray
) -> None:
    probe = mean_difference_probe(vectors, labels)
    means = [vectors[labels == kind].mean(axis=0) for kind in (True, False)]
    assert probe.weights == pytest.approx(means[0] - means[1], abs=1e-4)
    assert probe.scores(np.array([(means[0] + means[1]) / 2])) == pytest.approx([0], abs=1e-2)


def test_the_penalty_is_chosen_on_clusters_that_were_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels that a cluster's own coordinate tells: useless in any other cluster."""
    clusters = np.repeat([f"topic{i}" for i in range(6)], 16)
    positive = np.arange(96) % 2 == 0
    seen = []
    fit = probes._fit

    def watched(x, y, penalty):
        seen.append(len(x))
        return fit(x, y, penalty)

    monkeypatch.setattr(probes, "_fit", watched)
    x = np.random.default_rng(4).normal(size=(96, 5))
    x[:, 2] += positive
    assert chosen_penalty(x, positive, clusters) in PENALTIES
    # Five folds of six clusters: every fit leaves one or two whole clusters out.
    assert len(seen) == 5 * len(PENALTIES) and set(seen) == {64, 80}
    for train, test in probes._folds(positive, clusters):
        assert not set(clusters[train]) & set(clusters[test])


def test_a_strong_penalty_is_taken_where_a_weak_one_fits_noise() -> None:
    """On the texts that were fitted the weakest penalty has the largest AUC: it must not be judged there."""
    positive = np.arange(60) % 2 == 0
    clusters = np.array([f"c{i // 6}" for i in range(60)])
    x = np.random.default_rng(1).normal(size=(60, 12)) + 0.2 * np.where(positive, 1, -1)[:, None]
    fitted = {}
    for penalty in PENALTIES:
        weights, _ = probes._fit(x, positive, penalty)
        fitted[penalty] = auc(x @ weights, positive)
    assert max(fitted, key=lambda penalty: fitted[penalty]) >= 0.1
    assert chosen_penalty(x, positive, clusters) <= 0.001


@pytest.mark.parametrize("clusters", [np.array(["one"] * 40), np.array([f"c{i % 2}" for i in range(40)])])
def test_without_clusters_to_leave_out_the_middle_penalty_is_taken(clusters: np.ndarray) -> None:
    # In the second case each cluster has one label alone, so that no fold can be judged.
    positive = np.arange(40) % 2 == 0
    x = np.random.default_rng(6).normal(size=(40, 3))
    assert chosen_penalty(x, positive, clusters) == PENALTIES[len(PENALTIES) // 2]


def test_kinds_that_separate_wholly_raise_no_warning(clusters: np.ndarray, labels: np.ndarray) -> None:
    x = np.where(labels, 1.0, -1.0)[:, None] * np.ones(30)
    with one_thread():
        assert auc(logistic_probe(x, labels, clusters).scores(x), labels) == 1.0


def test_shuffled_labels_keep_each_clusters_numbers_and_say_nothing(
    labels: np.ndarray, clusters: np.ndarray, rng: np.random.Generator
) -> None:
    draws = np.array([shuffled_labels(labels, clusters, rng) for _ in range(200)])
    for cluster in np.unique(clusters):
        rows = clusters == cluster
        assert (draws[:, rows].sum(axis=1) == labels[rows].sum()).all()
    assert draws.mean(axis=0) == pytest.approx(np.full(N, 0.5), abs=0.15)
    assert len(np.unique(draws, axis=0)) == 200


def test_clusters_of_one_label_exchange_their_labels_whole(rng: np.random.Generator) -> None:
    clusters = np.repeat([f"c{i}" for i in range(10)], 4)
    positive = np.repeat(np.arange(10) < 5, 4)
    draws = [shuffled_labels(positive, clusters, rng) for _ in range(20)]
    for drawn in draws:
        assert all(len(set(drawn[clusters == cluster])) == 1 for cluster in np.unique(clusters))
        assert drawn.sum() == positive.sum()
    assert any(not np.array_equal(drawn, positive) for drawn in draws)


@pytest.mark.parametrize("n_positive", [0, 1, 39, 40])
def test_fewer_than_two_texts_of_a_kind_are_refused(n_positive: int) -> None:
    positive = np.arange(40) < n_positive
    x = np.zeros((40, 2))
    for fit in (mean_difference_probe, ranked_coordinates):
        with pytest.raises(DataError, match="two kinds"):
            fit(x, positive)
    with pytest.raises(DataError, match="at least two of each label"):
        logistic_probe(x, positive, np.arange(40).astype(str))
