"""Exact patches of edges: the circuit with every edge but one, and samples of edges of every kind."""

from collections import Counter

import numpy as np
import pytest
import torch

from engine.lab.circuits.circuit_forward import circuit_values
from engine.lab.circuits.edge_patching import edge_effects, stratified_edges
from engine.lab.circuits.graph import Graph
from engine.lab.patch_metrics import patch_metric
from engine.lab.patch_pairs import PatchPairs
from tests.models.random_models import random_model


def pairs_of(model) -> PatchPairs:
    clean = ["the city of France is red", "cat sat on Paris", "the city of Rome is green"]
    corrupted = ["the city of Spain is red", "dog ran on Paris", "the city of Tokyo is green"]
    source, _, last = model.pad(model.token_ids(clean))
    base, _, _ = model.pad(model.token_ids(corrupted))
    return PatchPairs(base, source, last, torch.tensor([4, 5, 6]), torch.tensor([7, 8, 9]))


@pytest.mark.parametrize("ungrouped", [False, True])
@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt_neox", "phi3", "gpt_neox in sequence"])
def test_a_patch_is_the_circuit_with_every_edge_but_one(name, ungrouped):
    model = random_model(name)
    graph = Graph.of(model, ungrouped=ungrouped)
    pairs = pairs_of(model)
    metric = patch_metric(model, pairs)
    edges = stratified_edges(graph, 60, seed=0)
    kept = np.ones((len(edges) + 1, graph.n_edges), dtype=bool)
    kept[np.arange(len(edges)), edges] = False
    values = circuit_values(model, graph, pairs.reversed(), kept, metric)
    expected = (values[:-1] - values[-1]).T
    found = edge_effects(model, graph, pairs, edges, metric, tokens_at_once=40)
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1.0, np.abs(values).max()))
    assert np.abs(found).max() > 1e-2


def test_a_sample_has_edges_of_every_kind_and_as_many_of_each_as_there_can_be():
    graph = Graph(6, 4, 2)
    edges = stratified_edges(graph, 300, seed=0)
    assert len(edges) == len(set(edges)) == 300 and (np.diff(edges) > 0).all()
    there, taken = (
        Counter(zip(*(kind[chosen] for kind in graph.edge_kinds), strict=True))
        for chosen in (np.arange(graph.n_edges), edges)
    )
    assert set(there) == set(taken)
    share = max(taken.values())
    assert all(taken[kind] == there[kind] or taken[kind] >= share - 1 for kind in there)
    assert not np.array_equal(edges, stratified_edges(graph, 300, seed=1))
    assert len(stratified_edges(graph, 10**6, seed=0)) == graph.n_edges
