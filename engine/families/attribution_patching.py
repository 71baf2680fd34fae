"""Attribution patching: how well gradients estimate exact patches, by kind of component, and the edges.

1. Keep the pairs whose two answers the model knows (rank `known_rank` or better), at most
   `prompts_per_relation` of each relation.
2. Estimate every patch by gradients, by four methods: `eap`, the gradient in the corrupted run (Syed et al.
   2023); `eap_ig_inputs`, its mean over `steps` runs between the two embeddings (Hanna et al. 2024);
   `eap_ig_activations`, its mean between the activations of one layer at a time (Marks et al. 2024);
   `relp`, relevance coefficients in its place (Jafari et al. 2025). Of a grid of layers and positions
   (resid_pre, attn_out, mlp_out, z of each head; by the methods that give it), and of all edges.
3. Measure the same patches exactly: the whole grid, and of the edges a sample of `exact_edges`, spread evenly
   over the kinds of source and destination. The effect of a patch is the change of the metric where one
   activation of the clean run is put into the corrupted run (denoising): positive where it raises the metric.
4. For each kind of component correlate estimate and exact effect within a prompt, over all places of that
   kind; the mean over prompts is the finding.
5. Mark each kind whose correlation by a method is below `low_correlation`: what is read off such scores needs
   exact patches.
6. Rank edges by the size of their mean score.

Source: Nanda 2023 and Syed, Rager & Conmy 2023; the other methods as named. Unit of sampling: the prompt.
Correlations are Pearson's and run from -1 to 1, as published for GPT-2 small on indirect objects (Jafari et
al. 2025: residual stream .75, attention .98, MLPs .20 by `eap`; .97, .96, .99 by `relp`). Control: the same
scores in random order within each prompt.

Pitfalls:

- A first-order estimate is poor where the way between the runs is long or bent: at the residual stream of
  early layers, and where attention or neurons are saturated (Nanda 2023; Kramár et al. 2024, "AtP*").
- A correlation over many places is carried by the few with large effects; it says little of the order of the
  others, and of an edge that cancels another (Kramár et al. 2024 count such false negatives).
- What an edge is worth in a corrupted run is not what it is worth in a circuit: scores rank edges, and how
  faithful a circuit of the highest is has to be measured (Hanna, Pezzelle & Belinkov 2024).
- The rules of relevance propagation are choices: where attention patterns are constants, as
  `frozen_attention` has it, no edge into queries and keys gets a score (Ali et al. 2022, who treat them so).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, get_args

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from engine.evidence.builder import Evidence
from engine.evidence.result import Calibration, Measurement, Result
from engine.lab.attribution_patching import estimated_sweep
from engine.lab.circuits.edge_attribution import attribute_graph
from engine.lab.circuits.edge_patching import edge_effects, stratified_edges
from engine.lab.circuits.graph import Graph
from engine.lab.circuits.planted_circuit import PlantedCircuit, induction_circuit, planted_edges
from engine.lab.circuits.recovery import recovery
from engine.lab.facts import Facts
from engine.lab.lab import Lab
from engine.lab.patch_metrics import PatchMetric, patch_metric
from engine.lab.patch_pairs import PatchPairs
from engine.lab.patching import sweep
from engine.lab.planted import linear_model
from engine.lab.profiles import known_answer, pearson
from engine.models.hooked import HookedModel
from engine.models.propagation import RELP
from engine.spec.family_params import AttributionMethod, GridMethod, MetricName, SeedParams
from engine.spec.inputs import PAIRS, Inputs

KINDS = {
    "residual": ("resid_pre", "the residual stream"),
    "attention": ("attn_out", "attention outputs"),
    "mlp": ("mlp_out", "MLP outputs"),
    "heads": ("z", "heads"),
}
EDGES = "edges"
SHOWN_EDGES = 40
GRID_METHODS: tuple[GridMethod, ...] = get_args(GridMethod)
Correlations = dict[tuple[str, str], np.ndarray]  # by kind and method: " prompt"

inputs = Inputs(prompts=PAIRS)


class Params(SeedParams):
    prompts_per_relation: Annotated[int, Field(gt=0)] = 2
    """At most this many known pairs of each relation are patched, the first by hash of their id."""
    known_rank: Annotated[int, Field(ge=0)] = 0
    """An answer is known where its rank among all tokens is at most this; 0 is the likeliest token."""
    metric: MetricName = "logit_diff"
    """What an effect is measured by: `logit_diff`, `probability`, `log_probability`, or `kl`."""
    methods: tuple[AttributionMethod, ...] = ("eap", "eap_ig_inputs", "relp")
    """Which methods are compared; `eap_ig_activations` takes two runs for each layer and step."""
    steps: Annotated[int, Field(gt=0)] = 5
    """Steps of integrated gradients."""
    exact_edges: Annotated[int, Field(ge=500)] = 500
    """How many edges are patched exactly, of every kind of source and destination about equally many."""
    ungrouped: bool = False
    """Give each query head edges into keys and values of its own, where heads share them."""
    frozen_attention: bool = False
    """Let `relp` take attention patterns for constants (the AH-rule of Ali et al. 2022)."""
    low_correlation: Annotated[float, Field(gt=-1, lt=1)] = 0.5
    """A kind of component whose correlation is below this is marked."""
    memory_mb: Annotated[int, Field(gt=0)] = 1024
    """What the attribution of edges may hold beside the model; more prompts are done together with more."""


def run(lab: Lab, params: Params) -> Result:
    """Correlation of estimates with exact patches by kind and method, and the edges by their scores."""
    # 1. Keep the pairs whose two answers the model knows.
    facts = lab.known_facts(
        known_rank=params.known_rank, both_sides=True, per_relation=params.prompts_per_relation
    )
    ev = facts.evidence()
    graph = Graph.of(lab.model, ungrouped=params.ungrouped)
    pairs = facts.denoising
    metric = patch_metric(lab.model, pairs, params.metric)
    for name, number, about in (
        ("nodes", graph.n_nodes, "Nodes of the graph: embedding, heads, MLPs, logits."),
        ("edges", graph.n_edges, "Edges of the graph, into queries, keys and values apart."),
    ):
        ev.count(f"n_{name}", number, about, unit=name.removesuffix("s"))

    # 2. Estimate every patch by gradients: of a grid of layers and positions, and of all edges.
    with lab.stage(0.4, f"attribution of {graph.n_edges:,} edges for {len(facts)} prompts") as progress:
        scores = edge_scores(lab, graph, pairs, metric, params, progress)
        grids = {method: grid(lab, pairs, metric, method, params) for method in grid_methods(params)}

    # 3. Measure the same patches exactly: the whole grid, and a sample of the edges.
    chosen = stratified_edges(graph, params.exact_edges, params.seed)
    with lab.stage(0.6, f"patching {len(facts)} prompts"):
        found = sweep(lab.model, pairs, metric=metric)
        exact = {site: effects(values, found.base) for site, values in found.patched.items()}
    with lab.stage(0.95, f"patching {len(chosen)} edges of {len(facts)} prompts") as progress:
        exact_edges = edge_effects(lab.model, graph, pairs, chosen, metric, progress=progress)
    ev.count("edges_patched", len(chosen), "Edges that were patched exactly.", unit="edge")

    # 4. Correlate estimate and exact effect within each prompt, by kind of component.
    correlations: Correlations = {}
    rng = np.random.default_rng(params.seed)
    table = []
    for method, by_site in grids.items():
        for kind, (site, about) in KINDS.items():
            places = paired(by_site[site], exact[site])
            table.append(correlated(ev, kind, method, about, *places, rng, correlations))
    for method, by_edge in scores.items():
        places = (by_edge[:, chosen].astype(float), exact_edges)
        table.append(correlated(ev, EDGES, method, "edges", *places, rng, correlations))
    by_edge_kind(ev, graph, chosen, scores, exact_edges)

    # 5. Mark each kind whose correlation by a method is low.
    marked(ev, table, params.low_correlation)

    # 6. Rank edges by the size of their mean score.
    ranked(ev, graph, scores)
    per_prompt = facts.table[["id", "relation"]].assign(
        cluster=facts.clusters,
        clean=found.source,
        corrupted=found.base,
        **{f"{kind}_{method}": values for (kind, method), values in correlations.items()},
    )
    ev.table("per_prompt", per_prompt)
    for method, by_edge in scores.items():
        ev.array(f"scores_{method}", by_edge.mean(axis=0))
    return ev.result()


def grid_methods(params: Params) -> list[GridMethod]:
    """The methods that give a grid of sites."""
    return [method for method in GRID_METHODS if method in params.methods]


def edge_scores(
    lab: Lab,
    graph: Graph,
    pairs: PatchPairs,
    metric: PatchMetric,
    params: Params,
    progress: Callable[..., None],
) -> dict[AttributionMethod, np.ndarray]:
    """By method, the score of every edge: "prompt edge"."""
    found: dict[AttributionMethod, np.ndarray] = {}
    for done, method in enumerate(params.methods):
        found[method] = attribute_graph(
            lab.model,
            graph,
            pairs,
            method=method,
            steps=params.steps,
            metric=metric,
            rules=replace(RELP, frozen_attention=params.frozen_attention),
            memory_mb=params.memory_mb,
            progress=lambda fraction, done=done: progress((done + fraction) / len(params.methods)),
        ).scores
    return found


def grid(
    lab: Lab, pairs: PatchPairs, metric: PatchMetric, method: GridMethod, params: Params
) -> dict[str, np.ndarray]:
    """By site, the estimated effects: "prompt layer pos", z "prompt layer pos head"."""
    rules = replace(RELP, frozen_attention=params.frozen_attention)
    found = estimated_sweep(lab.model, pairs, metric=metric, method=method, steps=params.steps, rules=rules)
    return {site: effects(values, found.base) for site, values in found.patched.items()}


def effects(patched: np.ndarray, base: np.ndarray) -> np.ndarray:
    """What each patch changes: the metric after it less that of the run patched into."""
    return patched - base.reshape(-1, *[1] * (patched.ndim - 1))


def paired(estimate: np.ndarray, exact: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as "prompt place"; a place that a prompt does not have is 0 on both sides."""
    # After a prompt's end nothing is patched (NaN). A mean over its own places would need rows of unequal
    # length; zeros on both sides add no product, and shift both means alike.
    flat = (side.reshape(len(side), -1) for side in (estimate, exact))
    one, other = (np.nan_to_num(side, nan=0.0) for side in flat)
    return one, other


def correlated(
    ev: Evidence,
    kind: str,
    method: str,
    of: str,
    estimate: np.ndarray,
    exact: np.ndarray,
    rng: np.random.Generator,
    correlations: Correlations,
) -> tuple[str, str, Measurement]:
    """The correlation of one kind by one method, beside that of its scores in random order."""
    values = pearson(estimate, exact)
    correlations[kind, method] = values
    about = f"Mean over prompts of the correlation of {method} with exact patches of {of}"
    # `permuted` draws an order for each row: every prompt has its own.
    shuffled = pearson(rng.permuted(estimate, axis=1), exact)
    chance = ev.control(f"{kind}_{method}_chance", shuffled, f"{about}, scores in random order.")
    found = ev.finding(f"{kind}_{method}_correlation", values, f"{about}.", control=chance)
    return kind, method, found


def marked(ev: Evidence, table: list[tuple[str, str, Measurement]], low: float) -> None:
    """Every kind and method with its correlation, marked where it is low."""
    rows = [
        {
            "kind": kind,
            "method": method,
            "correlation": found.value,
            "low": found.low,
            "high": found.high,
            "mark": f"low: below {low:g}" if found.value < low else "",
        }
        for kind, method, found in table
    ]
    frame = pd.DataFrame(rows)
    below = sum(row["mark"] != "" for row in rows)
    about = f"Kinds of component and methods whose correlation is below {low:g}, of {len(frame)}."
    ev.count("low_correlations", below, about, unit="kind and method")
    ev.table("agreement", frame).strip(
        "agreement",
        "kind: kind of component",
        "correlation: correlation with exact patching",
        color="method",
        label="mark",
        title="How well gradients estimate exact patches",
        caption="Mean over prompts of the correlation, over all places of a kind, of estimated with exact "
        f"effects. Below {low:g} a score says little of the exact effect.",
        rule=low,
    )


def by_edge_kind(
    ev: Evidence,
    graph: Graph,
    chosen: np.ndarray,
    scores: Mapping[AttributionMethod, np.ndarray],
    exact: np.ndarray,
) -> None:
    """The correlation over the sampled edges into queries, keys, values, MLPs and the logits apart."""
    _, into = graph.edge_kinds
    rows = []
    for method, by_edge in scores.items():
        for kind in dict.fromkeys(into[chosen].tolist()):
            here = into[chosen] == kind
            values = pearson(by_edge[:, chosen[here]].astype(float), exact[:, here])
            found = ev.measured(f"{method}_{kind}", values)
            rows.append(
                {
                    "method": method,
                    "into": kind,
                    "edges": int(here.sum()),
                    "correlation": found.value,
                    "low": found.low,
                    "high": found.high,
                }
            )
    ev.table("edges_by_kind", pd.DataFrame(rows)).strip(
        "edges_by_kind",
        "into: what the edges lead into",
        "correlation: correlation with exact patching",
        color="method",
        title="Edges by what they lead into",
        caption="The correlation over the sampled edges, those into queries, keys, values, MLPs and the "
        "logits apart.",
    )


def ranked(ev: Evidence, graph: Graph, scores: Mapping[AttributionMethod, np.ndarray]) -> None:
    """The edges of the largest mean score by the first method, beside their scores by the others."""
    first, by_first = next(iter(scores.items()))
    means = by_first.mean(axis=0)
    best = np.argsort(-np.abs(means), kind="stable")[:SHOWN_EDGES]
    table = ev.by_layer(by_first[:, best].astype(float), "score").drop(columns="layer")
    table.insert(0, "edge", [graph.edge_name(edge) for edge in best])
    others = {method: by_edge.mean(axis=0)[best] for method, by_edge in scores.items() if method != first}
    ev.table("top_edges", table.assign(**others)).bar(
        "top_edges",
        f"score: mean score by {first}",
        "edge",
        band=True,
        title="The edges with the largest scores",
        caption="Mean over prompts of the estimated change of the metric where the clean run's contribution "
        "is put into the corrupted run over one edge, with 95 % intervals; positive raises the metric.",
    )


def calibrate() -> list[Calibration]:
    """Planted circuits that every method must find whole, and a linear model where every one is exact."""
    calibrations = []
    for name, planted in (("planted chain", planted_edges()), ("induction", induction_circuit())):
        areas = recovered(planted)
        about = f"Area under the curve of recovered edges of the {name}, the least of all methods."
        calibrations.append(known_answer(f"{name} is found", about, min(areas.values()), 1.0, 1e-9))
        about = "The same with the scores in random order."
        calibrations.append(
            Calibration(f"{name}, chance", about, "0.2 to 0.8", chance_area(planted), 0.2, 0.8)
        )
    linear, other = (
        {method: gap(model, method) for method in get_args(AttributionMethod)}
        for model in (linear_model("gpt2"), linear_model("gpt2", mlps=True))
    )
    about = "Largest difference of an edge's score from its exact patch, relative to the largest effect"
    worst = max(linear.values())
    calibrations.append(known_answer("edges, linear model", f"{about}: every method.", worst, 0, 1e-4))
    calibrations.append(
        Calibration(
            "edges, other model", f"{about}, with MLPs: eap.", "more than 0.01", other["eap"], 0.01, 1e6
        )
    )
    return calibrations


def recovered(planted: PlantedCircuit) -> dict[AttributionMethod, float]:
    """By method, the area under the curve of the planted edges that its scores recover."""
    facts, graph = _known(planted)
    true = planted.true_edges(graph)
    areas: dict[AttributionMethod, float] = {}
    for method in get_args(AttributionMethod):
        scores = attribute_graph(planted.lab.model, graph, facts.denoising, method=method).scores
        # Relations move different edges: an edge counts by the size of its score within each prompt.
        areas[method] = recovery(np.abs(scores).mean(axis=0), true).area
    return areas


def chance_area(planted: PlantedCircuit) -> float:
    """The mean area of scores in random order, over 50 orders."""
    facts, graph = _known(planted)
    sizes = np.abs(attribute_graph(planted.lab.model, graph, facts.denoising).scores).mean(axis=0)
    true = planted.true_edges(graph)
    rng = np.random.default_rng(0)
    return float(np.mean([recovery(rng.permutation(sizes), true).area for _ in range(50)]))


def _known(planted: PlantedCircuit) -> tuple[Facts, Graph]:
    return planted.lab.known_facts(known_rank=0, both_sides=True), Graph.of(planted.lab.model)


def gap(model: HookedModel, method: AttributionMethod) -> float:
    """The largest difference of scores from exact patches of one pair's edges, of the largest effect."""
    texts = ("the city of Spain is red", "the city of France is red")
    base, source = (torch.tensor(model.token_ids([text])) for text in texts)
    pairs = PatchPairs(base, source, torch.tensor([base.shape[1] - 1]), torch.tensor([5]), torch.tensor([9]))
    graph = Graph.of(model)
    metric = patch_metric(model, pairs)
    exact = edge_effects(model, graph, pairs, np.arange(graph.n_edges), metric)
    scores = attribute_graph(model, graph, pairs, method=method, metric=metric).scores
    return float(np.abs(scores - exact).max() / np.abs(exact).max())
