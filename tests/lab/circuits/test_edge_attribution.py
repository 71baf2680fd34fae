"""Attribution of nodes and edges: against exact patches where these are linear, and method against method."""

import numpy as np
import pytest
import torch

import engine.lab.circuits.edge_attribution as module
from engine.errors import DataError
from engine.lab.circuits.circuit_forward import circuit_values
from engine.lab.circuits.edge_attribution import METHODS, attribute_graph
from engine.lab.circuits.graph import Graph
from engine.lab.patch_metrics import patch_metric
from engine.lab.patch_pairs import PatchPairs
from engine.lab.planted import linear_model
from engine.models.blocks import Block
from engine.models.micro import micro_model
from tests.models.random_models import random_model

SOME_LAYOUTS = ["llama", "qwen3", "gpt_neox", "phi3"]


def pairs_of(model) -> PatchPairs:
    clean = ["the city of France is red", "one cat sat on the tower", "cat sat on Paris"]
    corrupted = ["the city of Spain is red", "one dog sat on the river", "dog ran on Paris"]
    source, _, last = model.pad(model.token_ids(clean))
    base, _, _ = model.pad(model.token_ids(corrupted))
    return PatchPairs(base, source, last, torch.tensor([4, 5, 6]), torch.tensor([7, 8, 9]))


def exact(model, graph, pairs, granularity="edges") -> np.ndarray:
    """Every unit patched by itself: all edges are the base run's but the unit's own."""
    kept = graph.kept_edges(~np.eye(graph.n_units(granularity), dtype=bool), granularity)
    if granularity == "nodes":
        # A node's patch changes what it writes, and not what it reads.
        kept = graph.edge_source != np.arange(graph.n_sources)[:, None]
    metric = patch_metric(model, pairs)
    unpatched = circuit_values(
        model, graph, pairs.reversed(), np.ones((1, graph.n_edges), dtype=bool), metric
    )
    return (circuit_values(model, graph, pairs.reversed(), kept, metric) - unpatched).T


@pytest.mark.parametrize("granularity", ["nodes", "edges"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_in_a_linear_model_every_method_is_exact(architecture, method, granularity):
    model = linear_model(architecture)
    graph = Graph.of(model)
    pairs = pairs_of(model)
    found = attribute_graph(model, graph, pairs, method=method, granularity=granularity, steps=2)
    expected = exact(model, graph, pairs, granularity)
    size = np.abs(expected).max()
    assert size > 0.1
    np.testing.assert_allclose(found.scores, expected, atol=1e-5 * size)


@pytest.mark.parametrize("ungrouped", [False, True])
@pytest.mark.parametrize("name", SOME_LAYOUTS)
def test_it_is_the_derivative_of_exact_patching(name, ungrouped):
    """To first order: the source run is a thousandth of the way from the base run."""
    model = random_model(name)
    graph = Graph.of(model, ungrouped=ungrouped)
    pairs = pairs_of(model).rows([0])
    base = model.embed(pairs.base)
    near = base + 1e-3 * (model.embed(pairs.source) - base)
    pairs = PatchPairs(pairs.base, pairs.base, pairs.last, pairs.answer, pairs.wrong_answer, base, near)
    found = attribute_graph(model, graph, pairs).scores[0]
    edges = np.random.default_rng(0).choice(graph.n_edges, 60, replace=False)
    kept = np.ones((61, graph.n_edges), dtype=bool)
    kept[np.arange(60), edges] = False
    values = circuit_values(model, graph, pairs.reversed(), kept, patch_metric(model, pairs))[:, 0]
    measured = values[:60] - values[60]
    # What is left of differences of logits of some units in float32, beside the second order.
    np.testing.assert_allclose(found[edges], measured, atol=0.02 * np.abs(found).max())
    assert np.corrcoef(found[edges], measured)[0, 1] > 0.99


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_a_nodes_score_is_the_sum_of_its_edges(name, method):
    model = random_model(name)
    graph = Graph.of(model)
    pairs = pairs_of(model)
    edges, nodes = (
        attribute_graph(model, graph, pairs, method=method, granularity=granularity, steps=2)
        for granularity in ("edges", "nodes")
    )
    summed = np.stack([np.bincount(graph.edge_source, row) for row in edges.scores])
    np.testing.assert_allclose(nodes.scores, summed, atol=1e-4 * np.abs(summed).max())
    np.testing.assert_allclose(nodes.base, edges.base, atol=1e-5)
    np.testing.assert_allclose(nodes.source, edges.source, atol=1e-5)


def test_integrated_gradients_of_the_embedding_sum_to_the_whole_effect():
    model = micro_model("llama")
    graph = Graph.of(model)
    pairs = pairs_of(model)
    gaps = []
    for steps in (1, 4, 32):
        for method in ("eap_ig_inputs", "eap_ig_activations"):
            found = attribute_graph(model, graph, pairs, method=method, granularity="nodes", steps=steps)
            gaps.append(np.abs(found.scores[:, 0] - (found.source - found.base)).max())
    # The embedding is on every path, so that its effect is the difference of the runs.
    assert gaps[-1] < 0.02 * np.abs(found.source - found.base).max()
    assert gaps[-1] < gaps[2] < gaps[0]
    assert gaps[0] == pytest.approx(gaps[1], abs=1e-5)


def test_prompts_do_not_see_each_other_and_any_metric_will_do():
    model = micro_model("gpt2")
    graph = Graph.of(model)
    pairs = pairs_of(model)
    for name in ("logit_diff", "kl", "log_probability"):
        metric = patch_metric(model, pairs, name)
        together = attribute_graph(model, graph, pairs, metric=metric)
        alone = attribute_graph(model, graph, pairs.rows([2]), metric=metric.rows([2]))
        size = np.abs(alone.scores).max()
        np.testing.assert_allclose(together.scores[2], alone.scores[0], atol=1e-3 * size)
        # A KL of two runs that hardly differ is of second order: small, and not 0.
        assert size > (1e-6 if name == "kl" else 1e-4)


@pytest.mark.parametrize(("method", "forwards"), [("eap", 2), ("relp", 2), ("eap_ig_inputs", 5)])
def test_plain_attribution_is_two_forwards_and_a_backward(method, forwards, monkeypatch):
    """A backward costs one forward more: parameters have no gradient."""
    model = micro_model("llama")
    graph = Graph.of(model)
    pairs = pairs_of(model).rows([0, 1])
    blocks = []
    attend, grad = Block.attend, torch.autograd.grad
    monkeypatch.setattr(Block, "attend", lambda self, *a: (blocks.append(1), attend(self, *a))[1])
    backwards = []
    monkeypatch.setattr(torch.autograd, "grad", lambda *a: (backwards.append(1), grad(*a))[1])
    attribute_graph(model, graph, pairs, method=method, steps=3)
    assert len(blocks) == forwards * model.n_layers
    assert len(backwards) == (3 if method == "eap_ig_inputs" else 1)
    assert len(blocks) / model.n_layers + len(backwards) <= (4 if method in ("eap", "relp") else 8)


def test_relp_takes_other_coefficients_and_its_rules_are_a_parameter():
    model = micro_model("llama")
    graph = Graph.of(model)
    pairs = pairs_of(model)
    eap, relp = (attribute_graph(model, graph, pairs, method=method).scores for method in ("eap", "relp"))
    assert np.abs(eap - relp).max() > 0.1 * np.abs(eap).max()
    rules = module.Propagation(frozen_attention=True)
    frozen = attribute_graph(model, graph, pairs, method="relp", rules=rules).scores
    _, into = graph.edge_kinds
    assert np.abs(frozen[:, np.isin(into, ["q", "k"])]).max() == 0
    assert np.abs(frozen[:, into == "v"]).max() > 0


def test_what_cannot_be_attributed_is_told():
    model = micro_model("llama")
    graph = Graph.of(model)
    pairs = pairs_of(model)
    same = PatchPairs(pairs.base, pairs.base, pairs.last, pairs.answer, pairs.wrong_answer)
    with pytest.raises(DataError, match="does not tell"):
        attribute_graph(model, graph, same)
    with pytest.raises(DataError, match="need a step"):
        attribute_graph(model, graph, pairs, method="eap_ig_inputs", steps=0)


def test_an_unknown_method_is_refused(unchecked_shapes):
    model = micro_model("llama")
    with pytest.raises(DataError, match="no method"):
        attribute_graph(model, Graph.of(model), pairs_of(model), method="shap")  # pyright: ignore[reportArgumentType]
