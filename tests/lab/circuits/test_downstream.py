"""What is computed downstream of one input equals whole forwards of the circuits, on every layout."""

import numpy as np
import pytest
import torch

from engine.lab.circuits.circuit_forward import ReferenceRun, circuit_values
from engine.lab.circuits.downstream import Downstream
from engine.lab.circuits.graph import Graph
from engine.lab.patch_metrics import patch_metric
from engine.lab.patch_pairs import PatchPairs
from tests.models.random_models import NAMES, PAIR, random_model

SEPARABLE = [
    name
    for name in NAMES
    if random_model(name).decoder.blocks[0].attention_post_norm is None and not name.startswith("olmo")
]


def pairs_of(model) -> PatchPairs:
    base, source = (torch.tensor(model.token_ids([text])) for text in PAIR)
    return PatchPairs(base, source, torch.tensor([base.shape[1] - 1]), torch.tensor([5]), torch.tensor([9]))


def as_table(graph: Graph, edges: np.ndarray) -> np.ndarray:
    kept = np.zeros((graph.n_destinations, graph.n_sources), dtype=bool)
    kept[graph.edge_destination, graph.edge_source] = edges
    return kept


@torch.no_grad()
@pytest.mark.parametrize("reference", ["corrupted", "zero"])
@pytest.mark.parametrize("name", SEPARABLE)
def test_an_input_of_each_kind_has_the_effect_that_whole_forwards_show(name, reference):
    model = random_model(name)
    graph = Graph.of(model)
    pairs = pairs_of(model)
    metric = patch_metric(model, pairs)
    rng = np.random.default_rng(0)
    spread = []
    for kind in ("q", "k", "v", "mlp", "logits"):
        d = next(i for i, each in enumerate(graph.destinations) if each.kind == kind and each.layer >= 1)
        edges = (rng.random(graph.n_edges) < 0.6) | (graph.edge_destination <= d)
        kept = as_table(graph, edges)
        run = Downstream.of(model, graph, pairs, metric, ReferenceRun(reference), kept)
        leads_on = [run.enter(other) for other in range(graph.n_destinations - 1, d - 1, -1)]
        assert leads_on[-1]
        sources = [2, 0, 1]
        found = run.values(d, run.without(d, sources))[:, 0]
        masks = np.stack([edges] * 4)
        for row in range(3):
            masks[row + 1 :, graph.edge(sources[row], d)] = False
        slow = circuit_values(model, graph, pairs, masks, metric, reference=ReferenceRun(reference))[:, 0]
        np.testing.assert_allclose(run.own_values().numpy(), slow[:1], atol=2e-5)
        np.testing.assert_allclose(found.numpy(), slow[1:], atol=2e-5)
        # The run goes on from the last row, and a second change starts there.
        run.put(d, run.without(d, sources)[-1])
        np.testing.assert_allclose(run.own_values().numpy(), slow[3:], atol=2e-5)
        spread.append(np.ptp(slow))
    assert max(spread) > 1e-2


@torch.no_grad()
def test_positions_before_the_first_difference_are_not_computed():
    model = random_model(SEPARABLE[0])
    graph = Graph.of(model)
    pairs = pairs_of(model)
    differs = int((pairs.base != pairs.source).long()[0].argmax())
    kept = as_table(graph, np.ones(graph.n_edges, dtype=bool))
    metric = patch_metric(model, pairs)
    assert differs > 0
    assert Downstream.of(model, graph, pairs, metric, ReferenceRun(), kept).first == differs
    assert Downstream.of(model, graph, pairs, metric, ReferenceRun("zero"), kept).first == 0


@torch.no_grad()
def test_what_leads_nowhere_is_not_alive_and_only_keys_and_values_make_earlier_positions_matter():
    model = random_model(SEPARABLE[0])
    graph = Graph.of(model)
    pairs = pairs_of(model)
    kept = as_table(graph, np.zeros(graph.n_edges, dtype=bool))
    top = graph.n_layers - 1
    # Of the last block one head alone leads on, by way of the logits.
    kept[graph.logits_input, graph.head_sources(top).start] = True
    run = Downstream.of(model, graph, pairs, patch_metric(model, pairs), ReferenceRun(), kept)
    inputs = graph.head_inputs(top)
    entered = {d: run.enter(d) for d in range(graph.n_destinations - 1, inputs.start - 1, -1)}
    names = {graph.destinations[d].name for d, leads_on in entered.items() if leads_on}
    assert f"L{top}H0.q" in names
    assert f"L{top}H1.q" not in names
    assert f"mlp {top}" not in names
    query = graph.destination_index(f"L{top}H0.q")
    assert not run.matters.everywhere[query]
    keys = [d for d in entered if graph.destinations[d].kind == "k" and entered[d]]
    assert len(keys) == 1
    assert run.matters.everywhere[keys[0]]
