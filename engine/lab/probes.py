"""Linear probes: how well a weighted sum of coordinates tells two kinds of texts apart, all of them or k.

1. A dense probe weighs all coordinates: logistic regression with an L2 penalty, or the difference of the two
   kinds' means.
2. A probe of k ranks the coordinates one by one, keeps the k best and fits a logistic regression to these
   (Gurnee et al. 2023, 5.2). Ranked by the difference of means in units of the spread within a kind (the
   square of it orders as their F-statistic), or by how far the area under the coordinate's own ROC curve is
   from one half.
3. The penalty is chosen by cross-validation among the training clusters, each of which is left out whole
   (`GroupKFold`): the one with the largest mean AUC, of equal ones the strongest.
4. Controls: the same with k coordinates at random, and with training labels that say nothing
   (`shuffled_labels`).

Whatever is chosen or fitted is so on the texts that are given; the scores of other texts are what is
measured (`engine.lab.directions.auc_samples`). Coordinates are scaled to a spread of 1 on the training texts
before the penalty is applied, so that it does not depend on their units.

Source: Gurnee et al. 2023, "Finding Neurons in a Haystack"; Kantamneni et al. 2025, "Are Sparse Autoencoders
Useful? A Case Study in Sparse Probing" (penalty by cross-validated AUC; latents ranked by the difference of
means); Hewitt & Liang 2019 (labels that say nothing as a control).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from threadpoolctl import threadpool_limits

from engine.errors import DataError
from engine.lab.directions import auc
from engine.spec.family_params import SelectionName

Vectors = Float[np.ndarray, "text d"]
Positive = Bool[np.ndarray, " text"]
PENALTIES = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
"""Inverse strengths of the L2 penalty (scikit-learn's C) that cross-validation chooses from."""
FOLDS = 5
ITERATIONS = 1000
NO_SPREAD = 1e-12


@dataclass(frozen=True)
class Probe:
    """score(x) = sum_j weights_j x_j + bias over its coordinates; above 0 it says positive.

    `penalty` is the inverse strength that was chosen, 0 for a difference of means, which has none.
    """

    coordinates: Int[np.ndarray, " coordinate"]
    weights: Float[np.ndarray, " coordinate"]
    bias: float
    penalty: float = 0.0

    def scores(self, vectors: Vectors) -> Float[np.ndarray, " text"]:
        """How positive each text looks."""
        return vectors[:, self.coordinates].astype(float) @ self.weights + self.bias


def one_thread() -> AbstractContextManager[object]:
    """Products of a probe's size on one thread: several wait for each other, and sum in another order."""
    return threadpool_limits(limits=1, user_api="blas")


def require_two_kinds(positive: Positive) -> None:
    """DataError where there are not at least two texts of each kind to learn from."""
    n_positive = int(positive.sum())
    if min(n_positive, len(positive) - n_positive) < 2:
        raise DataError(
            "a probe needs texts of two kinds to learn from",
            expected="at least two of each label in the clusters that train",
            seen=f"{n_positive} and {len(positive) - n_positive}",
        )


def mean_difference_probe(vectors: Vectors, positive: Positive) -> Probe:
    """The difference of the two kinds' means as weights, half way between them as the boundary."""
    require_two_kinds(positive)
    means = [vectors[positive == kind].mean(axis=0, dtype=float) for kind in (True, False)]
    weights = means[0] - means[1]
    middle = (means[0] + means[1]) / 2
    return Probe(np.arange(vectors.shape[1]), weights, -float(middle @ weights))


def logistic_probe(
    vectors: Vectors,
    positive: Positive,
    clusters: np.ndarray,
    coordinates: Int[np.ndarray, " coordinate"] | None = None,
) -> Probe:
    """Logistic regression on some coordinates (all when left out), its penalty chosen across clusters."""
    require_two_kinds(positive)
    kept = np.arange(vectors.shape[1]) if coordinates is None else np.asarray(coordinates)
    x = vectors[:, kept].astype(float)
    mean = x.mean(axis=0)
    spread = x.std(axis=0)
    # A coordinate that is the same in all training texts, such as a latent that never fires, says nothing.
    scale = np.where(spread > NO_SPREAD, spread, np.inf)
    penalty = chosen_penalty((x - mean) / scale, positive, clusters)
    weights, bias = _fit((x - mean) / scale, positive, penalty)
    # In the units of the activations: w . (x - mean) / scale + b.
    weights = weights / scale
    return Probe(kept, weights, float(bias - mean @ weights), penalty)


def chosen_penalty(x: Vectors, positive: Positive, clusters: np.ndarray) -> float:
    """The inverse strength with the largest mean AUC on clusters left out; of equal ones the strongest.

    Of one coordinate every penalty orders texts alike: the middle one is taken, and nothing is fitted.
    """
    if x.shape[1] == 1:
        return PENALTIES[len(PENALTIES) // 2]
    found = dict.fromkeys(PENALTIES, 0.0)
    n_folds = 0
    for train, test in _folds(positive, clusters):
        n_folds += 1
        for penalty in PENALTIES:
            weights, _ = _fit(x[train], positive[train], penalty)
            found[penalty] += auc(x[test] @ weights, positive[test])
    if not n_folds:
        return PENALTIES[len(PENALTIES) // 2]
    # PENALTIES ascend from the strongest, and the first of equal ones is taken.
    return max(PENALTIES, key=lambda penalty: round(found[penalty], 9))


def _folds(positive: Positive, clusters: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit and rows to try, no cluster in both; only where both sides have both kinds."""
    n_folds = min(FOLDS, len(np.unique(clusters)))
    if n_folds < 2:
        return
    for train, test in GroupKFold(n_folds).split(clusters, groups=clusters):
        if all(0 < positive[rows].sum() < len(rows) for rows in (train, test)):
            yield train, test


def _fit(x: Vectors, positive: Positive, penalty: float) -> tuple[np.ndarray, float]:
    """Weights and bias of scikit-learn's logistic regression; the bias is not penalised."""
    with warnings.catch_warnings():
        # A weak penalty on kinds that separate: weights still grow when it stops, the order of scores rests.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = LogisticRegression(C=penalty, max_iter=ITERATIONS).fit(x, positive)
    return found.coef_[0], float(found.intercept_[0])


def ranked_coordinates(
    vectors: Vectors, positive: Positive, by: SelectionName = "mean_difference"
) -> Int[np.ndarray, " d"]:
    """All coordinates, the one that alone tells most first; equal ones in their own order."""
    require_two_kinds(positive)
    found = (
        np.abs(scaled_mean_differences(vectors, positive))
        if by == "mean_difference"
        else np.abs(coordinate_aucs(vectors, positive) - 0.5)
    )
    return np.argsort(-found, kind="stable")


def scaled_mean_differences(vectors: Vectors, positive: Positive) -> Float[np.ndarray, " d"]:
    """By coordinate, the difference of the two kinds' means over the spread within a kind; 0 without one."""
    x = vectors.astype(float)
    means = np.where(positive[:, None], x[positive].mean(axis=0), x[~positive].mean(axis=0))
    spread = np.sqrt(((x - means) ** 2).mean(axis=0))
    difference = x[positive].mean(axis=0) - x[~positive].mean(axis=0)
    # A coordinate of two values, one for each kind, has no spread within a kind and tells them apart wholly.
    scale = np.where(spread > NO_SPREAD, spread, np.where(np.abs(difference) > NO_SPREAD, NO_SPREAD, np.inf))
    return difference / scale


def coordinate_aucs(vectors: Vectors, positive: Positive) -> Float[np.ndarray, " d"]:
    """By coordinate, the chance that it is larger in a positive text than in another, ties counting half."""
    # Mann & Whitney (1947): the sum of the positive texts' ranks, less the least that it can be, over the
    # number of pairs. Mid-ranks count ties as a half, of which sparse codes have many.
    ranks = scipy.stats.rankdata(vectors, axis=0)
    n_positive = int(positive.sum())
    above = ranks[positive].sum(axis=0) - n_positive * (n_positive + 1) / 2
    return above / (n_positive * (len(positive) - n_positive))


def shuffled_labels(positive: Positive, clusters: np.ndarray, generator: np.random.Generator) -> Positive:
    """Labels that say nothing of the texts: permuted within each cluster that has both kinds.

    So every cluster keeps as many texts of each kind as it has. Clusters of one kind alone exchange their
    labels with each other, whole, so that texts of one cluster still have one label.
    """
    shuffled = positive.copy()
    alone = []
    for cluster in np.unique(clusters):
        rows = np.flatnonzero(clusters == cluster)
        shuffled[rows] = generator.permutation(positive[rows])
        if len(set(positive[rows].tolist())) == 1:
            alone.append(rows)
    for rows, taken in zip(alone, generator.permutation(len(alone)), strict=True):
        shuffled[rows] = positive[alone[taken][0]]
    return shuffled
