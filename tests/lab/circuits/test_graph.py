"""The graph: counts that others publish, names, and what hangs together."""

import numpy as np
import pytest

from engine.errors import DataError, ModelError
from engine.lab.circuits.graph import Graph
from engine.models.known import ModelShape
from engine.models.micro import micro_model
from tests.models.random_models import NAMES, random_model

GPT2_SMALL = ModelShape(12, 12, 12, 768, 64, 3072, 50257)
SMOLLM2 = ModelShape(30, 9, 3, 576, 64, 1536, 49152)


@pytest.mark.parametrize(
    ("shape", "ungrouped", "nodes", "edges"),
    [
        (GPT2_SMALL, False, 158, 32_491),
        (GPT2_SMALL, True, 158, 32_491),
        (SMOLLM2, False, 302, 70_651),
        (SMOLLM2, True, 302, 123_211),
    ],
)
def test_the_counts_are_those_that_are_published(shape, ungrouped, nodes, edges):
    graph = Graph.of_shape(shape, ungrouped=ungrouped)
    assert (graph.n_nodes, graph.n_edges) == (nodes, edges)
    assert len(graph.nodes) == nodes and len(graph.edge_source) == len(graph.edge_destination) == edges
    assert len(graph.sources) == graph.n_sources and len(graph.destinations) == graph.n_destinations


def test_indices_and_names_say_the_same():
    graph = Graph(3, 4, 2)
    for layer in range(3):
        assert [s.name for s in graph.sources[graph.head_sources(layer)]] == [
            f"L{layer}H{head}" for head in range(4)
        ]
        assert graph.sources[graph.mlp_source(layer)].name == f"mlp {layer}"
        inputs = graph.destinations[graph.head_inputs(layer)]
        assert [d.kind for d in inputs] == ["q"] * 4 + ["k"] * 2 + ["v"] * 2
        assert graph.destinations[graph.mlp_input(layer)].name == f"mlp {layer}"
    assert graph.destinations[graph.logits_input].name == "logits"
    for edge in (0, 17, graph.n_edges - 1):
        assert graph.edge_index(graph.edge_name(edge)) == edge
        assert graph.edge(graph.edge_source[edge], graph.edge_destination[edge]) == edge
    assert graph.edge_name(graph.edge_index("L0H3 -> L1KV1.k")) == "L0H3 -> L1KV1.k"


def test_query_heads_share_the_inputs_of_their_key_value_head():
    grouped, ungrouped = Graph(1, 4, 2), Graph(1, 4, 2, ungrouped=True)
    key = grouped.destinations[grouped.destination_index("L0KV1.k")]
    assert [grouped.nodes[n] for n in key.nodes] == ["L0H2", "L0H3"]
    assert [d.name for d in ungrouped.destinations if d.kind == "v"] == [f"L0H{head}.v" for head in range(4)]


def test_heads_of_a_parallel_block_do_not_write_to_its_mlp():
    assert "L0H0 -> mlp 0" in map(Graph(1, 2, 2).edge_name, range(Graph(1, 2, 2).n_edges))
    parallel = Graph(1, 2, 2, parallel=True)
    assert "L0H0 -> mlp 0" not in map(parallel.edge_name, range(parallel.n_edges))
    with pytest.raises(DataError, match="writes after"):
        parallel.edge_index("L0H0 -> mlp 0")


def test_a_name_that_is_not_there_is_told_with_the_nearest():
    graph = Graph(2, 2, 2)
    with pytest.raises(DataError) as error:
        graph.node_index("L1H7")
    assert "L1H1" in str(error.value.near)
    with pytest.raises(DataError, match="no input"):
        graph.edge_index("L0H0 -> L1H0")
    with pytest.raises(DataError, match="not an edge"):
        graph.edge_index("L0H0")


def test_kept_nodes_keep_the_edges_between_them():
    graph = Graph(2, 2, 1)
    kept = np.zeros((1, graph.n_units("nodes")), dtype=bool)
    for name in ("embedding", "L1H0"):
        kept[0, graph.node_index(name)] = True
    edges = {graph.edge_name(e) for e in np.flatnonzero(graph.kept_edges(kept, "nodes")[0])}
    into_head = {f"embedding -> {input_}" for input_ in ("L1H0.q", "L1KV0.k", "L1KV0.v")}
    assert edges == {"embedding -> logits", "L1H0 -> logits", *into_head}
    with pytest.raises(DataError, match="another length"):
        graph.kept_edges(kept, "edges")


def test_what_leads_nowhere_or_comes_from_nowhere_is_not_connected():
    graph = Graph(2, 2, 2)
    names = ["embedding -> L0H0.v", "L0H0 -> L1H1.k", "L1H1 -> logits"]
    loose = ["embedding -> L0H1.q", "L0H1 -> mlp 0", "mlp 1 -> logits", "L1H0 -> mlp 1"]
    kept = np.zeros((2, graph.n_edges), dtype=bool)
    kept[0, [graph.edge_index(name) for name in names + loose]] = True
    kept[1, [graph.edge_index(name) for name in names[1:]]] = True
    connected = graph.connected(kept)
    assert [graph.edge_name(e) for e in np.flatnonzero(connected[0])] == names
    assert not connected[1].any()
    everything = np.ones((1, graph.n_edges), dtype=bool)
    assert graph.connected(everything).all()


@pytest.mark.parametrize("name", NAMES)
def test_every_architecture_is_a_graph_or_is_refused_with_the_reason(name):
    model = random_model(name)
    post_norm = model.decoder.blocks[0].attention_post_norm is not None
    query_norm = model.decoder.blocks[0].query_norm
    joint_norm = query_norm is not None and len(query_norm.weight) != model.shape.d_head
    if post_norm or joint_norm:
        with pytest.raises(ModelError, match=r"a norm of their sum|normed over all heads"):
            Graph.of(model)
    else:
        assert Graph.of(model).parallel == model.decoder.parallel


def test_the_graph_of_a_model_has_its_shape():
    graph = Graph.of(micro_model("llama", n_layers=2, n_heads=4, n_key_value_heads=2))
    assert (graph.n_layers, graph.n_heads, graph.n_key_value_heads) == (2, 4, 2)
