"""Faithfulness, its areas and sizes equal what other code makes of the same arrays."""

import numpy as np
import pytest
from scipy.integrate import trapezoid

from engine.errors import DataError
from engine.lab.circuits import faithfulness as fa

RNG = np.random.default_rng(0)
N_PROMPTS = 12


@pytest.fixture
def curve() -> fa.FaithfulnessCurve:
    """A curve that rises above 1 and comes back to it, over prompts with gaps of their own."""
    empty = RNG.normal(size=N_PROMPTS)
    model = empty + RNG.uniform(1, 5, size=N_PROMPTS)
    shares = np.array([-0.2, 0, 0.1, 0.3, 0.7, 1.1, 1.4, 1.2, 0.9, 1.0])
    circuit = empty + shares[:, None] * (model - empty) + RNG.normal(size=(10, N_PROMPTS)) / 10
    circuit[-1] = model
    n_edges = np.array([0, 3, 11, 20, 41, 99, 198, 401, 1003, 2010])
    return fa.FaithfulnessCurve(np.array(fa.FRACTIONS), n_edges, circuit, empty, model)


def test_faithfulness_is_a_ratio_of_means_and_not_a_mean_of_ratios():
    empty = np.array([0.0, 0.0])
    model = np.array([1.0, 9.0])
    circuit = np.array([[1.0, 0.0], [0.0, 9.0]])
    np.testing.assert_allclose(fa.faithfulness(circuit, empty, model), [0.1, 0.9])
    np.testing.assert_allclose(fa.plain_ratio(circuit, model), [0.1, 0.9])


def test_what_the_empty_circuit_does_is_not_faithful_but_in_the_plain_ratio():
    empty = np.full(3, 2.0)
    model = np.full(3, 4.0)
    assert fa.faithfulness(empty[None], empty, model) == [0]
    assert fa.plain_ratio(empty[None], model) == [0.5]


def test_the_areas_are_those_of_an_independent_trapezoid_rule(curve):
    f = (curve.circuit.mean(1) - curve.empty.mean()) / (curve.model.mean() - curve.empty.mean())
    assert fa.cpr(curve.faithfulness) == pytest.approx(trapezoid(f, fa.FRACTIONS), abs=1e-12)
    assert fa.cmd(curve.faithfulness) == pytest.approx(trapezoid(np.abs(1 - f), fa.FRACTIONS), abs=1e-12)


def test_the_areas_are_those_of_a_loop_over_neighbouring_sizes(curve):
    f = curve.faithfulness.tolist()
    under = from_one = 0.0
    for i in range(len(f) - 1):
        width = fa.FRACTIONS[i + 1] - fa.FRACTIONS[i]
        under += width * (f[i] + f[i + 1]) / 2
        from_one += width * (abs(1 - f[i]) + abs(1 - f[i + 1])) / 2
    assert fa.cpr(curve.faithfulness) == pytest.approx(under, abs=1e-12)
    assert fa.cmd(curve.faithfulness) == pytest.approx(from_one, abs=1e-12)


def test_a_whole_curve_at_one_has_the_area_of_its_width_and_no_distance():
    ones = np.ones(10)
    assert fa.cpr(ones) == pytest.approx(1 - 0.001)
    assert fa.cmd(ones) == 0


def test_cpr_is_a_ratio_of_means_over_prompts_too(curve):
    assert curve.area().mean() / curve.gap.mean() == pytest.approx(fa.cpr(curve.faithfulness))
    assert curve.cmd_of(curve.rows) == pytest.approx(fa.cmd(curve.faithfulness))


def test_a_part_of_the_prompts_has_a_curve_of_its_own(curve):
    half = np.arange(N_PROMPTS) < 5
    expected = fa.faithfulness(curve.circuit[:, :5], curve.empty[:5], curve.model[:5])
    np.testing.assert_allclose(curve.at(half).faithfulness, expected)


def test_the_size_at_a_level_lies_between_the_two_sizes_around_it():
    sizes = np.array([10, 100, 1000])
    assert fa.size_reaching(np.array([0.0, 0.5, 1.0]), sizes, 0.5) == pytest.approx(100)
    # Half of the way from .5 to 1, and so half of the way from log 100 to log 1000.
    assert fa.size_reaching(np.array([0.0, 0.5, 1.0]), sizes, 0.75) == pytest.approx(10**2.5)
    assert fa.size_reaching(np.array([0.9, 0.95, 1.0]), sizes, 0.8) == 10
    assert fa.size_reaching(np.array([0.0, 0.1, 0.2]), sizes, 0.8) == 1000
    assert fa.size_reaching(np.array([0.0, 1.2, 1.0]), np.array([0, 50, 90]), 0.6) == pytest.approx(50**0.5)


def test_signed_and_absolute_rankings_differ_in_edges_that_hurt():
    scores = np.array([0.1, -3.0, 2.0, 0.1])
    assert fa.top_edges(scores, 2, absolute=False).tolist() == [True, False, True, False]
    assert fa.top_edges(scores, 2, absolute=True).tolist() == [False, True, True, False]


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(DataError, match=r"1 of 2 are not finite"):
        fa.top_edges(np.array([np.nan, 1.0]), 1, absolute=True)


def prune_of(ends: np.ndarray, last: int):
    """Edges of a little graph of nodes 0..last that lie on a path from 0 to last; a loop per mask."""

    def prune(masks: np.ndarray) -> np.ndarray:
        pruned = []
        for mask in masks:
            reached, reaching = {0}, {last}
            for (start, end), kept in zip(ends, mask, strict=True):
                if kept and start in reached:
                    reached.add(end)
            for (start, end), kept in zip(ends[::-1], mask[::-1], strict=True):
                if kept and end in reaching:
                    reaching.add(start)
            pruned.append(
                [
                    kept and start in reached and end in reaching
                    for (start, end), kept in zip(ends, mask, strict=True)
                ]
            )
        return np.array(pruned)

    return prune


ENDS = np.array([(a, b) for a in range(6) for b in range(a + 1, 6)])


def test_sizes_are_counted_before_pruning_and_told_after():
    prune = prune_of(ENDS, 5)
    scores = -np.arange(len(ENDS), dtype=float)  # the edges of node 0 first: connected by 0 -> 5 alone
    circuits = fa.circuits_by_size(scores, prune, absolute=False, fractions=(0.2, 0.4, 1.0))
    # Of three edges 0-1, 0-2, 0-3 none reaches node 5; of six, 0-5 does.
    assert circuits.sum(axis=1).tolist() == [0, 1, 15]
    seen = []

    def evaluate(masks: np.ndarray) -> np.ndarray:
        seen.append(masks)
        return masks.sum(axis=1, keepdims=True) * np.ones((1, 4))

    curve = fa.faithfulness_curve(circuits, evaluate, np.zeros(4), np.full(4, 15.0), (0.2, 0.4, 1.0))
    assert curve.n_edges.tolist() == [0, 1, 15]
    np.testing.assert_allclose(curve.faithfulness, [0, 1 / 15, 1])
    assert len(seen) == 1


def test_random_circuits_have_the_size_asked_for_and_are_connected():
    prune = prune_of(ENDS, 5)
    drawn = fa.random_circuits(len(ENDS), 6, 5, prune, np.random.default_rng(1))
    assert (drawn == prune(drawn)).all()
    assert drawn.sum(axis=1).max() <= 6
    assert drawn.sum(axis=1).min() >= 4
    assert len(np.unique(drawn, axis=0)) > 1


@pytest.mark.parametrize("model", [np.full(4, 2.0), np.full(4, 2.0 + 1e-9), np.full(4, np.nan)])
def test_a_metric_that_does_not_separate_is_refused(model):
    with pytest.raises(DataError, match="does not tell the whole model from the one with no edge"):
        fa.faithfulness(np.full((1, 4), 2.0), np.full(4, 2.0), model)


def test_the_plain_ratio_of_kl_is_refused():
    with pytest.raises(DataError, match="does not exist where"):
        fa.plain_ratio(np.full((1, 4), 2.0), np.zeros(4))


def test_a_circuit_that_lacks_nothing_is_complete_and_a_part_nobody_needs_is_not_minimal():
    without = RNG.normal(size=(3, 5))
    assert fa.incompleteness(without, without, gap=2.0).max() == 0
    assert fa.incompleteness(without + 1, without, gap=-2.0) == pytest.approx(np.full(3, 0.5))
    assert fa.minimality(without, without, gap=2.0).max() == 0
    assert fa.minimality(without - 4, without, gap=2.0) == pytest.approx(np.full(3, 2.0))


def test_overlap_is_of_the_edges_that_either_circuit_has():
    one = np.array([True, True, False, False])
    assert fa.jaccard(one, np.array([False, True, True, False])) == pytest.approx(1 / 3)
    assert fa.jaccard(one, one) == 1
    assert fa.jaccard(~one & one, ~one & one) == 1
