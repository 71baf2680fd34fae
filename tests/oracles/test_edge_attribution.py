"""Attribution of nodes and edges, and circuits, against TransformerLens's own: a GPT-2-architecture model.

Theirs scores every position by itself and refuses grouped queries and more than one step; ours are compared
summed over positions.
"""

import numpy as np
import pytest
import torch
from transformer_lens.tools.analysis.attribution_patching import (
    EdgeAttributionConfig,
    FaithfulnessConfig,
    Node,
    attribution_patch,
    enumerate_edges,
    faithfulness,
)

from engine.lab.circuits.circuit_forward import circuit_values
from engine.lab.circuits.edge_attribution import attribute_graph
from engine.lab.circuits.graph import Graph
from engine.lab.patch_metrics import patch_metric
from engine.lab.patch_pairs import PatchPairs
from engine.models.micro import micro_model

INPUT_KINDS = {"q_input": "q", "k_input": "k", "v_input": "v"}
ANSWER, WRONG = 5, 9


@pytest.fixture(scope="module")
def model():
    return micro_model("gpt2", n_layers=2)


@pytest.fixture(scope="module")
def pairs(model) -> PatchPairs:
    clean = model.token_ids(["cat sat on the tower", "the city of France is"])
    corrupted = model.token_ids(["dog ran under a bridge", "the city of Spain is"])
    source, base = torch.tensor(clean), torch.tensor(corrupted)
    last = torch.full((2,), base.shape[1] - 1)
    return PatchPairs(base, source, last, torch.full((2,), ANSWER), torch.full((2,), WRONG))


@pytest.fixture(scope="module")
def bridge():
    # A model of its own: theirs begins its graph at parameters that require a gradient, ours have none.
    bridge = micro_model("gpt2", n_layers=2).bridge.eval()
    for parameter in bridge.parameters():
        parameter.requires_grad_()
    return bridge


def metric(logits: torch.Tensor) -> torch.Tensor:
    return logits[0, -1, ANSWER] - logits[0, -1, WRONG]


def source_name(node: Node) -> str:
    if node.kind == "embed":
        return "embedding"
    return f"L{node.layer}H{node.head}" if node.kind == "attn_head_out" else f"mlp {node.layer}"


def edge_name(source: Node, destination: Node) -> str:
    if destination.kind in INPUT_KINDS:
        into = f"L{destination.layer}H{destination.head}.{INPUT_KINDS[destination.kind]}"
    else:
        into = "logits" if destination.kind == "logits" else f"mlp {destination.layer}"
    return f"{source_name(source)} -> {into}"


@pytest.mark.parametrize("granularity", ["nodes", "edges"])
def test_scores_are_those_of_transformer_lens(model, bridge, pairs, granularity):
    graph = Graph.of(model)
    config = EdgeAttributionConfig(granularity="node" if granularity == "nodes" else "edge")
    found = attribution_patch(bridge, pairs.source, pairs.base, metric, config)
    expected = np.zeros(graph.n_units(granularity))
    if granularity == "edges":
        for (source, destination), score in found.edge_scores.items():
            expected[graph.edge_index(edge_name(source, destination))] += score
        assert len(found.edge_scores) == graph.n_edges * pairs.base.shape[1]
    else:
        for node, score in found.node_scores.items():
            expected[graph.node_index(source_name(node))] += score
    ours = attribute_graph(model, graph, pairs, granularity=granularity).scores.mean(0)
    # Theirs takes the embedding of tokens alone for the embedding: positions are equal and cancel.
    np.testing.assert_allclose(ours, expected, atol=1e-5 * max(1.0, np.abs(expected).max()))
    assert np.abs(expected).max() > 0.01


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_a_circuits_metric_is_that_of_transformer_lens(model, bridge, pairs, share):
    graph = Graph.of(model)
    pairs = pairs.rows([0])
    kept = np.random.default_rng(0).random((1, graph.n_edges)) < share
    names = {graph.edge_name(edge) for edge in np.flatnonzero(kept[0])}
    cache = _edge_cache(bridge, pairs)
    circuit = [edge for edge in enumerate_edges(bridge, cache) if edge_name(*edge) in names]
    theirs = faithfulness(bridge, pairs.source, pairs.base, metric, circuit, FaithfulnessConfig())
    ours = circuit_values(model, graph, pairs, kept, patch_metric(model, pairs))[0, 0]
    recovered = (ours - theirs.corrupt_metric) / (theirs.full_metric - theirs.corrupt_metric)
    assert recovered == pytest.approx(theirs.recovered, abs=1e-4)
    assert theirs.circuit_size == len(circuit) and abs(theirs.recovered - 1) > 0.01


def _edge_cache(bridge, pairs):
    from transformer_lens.tools.analysis import attribution_patching as theirs

    with theirs._edge_hook_flags(bridge):
        names = theirs._edge_hook_names(bridge.cfg.n_layers)
        return theirs.cache_activation_and_gradient(
            bridge, pairs.base, metric, names_filter=names, compute_gradient=False
        )
