"""The forward of a circuit against one written out edge by edge, the plain forward and the reference's."""

import numpy as np
import pytest
import torch

from engine.errors import DataError
from engine.lab.circuits.circuit_forward import (
    ReferenceRun,
    circuit_bytes,
    circuit_forward,
    circuit_values,
    mean_reference,
    source_outputs,
)
from engine.lab.circuits.graph import Graph
from engine.lab.circuits.slow_circuit import slow_circuit
from engine.lab.patch_metrics import patch_metric
from engine.lab.patch_pairs import PatchPairs
from engine.models.micro import micro_model
from tests.models.random_models import NAMES, PAIR, random_model

SEPARABLE = [
    name
    for name in NAMES
    if random_model(name).decoder.blocks[0].attention_post_norm is None and not name.startswith("olmo")
]


def random_masks(graph: Graph, n: int, share: float = 0.5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, graph.n_edges)) < share


def both_runs(model, text=PAIR):
    base, source = (torch.tensor(model.token_ids([one])) for one in text)
    return model.embed(base), model.embed(source)


@torch.no_grad()
@pytest.mark.parametrize("ungrouped", [False, True])
@pytest.mark.parametrize("name", SEPARABLE)
def test_it_equals_the_forward_written_out_edge_by_edge(name, ungrouped):
    model = random_model(name)
    graph = Graph.of(model, ungrouped=ungrouped)
    base, source = both_runs(model)
    reference = source_outputs(model, graph, base)
    kept = random_masks(graph, 3)
    found = circuit_forward(model, graph, source, reference, kept).resid
    slow = torch.stack([slow_circuit(model, graph, source[0], reference[:, 0], mask) for mask in kept])
    size = float(slow.abs().max())
    assert float((found[:, 0] - slow).abs().max()) <= 1e-5 * max(1.0, size)
    # That it would show: the circuits differ.
    assert float((slow[0] - slow[1]).abs().max()) > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("name", SEPARABLE)
def test_all_edges_are_the_plain_forward_and_none_the_references(name):
    model = random_model(name)
    graph = Graph.of(model)
    base, source = both_runs(model)
    reference = source_outputs(model, graph, base)
    kept = np.zeros((2, graph.n_edges), dtype=bool)
    kept[0] = True
    logits = model.unembed(circuit_forward(model, graph, source, reference, kept).resid)
    for found, start in zip(logits, (source, base), strict=True):
        expected = model.unembed(model.layers(start))
        assert float((found - expected).abs().max()) <= 1e-5 * max(1.0, float(expected.abs().max()))


@torch.no_grad()
def test_what_circuits_share_need_not_be_computed_again():
    model = micro_model("llama", n_layers=3)
    graph = Graph.of(model)
    base, source = both_runs(model)
    reference = source_outputs(model, graph, base)
    for stop in (graph.n_sources_before(2), graph.mlp_source(1), graph.n_sources):
        kept = np.repeat(random_masks(graph, 1), 4, axis=0)
        # They differ in what reads the last of these sources, and later ones, alone.
        later = np.array([graph.destinations[d].n_sources >= stop for d in graph.edge_destination])
        kept[:, later] = random_masks(graph, 4, seed=stop)[:, later]
        whole = circuit_forward(model, graph, source, reference, kept)
        first = whole.differences[0, : stop - 1]
        shared = torch.cat(((source - reference[0])[None], first))
        found = circuit_forward(model, graph, source, reference, kept, shared=shared)
        torch.testing.assert_close(found.resid, whole.resid, atol=1e-5, rtol=1e-5)
        assert found.differences.shape[1] == graph.n_sources - stop


def some_pairs(model) -> PatchPairs:
    clean = [
        "the capital city of France is the city",
        "cat sat on Paris",
        "the city of Rome is red",
    ]
    corrupted = [
        "the capital city of Spain is the city",
        "dog ran on Paris",
        "the city of Tokyo is red",
    ]
    source, _, last = model.pad(model.token_ids(clean))
    base, _, _ = model.pad(model.token_ids(corrupted))
    return PatchPairs(base, source, last, torch.tensor([4, 5, 6]), torch.tensor([7, 8, 9]))


@pytest.mark.parametrize("name", ["logit_diff", "kl"])
def test_values_do_not_depend_on_batches(name):
    model = micro_model("gpt2", n_layers=2)
    graph = Graph.of(model)
    pairs = some_pairs(model)
    metric = patch_metric(model, pairs, name)
    kept = random_masks(graph, 5)
    kept[0], kept[1] = True, False
    whole = circuit_values(model, graph, pairs, kept, metric)
    little = circuit_bytes(model, graph, 1, 1, 8) / 2**20
    small = circuit_values(model, graph, pairs, kept, metric, memory_mb=little)
    np.testing.assert_allclose(small, whole, atol=1e-5)
    everyone = torch.arange(len(pairs))
    for mask, tokens in ((0, pairs.source), (1, pairs.base)):
        resid = torch.stack(
            [model.layers(model.embed(tokens[[i], : last + 1]))[0, -1] for i, last in enumerate(pairs.last)]
        )
        np.testing.assert_allclose(whole[mask], metric.of(model, resid, everyone).numpy(), atol=1e-5)


def test_too_little_memory_is_told_before_anything_is_computed():
    model = micro_model("gpt2", n_layers=2)
    graph = Graph.of(model)
    pairs = some_pairs(model)
    with pytest.raises(DataError, match="does not fit") as error:
        circuit_values(
            model, graph, pairs, random_masks(graph, 1), patch_metric(model, pairs), memory_mb=0.001
        )
    assert "memory_mb of at least" in str(error.value.expected)


@torch.no_grad()
@pytest.mark.parametrize("name", ["zero", "mean"])
def test_with_no_edge_kept_the_logits_are_those_of_the_references_outputs(name):
    model = micro_model("gpt2", n_layers=2)
    graph = Graph.of(model)
    pairs = some_pairs(model).rows([0])
    role = torch.arange(pairs.source.shape[1])[None]
    reference = ReferenceRun("zero") if name == "zero" else mean_reference(model, graph, pairs, role, role)
    outputs = reference.outputs(model, graph, pairs)
    start = pairs.source_resid(model)[:, : int(pairs.last[0]) + 1]
    none = np.zeros((1, graph.n_edges), dtype=bool)
    resid = circuit_forward(model, graph, start, outputs, none).resid[0]
    biases = sum(model.b_O(layer) for layer in range(model.n_layers))
    torch.testing.assert_close(resid, outputs.sum(0) + biases, atol=1e-5, rtol=1e-5)
    if name == "mean":
        # The mean over one prompt by position is that prompt's run.
        torch.testing.assert_close(resid, model.layers(start), atol=1e-5, rtol=1e-5)


def test_a_mean_over_prompts_is_by_role():
    model = micro_model("llama", n_layers=2)
    graph = Graph.of(model)
    pairs = some_pairs(model)
    role = torch.zeros_like(pairs.source)
    role[torch.arange(3), pairs.last] = 1
    means = mean_reference(model, graph, pairs, role, role).means
    lengths = (pairs.last + 1).tolist()
    streams = [model.embed(pairs.source[[i], :n]) for i, n in enumerate(lengths)]
    runs = [source_outputs(model, graph, stream)[:, 0] for stream in streams]
    last = torch.stack([run[:, -1] for run in runs]).mean(0)
    others = torch.cat([run[:, :-1] for run in runs], dim=1).mean(1)
    torch.testing.assert_close(means, torch.stack([others, last], dim=1), atol=1e-5, rtol=1e-5)
    with pytest.raises(DataError, match="no token of a role"):
        mean_reference(model, graph, pairs, role, role + 1)
