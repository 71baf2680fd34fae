"""Path patching against its definition by recursion, the plain forward, and a planted chain."""

import numpy as np
import pytest
import torch

from engine.errors import DataError
from engine.lab.circuits.circuit_forward import source_outputs
from engine.lab.circuits.graph import Graph
from engine.lab.circuits.path_patching import named_paths, path_patched
from engine.lab.circuits.planted_chain import planted_chain_lab
from engine.lab.circuits.single_nodes import inputs_of, node_written
from engine.lab.facts import with_corrupted
from engine.lab.patch_pairs import PatchPairs, answer_direction, logit_differences
from tests.models.random_models import PAIR, random_model

PATHS = [
    ["L0H1 -> logits"],
    ["L0H1 -> L1H2.q"],
    ["embedding -> mlp 0 -> L2H0 -> logits"],
    ["L0H1 -> L1H2.v -> logits", "mlp 0 -> L1H2.k -> L2H3.q -> logits", "mlp 0 -> mlp 1"],
]


def pair_of(model):
    base, source = (torch.tensor(model.token_ids([text])) for text in PAIR)
    return PatchPairs(base, source, torch.tensor([base.shape[1] - 1]), torch.tensor([5]), torch.tensor([9]))


def slow_patched(model, graph, pair, paths):
    """By recursion: every input the sum of its sources, each as the paths say."""
    before, after = (
        source_outputs(model, graph, side(model)) for side in (pair.base_resid, pair.source_resid)
    )

    def value(node):
        if node in paths.senders:
            return after[node]
        if node == 0:
            return before[0]
        return node_written(model, graph, node, [read(d) for d in inputs_of(graph, node)])

    def read(d):
        place = graph.destinations[d]
        # Attention's output biases belong to no source.
        n_blocks = place.layer + (place.kind == "mlp" and not graph.parallel)
        total = sum((model.b_O(layer) for layer in range(n_blocks)), torch.zeros(model.shape.d_model))
        for s in range(place.n_sources):
            total = total + (value(s) if paths.edges[graph.edge(s, d)] else before[s])
        return total

    return read(graph.logits_input)[:, -1]


@torch.no_grad()
@pytest.mark.parametrize("names", PATHS)
@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_it_equals_the_recursion(name, names):
    model = random_model(name)
    graph = Graph.of(model, ungrouped=True)
    pair = pair_of(model)
    paths = named_paths(graph, names)
    found = path_patched(model, graph, pair, paths)
    slow = slow_patched(model, graph, pair, paths)
    assert float((found - slow).abs().max()) <= 1e-5 * max(1.0, float(slow.abs().max()))
    plain = model.layers(pair.base_resid(model))[:, -1]
    assert float((found - plain).abs().max()) > 1e-3


@torch.no_grad()
def test_the_embedding_along_all_edges_is_the_other_run():
    model = random_model("llama")
    graph = Graph.of(model, ungrouped=True)
    pair = pair_of(model)
    paths = named_paths(graph, [f"embedding -> {d.name}" for d in graph.destinations])
    other = model.layers(pair.source_resid(model))[:, -1]
    assert torch.allclose(path_patched(model, graph, pair, paths), other, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(
    ("names", "effect"),
    [
        (["embedding -> L0H1.v -> L2H3.v -> logits"], 1),
        (["L0H1 -> L2H3.v"], 1),
        (["L2H3 -> logits"], 1),
        (["L0H1 -> logits"], 0),
        (["L0H1 -> L2H3.q"], 0),
        (["embedding -> L0H1.v -> L2H2.v -> logits"], 0),
    ],
)
def test_the_planted_path_has_the_whole_effect_and_others_none(names, effect):
    lab = planted_chain_lab()
    graph = Graph.of(lab.model, ungrouped=True)
    p = with_corrupted(lab.tokenized())
    pairs = PatchPairs(p.clean, p.corrupted, p.last, p.answer, p.wrong_answer)
    direction = answer_direction(lab.model, pairs)

    def metric(resid):
        return logit_differences(lab.model, resid, direction).numpy()

    def plain(ids):
        return metric(lab.model.layers(lab.model.embed(ids))[:, -1])

    clean = plain(p.clean)
    corrupted = plain(p.corrupted)
    found = metric(path_patched(lab.model, graph, pairs, named_paths(graph, names)))
    np.testing.assert_allclose((found - clean) / (corrupted - clean), effect, atol=1e-4)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("L0H1", "is not a path"),
        ("L0H9 -> logits", "no node 'L0H9'"),
        ("L0H1 -> L1H2.w", r"(?s)no input 'L1H2.w'.*nearest"),
        ("L2H1 -> L1H2.v", "writes after"),
        ("logits -> L1H2.v", "send nothing"),
        ("L0H1 -> embedding", "reads nothing"),
        ("L0H1 -> logits -> L1H2.v", "writes after"),
    ],
)
def test_a_path_that_is_not_there_is_refused(path, message):
    with pytest.raises(DataError, match=message):
        named_paths(Graph.of(random_model("llama"), ungrouped=True), [path])


def test_a_grouped_graph_is_refused():
    model = random_model("llama")
    grouped = Graph.of(model)
    with pytest.raises(DataError, match="its own inputs"):
        path_patched(model, grouped, pair_of(model), named_paths(grouped, ["L0H1 -> logits"]))
