"""Faithfulness: how much of a behaviour circuits of growing size keep, and how much hangs on their choice.

1. Keep the pairs whose two answers the model knows (rank `known_rank` or better), at most
   `prompts_per_relation` of each relation; one half of the clusters chooses, the other measures.
2. On the choosing half, score every edge (or node) by a method: attribution by gradients (EAP, EAP-IG over
   inputs or activations, RelP), or ACDC, by what cutting the edge cost.
3. Circuits of the highest scores, by fractions of all edges, without what lies on no path from the embedding
   to the logits. On the other half: faithfulness (m(C) - m(empty)) / (m(M) - m(empty)), a ratio of means, by
   size; `cpr`, the area under it, circuits ranked by signed scores; `cmd`, the area of its distance from 1,
   ranked by absolute ones; and how many edges reach 80 and 95 %. Random connected circuits of as many edges
   are the control.
4. The same for circuits chosen on `choices` resamples of the choosing clusters: intervals contain what the
   choice adds to them.
5. Stability of the circuit at `fraction` of the edges: the edges that two choices share and how their scores
   correlate, over resamples of the choosing prompts, between single clusters (other wordings), and how
   faithfulness varies over samples of the mean reference.
6. Hypothesis tests of that circuit (Shi et al. 2024): equivalence, independence, minimality, and sufficiency
   and partial necessity against random circuits.

Source: Mueller et al. 2025, "MIB: A Mechanistic Interpretability Benchmark"; Wang et al. 2023; Shi et al.
2024, "Hypothesis Testing the Circuit Hypothesis in LLMs". Unit of sampling: the prompt; of overlaps, a
choice. Control: random circuits of equal size. Shares of prompts and of edges are fractions of 1.

Pitfalls:

- Numbers of circuits of edges and of nodes do not compare, nor do those of other ablations, positions or
  directions (Miller, Chughtai & Saunders 2024, "Transformer Circuit Faithfulness Metrics Are Not Robust").
- A circuit may be more faithful than 1 where what lowers the metric is left out: a large area under the curve
  is performance, and not likeness to the model (Mueller et al. 2025).
- A faithful circuit need be neither complete nor the only one: parts that stand in for others are left out
  (Wang et al. 2023, section 4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from engine.evidence.builder import Evidence
from engine.evidence.result import Calibration, Measurement, Result
from engine.lab.circuits.acdc import acdc
from engine.lab.circuits.circuit_choices import overlaps, rank_agreement, resampled_choosers
from engine.lab.circuits.circuit_task import CircuitTask
from engine.lab.circuits.circuit_tests import (
    equivalence_p,
    independence_p,
    inflated,
    minimality_p,
    partial_necessity_p,
    sufficiency_p,
)
from engine.lab.circuits.edge_attribution import attribute_graph
from engine.lab.circuits.faithfulness import (
    FRACTIONS,
    FaithfulnessCurve,
    faithfulness,
    random_circuits,
    top_edges,
)
from engine.lab.circuits.graph import Graph
from engine.lab.circuits.planted_chain import EDGES, planted_chain_lab, planted_edges
from engine.lab.facts import Facts
from engine.lab.lab import Lab
from engine.lab.profiles import known_answer
from engine.spec.family_params import (
    CircuitAblationName,
    CircuitDirectionName,
    CircuitPositionsName,
    CircuitSideName,
    MetricName,
    SeedParams,
)
from engine.spec.inputs import PAIRS, Inputs

inputs = Inputs(prompts=PAIRS)

FEWEST_CHOICES = 20
FEWEST_CHOICES_OF_ACDC = 5
LEVELS = (0.8, 0.95)

Score = Callable[[np.ndarray], np.ndarray]
"""The scores of all edges or nodes on the prompts at some rows."""
Ends = tuple[np.ndarray, np.ndarray]


class Params(SeedParams):
    prompts_per_relation: Annotated[int, Field(gt=0)] = 1
    """At most this many known pairs of each relation are used, the first by hash of their id."""
    known_rank: Annotated[int, Field(ge=0)] = 0
    """An answer is known where its rank among all tokens is at most this; 0 is the likeliest token."""
    method: Literal["eap", "eap_ig_inputs", "eap_ig_activations", "relp", "acdc"] = "eap_ig_inputs"
    """What scores edges: gradients in the corrupted run (`eap`), their mean on the way to the clean one
    (`eap_ig_inputs`, `eap_ig_activations`), relevance (`relp`), or a sweep of cuts (`acdc`)."""
    steps: Annotated[int, Field(gt=0)] = 5
    """Steps of integrated gradients."""
    threshold: Annotated[float, Field(gt=0)] = 0.02
    """For `acdc`: what cutting an edge may cost, a share of the gap of the choosing prompts."""
    metric: MetricName = "logit_diff"
    """What circuits are measured by, and attribution differentiates."""
    ablation: CircuitAblationName = "corrupted"
    """What a cut edge reads: its source in the `corrupted` prompt, its `mean` by role of the token over half
    of the prompts, or `zero`. Attribution scores by the corrupted prompt, whatever is cut with."""
    direction: CircuitDirectionName = "noising"
    """`noising` puts the reference into the clean run outside of the circuit, `denoising` the clean run into
    the corrupted one along it."""
    evaluated: CircuitSideName = "circuit"
    """Whether the `circuit` is judged by what it keeps or by what is lost without it (`complement`)."""
    positions: CircuitPositionsName = "all"
    """At which positions edges are cut: `all`, or the `last` alone."""
    granularity: Literal["edges", "nodes"] = "edges"
    """What is ranked and kept: edges, or nodes with all edges between them."""
    ungrouped: bool = False
    """Whether query heads that share keys and values have edges of their own into them."""
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """The share of the edges whose circuit is named, tested and looked at for stability."""
    choices: Annotated[int, Field(ge=FEWEST_CHOICES_OF_ACDC)] = 20
    """How many resamples of the choosing clusters choose again: at least 20, for `acdc` 5."""
    random_circuits: Annotated[int, Field(ge=2)] = 10
    """How many random circuits of each size are measured."""
    tested_edges: Annotated[int, Field(gt=0)] = 10
    """How many edges of the circuit are tested for minimality, drawn at random, against as many of random
    paths."""
    reference_samples: Annotated[int, Field(ge=2)] = 5
    """How many samples of prompts a mean reference is taken over, for its stability (`ablation: mean`)."""

    @model_validator(mode="after")
    def _fits_together(self) -> Params:
        if self.direction == "denoising" and self.ablation != "corrupted":
            raise ValueError("direction: denoising needs ablation: corrupted, whose run it restores")
        if self.method == "acdc" and self.granularity == "nodes":
            raise ValueError("method: acdc scores edges; granularity: nodes needs a method of attribution")
        if self.method != "acdc" and self.choices < FEWEST_CHOICES:
            raise ValueError(f"choices: {self.choices} is too few; at least {FEWEST_CHOICES}, for acdc 5")
        return self


@dataclass(frozen=True)
class Measured:
    """A task over the prompts that measure, and its evidence."""

    task: CircuitTask
    ends: Ends
    ev: Evidence
    params: Params

    def curve(self, circuits: np.ndarray) -> FaithfulnessCurve:
        """The curve of circuits of growing size."""
        values = self.task.values(circuits, self.ends)
        return FaithfulnessCurve(np.array(FRACTIONS), circuits.sum(axis=1), values, *self.ends)


def run(lab: Lab, params: Params) -> Result:
    """Faithfulness by size with its areas, random circuits, stability, and the tests of one circuit."""
    # 1. The pairs whose answers the model knows; one half chooses, the other measures.
    facts = lab.known_facts(
        known_rank=params.known_rank, both_sides=True, per_relation=params.prompts_per_relation
    )
    ev = facts.evidence()
    graph = Graph.of(lab.model, ungrouped=params.ungrouped)
    ev.count("edges", graph.n_edges, "Edges of the whole graph.", unit="edge")
    task = task_of(lab, graph, facts, params)
    choosing = np.flatnonzero(facts.selecting)
    others = np.flatnonzero(~facts.selecting)
    here = task.rows(others)
    over = replace(ev.of(others), chosen_on=facts.chosen_on)
    # Judged before anything long is run: without a gap nothing can be faithful.
    measured = Measured(here, here.ends(), over, params)

    # 2. The scores of every edge, on any prompts of the choosing half.
    with lab.stage(0.3, f"scoring {graph.n_units(params.granularity):,} {params.granularity}") as progress:
        score = scorer(task, choosing, params, progress)
        scores = score(choosing)
        resamples = resampled_choosers(facts.selecting, facts.clusters, params.choices, params.seed)
        again = np.stack([score(rows) for rows in resamples])

    # 3, 4. Faithfulness by size, of this choice and of the others.
    with lab.stage(0.8, "measuring circuits by size") as progress:
        signed = [curve_of(measured, each, absolute=False) for each in (scores, *again)]
        progress(0.5)
        absolute = [curve_of(measured, each, absolute=True) for each in (scores, *again)]
    rng = np.random.default_rng(params.seed)
    with lab.stage(0.9, "measuring random circuits"):
        at_random = random_curve(measured, signed[0].n_edges, rng)
    areas(measured, signed, absolute, at_random)
    circuit = at_fraction(graph, scores, params)
    chosen = np.stack([at_fraction(graph, each, params) for each in again])
    drawn = random_circuits(graph.n_edges, int(circuit.sum()), params.random_circuits, graph.connected, rng)
    at_one_size(measured, circuit, chosen, drawn)
    # 5. Stability.
    single = by_cluster(facts, choosing, score)
    stability(ev, graph, again, chosen, single, drawn, params)
    references(lab, facts, graph, circuit, others, ev, params)
    # 6. Hypothesis tests.
    with lab.stage(1.0, "testing the circuit"):
        tested(measured, circuit, drawn, rng)
    draw(ev, graph, measured, signed[0], at_random, circuit, chosen)
    ev.array("circuit", circuit)
    ev.array("scores", scores)
    return ev.result()


def task_of(lab: Lab, graph: Graph, facts: Facts, params: Params, seed: int | None = None) -> CircuitTask:
    """What circuits are judged on; `seed` draws the sample of a mean reference."""
    return CircuitTask.of(
        lab.model,
        graph,
        facts.pairs,
        metric=params.metric,
        ablation=params.ablation,
        direction=params.direction,
        evaluated=params.evaluated,
        positions=params.positions,
        seed=params.seed if seed is None else seed,
    )


def scorer(
    task: CircuitTask, choosing: np.ndarray, params: Params, progress: Callable[[float], None]
) -> Score:
    """What scores all edges on some of the choosing prompts: attribution once by prompt, ACDC each time."""
    if params.method == "acdc":

        def swept(rows: np.ndarray) -> np.ndarray:
            here = task.rows(rows)
            empty, whole = here.ends()
            threshold = params.threshold * abs(float(np.mean(whole - empty)))
            found = acdc(task.model, task.graph, here.pairs, here.metric, threshold, reference=here.reference)
            return found.cost

        return swept
    here = task.rows(choosing)
    by_prompt = attribute_graph(
        task.model,
        task.graph,
        here.pairs,
        method=params.method,
        granularity=params.granularity,
        steps=params.steps,
        metric=here.metric,
        progress=progress,
    ).scores
    place = {int(row): i for i, row in enumerate(choosing)}
    # KL rises where a behaviour is lost: with its sign turned, a high score is an edge that is needed.
    sign = -1.0 if params.metric == "kl" else 1.0

    def mean_score(rows: np.ndarray) -> np.ndarray:
        return sign * by_prompt[[place[int(row)] for row in rows]].astype(float).mean(axis=0)

    return mean_score


def circuits_of(
    graph: Graph, scores: np.ndarray, fractions: tuple[float, ...], params: Params, *, absolute: bool
) -> np.ndarray:
    """The circuits of the highest scores, a row for each fraction of edges or nodes, pruned."""
    tops = [top_edges(scores, int(f * len(scores)), absolute=absolute) for f in fractions]
    units = np.stack(tops)
    if params.granularity == "nodes":
        # Every path begins at the embedding and ends at the logits.
        units[:, [0, -1]] = True
    return graph.connected(graph.kept_edges(units, params.granularity))


def at_fraction(graph: Graph, scores: np.ndarray, params: Params) -> np.ndarray:
    return circuits_of(graph, scores, (params.fraction,), params, absolute=True)[0]


def curve_of(measured: Measured, scores: np.ndarray, *, absolute: bool) -> FaithfulnessCurve:
    """The curve of one choice by one ranking."""
    params = measured.params
    return measured.curve(circuits_of(measured.task.graph, scores, FRACTIONS, params, absolute=absolute))


def random_curve(measured: Measured, sizes: np.ndarray, rng: np.random.Generator) -> FaithfulnessCurve:
    """The mean of random connected circuits at each size of the circuit's curve."""
    graph = measured.task.graph
    n = measured.params.random_circuits
    # All edges are one circuit, and none is one: random or not.
    drawn = [random_circuits(graph.n_edges, int(size), n, graph.connected, rng) for size in sizes]
    values = measured.task.values(np.concatenate(drawn), measured.ends)
    means = values.reshape(len(sizes), n, -1).mean(axis=1)
    return FaithfulnessCurve(np.array(FRACTIONS), sizes, means, *measured.ends)


def areas(
    measured: Measured,
    signed: list[FaithfulnessCurve],
    absolute: list[FaithfulnessCurve],
    at_random: FaithfulnessCurve,
) -> None:
    """`cpr` and `cmd`, and the sizes at two levels of faithfulness, each beside random circuits."""
    ev = measured.ev
    about = "Area under faithfulness (m(C) - m(empty)) / (m(M) - m(empty)) over the fraction of edges kept"
    chance = ev.control("random_cpr", at_random.area(), f"{about}, random circuits.", over=at_random.gap)
    again = [ev.measured("cpr", each.area(), over=each.gap) for each in signed[1:]]
    words = f"{about}, ranked by signed scores."
    ev.finding("cpr", signed[0].area(), words, over=signed[0].gap, control=chance, choices=again)

    def of_rows(curve: FaithfulnessCurve, statistic: Callable[[np.ndarray], float], name: str) -> Measurement:
        return ev.measured(name, curve.rows, statistic=statistic)

    about = "Area between faithfulness and 1 over the fraction of edges kept"
    chance = ev.control(
        "random_cmd", at_random.rows, f"{about}, random circuits.", statistic=at_random.cmd_of
    )
    again = [of_rows(each, each.cmd_of, "cmd") for each in absolute[1:]]
    words = f"{about}, ranked by absolute scores."
    first = absolute[0]
    ev.finding("cmd", first.rows, words, statistic=first.cmd_of, control=chance, choices=again)
    for level in LEVELS:
        name = f"size_{100 * level:.0f}"
        again = [of_rows(each, each.size_of(level), name) for each in signed[1:]]
        about = f"Edges of the smallest circuit that reaches {100 * level:.0f} % faithfulness"
        words = f"{about}, random circuits of the curve's sizes."
        statistic = at_random.size_of(level)
        chance = ev.control(f"random_{name}", at_random.rows, words, "edges", statistic=statistic)
        ev.finding(
            name,
            signed[0].rows,
            f"{about}, ranked by signed scores.",
            "edges",
            statistic=signed[0].size_of(level),
            control=chance,
            choices=again,
        )


def at_one_size(measured: Measured, circuit: np.ndarray, chosen: np.ndarray, drawn: np.ndarray) -> None:
    """Faithfulness and plain ratio of the named circuit, with what its choice adds."""
    ev = measured.ev
    params = measured.params
    empty, whole = measured.ends
    values = measured.task.values(np.stack([circuit, *chosen, *drawn]), measured.ends)
    own, again, at_random = values[0], values[1 : 1 + len(chosen)], values[1 + len(chosen) :].mean(axis=0)
    ev.count("circuit_edges", int(circuit.sum()), "Edges of the named circuit, pruned.", unit="edge")
    formula = "(m(C) - m(empty)) / (m(M) - m(empty)), means over prompts"
    about = f"Faithfulness of random connected circuits of as many edges: {formula}."
    chance = ev.control("random_faithfulness", at_random - empty, about, over=whole - empty)
    others = [ev.measured("faithfulness", each - empty, over=whole - empty) for each in again]
    about = f"Faithfulness of the circuit at {100 * params.fraction:g} %: {formula}."
    ev.finding("faithfulness", own - empty, about, over=whole - empty, control=chance, choices=others)
    # KL is 0 for the whole model, and what is lost without a circuit is no m(C).
    if params.metric == "kl" or params.evaluated == "complement":
        return
    about = "Plain ratio m(C) / m(M) of random connected circuits of as many edges, of means over prompts."
    chance = ev.control("random_plain_ratio", at_random, about, over=whole)
    others = [ev.measured("plain_ratio", each, over=whole) for each in again]
    about = "Plain ratio m(C) / m(M), of means over prompts: it counts what the empty circuit does too."
    ev.finding("plain_ratio", own, about, over=whole, control=chance, choices=others)


def by_cluster(facts: Facts, choosing: np.ndarray, score: Score) -> np.ndarray | None:
    """The scores on each choosing cluster by itself: another wording, or another relation."""
    labels = np.asarray(facts.clusters)[choosing]
    names = np.unique(labels)
    if len(names) < 2 or not facts.prompts.cluster_column:
        return None
    return np.stack([score(choosing[labels == name]) for name in names])


def stability(
    ev: Evidence,
    graph: Graph,
    again: np.ndarray,
    chosen: np.ndarray,
    single: np.ndarray | None,
    drawn: np.ndarray,
    params: Params,
) -> None:
    """Edges that two choices share, and the correlation of their scores; over resamples and over clusters."""
    by_chance, random_pairs = overlaps(drawn)
    about = "Edges that two random circuits of as many edges share, of those that either has (Jaccard)."
    chance = ev.over("circuit", clusters=random_pairs).control("random_edge_overlap", by_chance, about)
    samples = [("", "choice", "resamples of the choosing prompts", again, chosen)]
    if single is not None:
        circuits = np.stack([at_fraction(graph, each, params) for each in single])
        samples.append(("cluster_", "cluster", "single clusters", single, circuits))
    for prefix, unit, words, scores, circuits in samples:
        shared, pairs = overlaps(circuits)
        over = ev.over(unit, clusters=pairs)
        about = f"Edges that circuits chosen on two {words} share, of those that either has (Jaccard)."
        over.finding(f"{prefix}edge_overlap", shared, about, control=chance)
        about = f"Rank correlation of the scores on two {words}, over all edges or nodes."
        over.finding(f"{prefix}score_correlation", rank_agreement(scores), about)


def references(
    lab: Lab,
    facts: Facts,
    graph: Graph,
    circuit: np.ndarray,
    others: np.ndarray,
    ev: Evidence,
    params: Params,
) -> None:
    """The same circuit's faithfulness under other samples of a mean reference."""
    if params.ablation != "mean":
        return
    found = []
    for seed in range(params.seed, params.seed + params.reference_samples):
        task = task_of(lab, graph, facts, params, seed).rows(others)
        ends = task.ends()
        found.append(float(faithfulness(task.values(circuit[None], ends), *ends)[0]))
    over = ev.over("reference sample", [f"sample {seed}" for seed in range(len(found))])
    about = "Faithfulness of the circuit, mean over samples of prompts that the reference is the mean of."
    over.finding("faithfulness_by_reference", np.array(found), about)
    about = "Distance of each sample's faithfulness from their mean."
    over.finding("reference_spread", np.abs(np.array(found) - np.mean(found)), about)


def tested(measured: Measured, circuit: np.ndarray, drawn: np.ndarray, rng: np.random.Generator) -> None:
    """The hypothesis tests of Shi et al. 2024, as a table, and the share of prompts that the circuit wins."""
    params = measured.params
    graph = measured.task.graph
    # Of the circuit itself and of what is left without it, whatever is evaluated.
    task = replace(measured.task, evaluated="circuit")
    ends = measured.ends
    whole = ends[1]
    edges = np.flatnonzero(circuit)
    picked = rng.choice(edges, size=min(params.tested_edges, len(edges)), replace=False)
    without = np.stack([circuit & (np.arange(graph.n_edges) != edge) for edge in picked])
    larger = [inflated(circuit, graph, rng) for _ in range(params.tested_edges)]
    groups = [
        circuit[None],
        ~circuit[None],
        drawn,
        ~drawn,
        without,
        np.stack([pair[0] for pair in larger]),
        np.stack([pair[1] for pair in larger]),
    ]
    values = task.values(np.concatenate(groups), ends)
    own, rest, random_own, random_rest, cut, inflated_values, deflated = np.split(
        values, np.cumsum([len(group) for group in groups])[:-1]
    )
    about = "Share of prompts on which the circuit's metric is above the model's; one half is equivalence."
    measured.ev.finding("outdoes_model", own[0] > whole, about)
    reference = np.abs(inflated_values - deflated).mean(axis=1)
    effects = np.abs(own[0] - cut).mean(axis=1)
    # Of all edges tested, the one that matters least, by Bonferroni's bound.
    minimal = min(1.0, len(effects) * min(minimality_p(float(effect), reference) for effect in effects))
    equal = 1.0 if np.array_equal(own[0], whole) else equivalence_p(own[0], whole)
    apart = independence_p(rest[0], whole, rng)
    enough = sufficiency_p(own[0], random_own, whole)
    needed = partial_necessity_p(rest[0], random_rest, whole)
    rows = [
        ("equivalence", "the circuit outdoes the model on half of the prompts", equal),
        ("independence", "without it the metric says nothing of the model's", apart),
        ("minimality", "each edge matters more than one of a random path", minimal),
        ("sufficiency", "no closer to the model than random circuits", enough),
        ("partial necessity", "its removal changes no more than that of random circuits", needed),
    ]
    measured.ev.table("tests", pd.DataFrame(rows, columns=["test", "null hypothesis", "p"]))


def draw(
    ev: Evidence,
    graph: Graph,
    measured: Measured,
    signed: FaithfulnessCurve,
    at_random: FaithfulnessCurve,
    circuit: np.ndarray,
    chosen: np.ndarray,
) -> None:
    """Faithfulness against size, and the named circuit's edges with how many choices have each."""
    rows = []
    for name, curve in (("circuit", signed), ("random circuits", at_random)):
        for size in range(len(FRACTIONS)):
            m = measured.ev.measured("f", curve.circuit[size] - curve.empty, over=curve.gap)
            row = {"fraction": FRACTIONS[size], "edges": int(curve.n_edges[size]), "circuits": name}
            rows.append(row | {"faithfulness": m.value, "low": m.low, "high": m.high})
    ev.table("curve", pd.DataFrame(rows)).line(
        "curve",
        "fraction: fraction of edges kept",
        "faithfulness",
        color="circuits",
        band=True,
        title="Faithfulness against size",
        caption="Edges ranked by signed scores on one half of the clusters, measured on the other. Bands: "
        "95 % intervals over prompts, the choice left out.",
        rule=1.0,
        log_x=True,
    )
    edges = np.flatnonzero(circuit)
    ev.table(
        "edges",
        pd.DataFrame(
            {
                "edge": [graph.edge_name(int(edge)) for edge in edges],
                "source": [graph.sources[graph.edge_source[edge]].name for edge in edges],
                "destination": [graph.destinations[graph.edge_destination[edge]].name for edge in edges],
                "chosen": chosen[:, edges].mean(axis=0),
            }
        ),
    )


def calibrate() -> list[Calibration]:
    """Two planted heads in a row: three edges are the circuit, and random ones do nothing."""
    lab = planted_chain_lab()
    graph = Graph.of(lab.model)
    fraction = (len(EDGES) + 0.5) / graph.n_edges
    params = Params(prompts_per_relation=2, fraction=fraction, method="acdc", choices=5, tested_edges=3)
    found = run(lab, params)
    numbers = found.measurements
    wrong = int((found.arrays["circuit"] != planted_edges(graph)).sum())
    tests = found.tables["tests"]
    necessary = dict(zip(tests["test"], tests["p"].astype(float), strict=True))["partial necessity"]
    return [
        known_answer("the circuit", f"Edges wrongly kept or cut of {graph.n_edges}.", wrong, 0),
        known_answer("faithful", "Faithfulness of three edges.", numbers["faithfulness"].value, 1, 1e-3),
        known_answer("random", "Faithfulness of random ones.", numbers["random_faithfulness"].value, 0, 0.3),
        Calibration("size", "Edges at 80 % faithfulness.", "at most 5", numbers["size_80"].value, 0, 5),
        known_answer("choices", "Overlap of two choices.", numbers["edge_overlap"].value, 1),
        Calibration("necessary", "p of partial necessity.", "below 0.5", necessary, 0, 0.5),
    ]
