"""The planted circuits: their models do what they are built for, over the named edges and no other."""

import numpy as np
import pytest

from engine.lab.circuits.circuit_forward import circuit_values
from engine.lab.circuits.edge_attribution import METHODS, attribute_graph
from engine.lab.circuits.edge_patching import edge_effects
from engine.lab.circuits.graph import Graph
from engine.lab.circuits.planted_circuit import induction_circuit, planted_edges
from engine.lab.circuits.recovery import recovery
from engine.lab.patch_metrics import patch_metric


@pytest.fixture(scope="module", params=[planted_edges, induction_circuit], ids=["chain", "induction"])
def planted(request):
    return request.param()


@pytest.fixture(scope="module")
def facts(planted):
    return planted.lab.known_facts(known_rank=0, both_sides=True)


def test_the_model_knows_all_of_its_answers(facts):
    assert len(facts) == facts.given > 20


def test_the_named_edges_alone_matter_and_alone_suffice(planted, facts):
    model = planted.lab.model
    graph = Graph.of(model)
    true = planted.true_edges(graph)
    metric = patch_metric(model, facts.denoising)
    effects = np.abs(edge_effects(model, graph, facts.denoising, np.arange(graph.n_edges), metric)).mean(0)
    assert effects[true].min() > 1 and effects[~true].max() < 1e-4
    kept = np.stack([true, np.ones_like(true), ~true, np.zeros_like(true)])
    circuit, whole, others, none = circuit_values(model, graph, facts.denoising, kept, metric)
    np.testing.assert_allclose(circuit, whole, atol=1e-3)
    np.testing.assert_allclose(others, none, atol=1e-3)
    assert (whole - none > 1).all()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_circuit(planted, facts, method):
    graph = Graph.of(planted.lab.model)
    scores = attribute_graph(planted.lab.model, graph, facts.denoising, method=method).scores
    assert recovery(np.abs(scores).mean(0), planted.true_edges(graph)).area == 1.0
