"""The hypothesis tests: their size under a true null, and that they reject what is false."""

import numpy as np
import pytest
from scipy.stats import binomtest

from engine.errors import DataError
from engine.lab.circuits import circuit_tests as ct
from engine.lab.circuits.graph import Graph

RNG = np.random.default_rng(0)
MODEL = RNG.normal(size=60)


def test_equivalence_holds_where_each_wins_as_often_and_fails_where_one_always_wins():
    even = MODEL + np.where(np.arange(60) % 2, 0.1, -0.1)
    assert ct.equivalence_p(even, MODEL) > 0.5
    assert ct.equivalence_p(MODEL - 1, MODEL) < 1e-6
    assert ct.equivalence_p(MODEL + 1, MODEL) < 1e-6


def test_equivalence_is_the_binomial_sum_of_the_paper():
    circuit = MODEL + np.where(np.arange(60) < 45, 0.1, -0.1)  # wins 45 of 60: a quarter from one half
    upper = binomtest(45, 60, 0.6, alternative="greater").pvalue
    lower = binomtest(15, 60, 0.6, alternative="less").pvalue
    assert ct.equivalence_p(circuit, MODEL) == pytest.approx(upper + lower)


def test_a_circuit_that_is_the_model_has_nothing_to_outdo():
    with pytest.raises(DataError, match="equals its model on every prompt"):
        ct.equivalence_p(MODEL, MODEL.copy())


def test_independence_is_rejected_where_one_follows_from_the_other_and_kept_where_not():
    rng = np.random.default_rng(1)
    assert ct.independence_p(MODEL**2, MODEL, rng, 200) < 0.02  # not linear, and yet dependent
    p = [ct.independence_p(rng.normal(size=30), MODEL[:30], rng, 100) for _ in range(40)]
    assert np.mean(np.array(p) <= 0.1) < 0.25
    assert np.mean(p) == pytest.approx(0.5, abs=0.15)


def test_an_edge_without_effect_is_not_minimal_and_one_above_all_others_is():
    reference = np.linspace(0.1, 1, 50)
    assert ct.minimality_p(0.0, reference) < 1e-6
    assert ct.minimality_p(2.0, reference) == 1


def test_sufficiency_and_necessity_compare_with_random_circuits():
    drawn = MODEL + np.linspace(0.5, 2, 50)[:, None]
    assert ct.sufficiency_p(MODEL + 0.1, drawn, MODEL) == pytest.approx(0.9**50)
    assert ct.sufficiency_p(MODEL + 3, drawn, MODEL) == 1
    assert ct.partial_necessity_p(MODEL - 5, drawn, MODEL) == pytest.approx(0.9**50)
    assert ct.partial_necessity_p(MODEL, drawn, MODEL) == 1


def test_a_random_path_leads_from_the_embedding_to_the_logits():
    graph = Graph(n_layers=3, n_heads=2, n_key_value_heads=1)
    rng = np.random.default_rng(2)
    for _ in range(20):
        kept = np.zeros((1, graph.n_edges), dtype=bool)
        kept[0, ct.random_path(graph, rng)] = True
        np.testing.assert_array_equal(graph.connected(kept), kept)


def test_an_inflated_circuit_has_a_path_more_and_loses_one_of_its_new_edges():
    graph = Graph(n_layers=2, n_heads=2, n_key_value_heads=1)
    circuit = np.zeros(graph.n_edges, dtype=bool)
    circuit[graph.edge_index("embedding -> logits")] = True
    larger, without = ct.inflated(circuit, graph, np.random.default_rng(3))
    assert larger.sum() > 1
    assert (larger & ~without).sum() == 1
    assert not (circuit & ~without).any()
    with pytest.raises(DataError, match="no random path adds an edge"):
        ct.inflated(np.ones(graph.n_edges, dtype=bool), graph, np.random.default_rng(3))
