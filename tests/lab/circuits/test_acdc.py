"""ACDC keeps the edges that a loop of one edge, one forward keeps, on random models."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.errors import DataError
from engine.lab.circuits.acdc import acdc, require_circuit
from engine.lab.circuits.circuit_forward import ReferenceRun, circuit_values
from engine.lab.circuits.graph import Graph
from engine.lab.circuits.slow_acdc import mean_loss, slow_acdc, sweep_order
from engine.lab.patch_metrics import patch_metric
from engine.lab.patch_pairs import PatchPairs
from engine.models.hooked import HookedModel
from engine.models.micro import micro_model

TEXTS = [
    ("the capital city of France is the city", "the capital city of Spain is the city"),
    ("the capital city of Italy is the city", "the capital city of Japan is the city"),
    ("cat sat on Paris", "dog speak two Rome"),
]


def some_pairs(model: HookedModel) -> PatchPairs:
    """Two pairs of one length with a common start, and one of another without."""
    source, _, last = model.pad(model.token_ids([clean for clean, _ in TEXTS]))
    base, _, _ = model.pad(model.token_ids([corrupted for _, corrupted in TEXTS]))
    return PatchPairs(base, source, last, torch.tensor([14, 15, 16]), torch.tensor([17, 18, 19]))


def by_a_loop(model, graph, pairs, metric, threshold, reference=None, start=None) -> np.ndarray:
    def loss(kept: np.ndarray) -> float:
        values = circuit_values(model, graph, pairs, kept[None], metric, reference=reference)
        return mean_loss(values[0], metric.name)

    return slow_acdc(graph, loss, threshold, start)


@pytest.mark.parametrize(
    ("architecture", "metric", "reference"),
    [("llama", "logit_diff", "corrupted"), ("gpt2", "kl", "zero"), ("gpt2", "logit_diff", "corrupted")],
)
def test_the_same_edges_are_kept_as_by_a_loop(architecture, metric, reference):
    model = micro_model(architecture, n_layers=2, d_model=16, n_heads=2, n_key_value_heads=1)
    graph = Graph.of(model)
    pairs = some_pairs(model)
    measured = patch_metric(model, pairs, metric)
    threshold = 0.02
    found = acdc(model, graph, pairs, measured, threshold, reference=ReferenceRun(reference))
    kept = by_a_loop(model, graph, pairs, measured, threshold, ReferenceRun(reference))
    np.testing.assert_array_equal(found.kept, kept)
    assert 0 < kept.sum() < graph.n_edges
    values = circuit_values(model, graph, pairs, kept[None], measured, reference=ReferenceRun(reference))[0]
    np.testing.assert_allclose(found.metric, values, atol=1e-4)
    np.testing.assert_array_equal(found.circuit, graph.connected(kept[None])[0])
    # Whatever is kept would have cost the threshold or more, whatever is cut less.
    assert found.cost[kept].min() >= threshold > found.cost[~kept].max()


def test_grouped_keys_are_swept_by_head_where_that_is_asked_for():
    model = micro_model(n_layers=2, n_heads=2, n_key_value_heads=1, d_model=16)
    graph = Graph.of(model, ungrouped=True)
    pairs = some_pairs(model)
    metric = patch_metric(model, pairs)
    found = acdc(model, graph, pairs, metric, 0.05)
    np.testing.assert_array_equal(found.kept, by_a_loop(model, graph, pairs, metric, 0.05))


def test_a_start_is_swept_alone_and_gives_what_a_loop_from_there_gives():
    model = micro_model(n_layers=2, d_model=16, n_heads=2, n_key_value_heads=1)
    graph = Graph.of(model)
    pairs = some_pairs(model)
    metric = patch_metric(model, pairs)
    start = graph.connected(np.random.default_rng(0).random((1, graph.n_edges)) < 0.7)[0]
    found = acdc(model, graph, pairs, metric, 0.02, start=start)
    np.testing.assert_array_equal(found.kept, by_a_loop(model, graph, pairs, metric, 0.02, start=start))
    assert found.n_edges == start.sum()
    assert not (found.kept & ~start).any()


def test_a_larger_threshold_tries_fewer_edges_and_never_more_than_there_are():
    model = micro_model(n_layers=3, d_model=16, n_heads=2, n_key_value_heads=1)
    graph = Graph.of(model)
    pairs = some_pairs(model)
    metric = patch_metric(model, pairs)
    low, high = (acdc(model, graph, pairs, metric, threshold) for threshold in (0.01, 0.3))
    assert high.n_tried < low.n_tried <= graph.n_edges
    assert high.kept.sum() < low.kept.sum()


def test_several_threads_decide_the_same():
    model = micro_model(n_layers=2, d_model=16, n_heads=2, n_key_value_heads=1)
    graph = Graph.of(model)
    pairs = some_pairs(model)
    metric = patch_metric(model, pairs)
    alone = acdc(model, graph, pairs, metric, 0.02).kept
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        beside = acdc(model, graph, pairs, metric, 0.02).kept
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(alone, beside)


def test_a_threshold_that_is_not_above_zero_is_refused():
    model = micro_model()
    pairs = some_pairs(model)
    with pytest.raises(DataError, match="what cutting an edge may cost"):
        acdc(model, Graph.of(model), pairs, patch_metric(model, pairs), 0.0)


@pytest.mark.parametrize(
    ("threshold", "said", "hint"),
    [(1e6, "keeps no path", "a smaller threshold"), (1e-30, "keeps every edge", "a larger threshold")],
)
def test_a_threshold_that_keeps_nothing_or_everything_is_refused(threshold, said, hint):
    model = micro_model(n_layers=1, d_model=16, n_heads=2, n_key_value_heads=1)
    graph = Graph.of(model)
    pairs = some_pairs(model)
    metric = patch_metric(model, pairs)
    found = acdc(model, graph, pairs, metric, threshold)
    if said == "keeps every edge":
        # Of a random model some edge always helps: what is looked at is the message.
        everything = np.ones(graph.n_edges, dtype=bool)
        found = replace(found, kept=everything, circuit=everything)
    with pytest.raises(DataError, match=said) as caught:
        require_circuit(found)
    assert caught.value.hint == hint


def test_too_little_memory_is_told_before_the_sweep_with_what_would_do():
    model = micro_model()
    pairs = some_pairs(model)
    with pytest.raises(DataError, match="does not fit the memory limit") as caught:
        acdc(model, Graph.of(model), pairs, patch_metric(model, pairs), 0.1, memory_mb=0.01)
    assert "memory_mb of at least" in caught.value.expected


def test_the_loop_goes_from_the_logits_upwards():
    graph = Graph(n_layers=1, n_heads=2, n_key_value_heads=1)
    order = list(sweep_order(graph))
    names = [graph.edge_name(edge) for edge in order]
    assert names[0] == "mlp 0 -> logits"
    assert names[-1] == "embedding -> L0H0.q"
    assert sorted(order) == list(range(graph.n_edges))
