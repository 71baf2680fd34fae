"""Scrubbing against its definition by recursion, the plain forward, and what is no hypothesis."""

import numpy as np
import pandas as pd
import pytest
import torch

from engine.errors import DataError
from engine.lab.circuits.graph import Graph
from engine.lab.circuits.scrubbing import (
    ScrubbingHypothesis,
    ScrubDraws,
    edges_between,
    empty_hypothesis,
    full_hypothesis,
    random_hypothesis,
    resampled_share,
    scrubbed,
    scrubbing_hypothesis,
)
from engine.lab.circuits.slow_scrubbing import slow_scrubbed
from tests.models.random_models import random_model

TEXTS = [
    "the city of Spain is red",
    "the city of France is red",
    "the tower of Spain is green",
    "the tower of France is green",
    "one cat sat on Spain",
    "one dog sat on France",
    "one cat sat on Rome",
]
COUNTRIES = ["Spain", "France", "Spain", "France", "Spain", "France", "Rome"]
TABLE = pd.DataFrame({"id": range(7), "country": COUNTRIES, "kind": [0, 0, 0, 0, 1, 1, 1]})
NODES = {
    "embedding": ["country"],
    "L0H1": ["country"],
    "mlp 0": ["kind"],
    "L1H2": ["country", "kind"],
    "L2H0": ["id"],
}


def read(name):
    model = random_model(name)
    texts = model.token_ids(TEXTS)
    prompts, _, last = model.pad(texts)
    return model, Graph.of(model, ungrouped=True), prompts, last


@torch.no_grad()
@pytest.mark.parametrize("edges", [(), ("embedding -> L0H1.v", "L0H1 -> L1H2.k", "L1H2 -> logits")])
@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt_neox"])
def test_it_equals_the_recursion_one_prompt_at_a_time(name, edges):
    model, graph, prompts, last = read(name)
    hypothesis = scrubbing_hypothesis(graph, NODES, TABLE, edges)
    draws = ScrubDraws(3)
    found = scrubbed(model, graph, prompts, last, hypothesis, draws)
    for position in last.unique().tolist():
        index = torch.nonzero(last == position).flatten().tolist()
        alone = prompts[index, : position + 1]
        here = hypothesis.rows(index)
        slow = torch.stack([slow_scrubbed(model, graph, alone, here, draws, i) for i in range(len(index))])
        assert float((found[index] - slow).abs().max()) <= 1e-5 * max(1.0, float(slow.abs().max()))
    # That it would show: nothing was resampled in the plain run.
    plain = scrubbed(model, graph, prompts, last, full_hypothesis(graph, len(last)), draws)
    assert float((found - plain).abs().max()) > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt_neox"])
def test_the_full_hypothesis_is_the_plain_run_and_the_empty_one_that_of_another_prompt(name):
    model, graph, prompts, last = read(name)
    whole = model.layers(model.embed(prompts))[torch.arange(len(last)), last]
    draws = ScrubDraws(0)
    full = scrubbed(model, graph, prompts, last, full_hypothesis(graph, len(last)), draws)
    assert torch.allclose(full, whole, atol=1e-4)
    empty = scrubbed(model, graph, prompts, last, empty_hypothesis(graph), draws)
    nearest = (empty[:, None] - whole[None]).abs().amax(-1).argmin(1)
    assert torch.allclose(empty, whole[nearest], atol=1e-4)
    assert not torch.equal(nearest, torch.arange(len(last)))
    assert torch.equal(last[nearest], last)


def test_draws_stay_within_a_class_and_reach_all_of_it():
    classes = np.array([5, 2, 5, 5, 2, 9])
    seen = {tuple(ScrubDraws(seed).within(3, 1, classes)) for seed in range(200)}
    assert all((classes[list(drawn)] == classes).all() for drawn in seen)
    assert {drawn[0] for drawn in seen} == {0, 2, 3}
    assert {drawn[5] for drawn in seen} == {5}
    one = ScrubDraws(0)
    assert (one.within(3, 1, classes) == one.within(3, 1, classes)).all()


def test_a_hypothesis_of_single_prompts_resamples_nothing_that_matters():
    _, graph, _, last = read("llama")
    alone = scrubbing_hypothesis(graph, {"L1H2": ["id"]}, TABLE)
    assert resampled_share(graph, alone, last, ScrubDraws(0)).tolist() == [0.0] * 7
    by_kind = scrubbing_hypothesis(graph, {"L1H2": ["kind"]}, TABLE)
    share = np.mean([resampled_share(graph, by_kind, last, ScrubDraws(s)) for s in range(300)], axis=0)
    # Of four prompts of one kind three are others, of three two.
    np.testing.assert_allclose(share[:4], 3 / 4, atol=0.1)
    np.testing.assert_allclose(share[4:], 2 / 3, atol=0.1)


def test_a_random_hypothesis_has_as_many_nodes_of_each_kind_and_as_many_edges():
    _, graph, _, _ = read("llama")
    rng = np.random.default_rng(0)
    for edges in ((), ("L0H1 -> L1H2.k", "L1H2 -> logits")):
        like = scrubbing_hypothesis(graph, NODES, TABLE, edges)
        drawn = [random_hypothesis(graph, like, rng) for _ in range(20)]
        for each in drawn:
            kinds = sorted(graph.sources[node].kind for node in each.classes)
            assert kinds == sorted(graph.sources[node].kind for node in like.classes)
            assert not (each.edges & ~edges_between(graph, each.classes)).any()
            if edges:
                assert each.edges.sum() == 2
        assert len({tuple(sorted(each.classes)) for each in drawn}) > 10


def test_leaving_a_node_out_takes_its_edges_along():
    _, graph, _, _ = read("llama")
    like = scrubbing_hypothesis(graph, NODES, TABLE)
    left = like.without(graph, graph.node_index("L1H2"))
    assert isinstance(left, ScrubbingHypothesis)
    assert set(left.classes) == set(like.classes) - {graph.node_index("L1H2")}
    assert (left.edges == edges_between(graph, left.classes)).all()


@pytest.mark.parametrize(
    ("nodes", "edges", "message"),
    [
        ({"L9H1": ["country"]}, (), "no node 'L9H1'"),
        ({"L1H2": ["countri"]}, (), r"(?s)do not have.*nearest: country"),
        ({"L1H2": []}, (), "matter through nothing"),
        ({"logits": ["country"]}, (), "in every hypothesis"),
        ({"L1H2": ["country"]}, ("L0H1 -> L1H2.q",), "does not name"),
        ({"L1H2": ["country"]}, ("L1H2 - logits",), "is not an edge"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(nodes, edges, message):
    _, graph, _, _ = read("llama")
    with pytest.raises(DataError, match=message):
        scrubbing_hypothesis(graph, nodes, TABLE, edges)


def test_a_grouped_graph_is_refused():
    model, _, prompts, last = read("llama")
    grouped = Graph.of(model)
    with pytest.raises(DataError, match="its own inputs"):
        scrubbed(model, grouped, prompts, last, empty_hypothesis(grouped), ScrubDraws(0))
