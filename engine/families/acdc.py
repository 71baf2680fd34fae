"""ACDC: the edges that a behaviour cannot do without, found one after the other from the logits upwards.

1. Keep the pairs whose two answers the model knows (rank `known_rank` or better), at most
   `prompts_per_relation` of each relation; one half of the clusters chooses, the other measures.
2. On the choosing half, sweep over the edges from the logits upwards: an edge is cut where the loss rises by
   less than `threshold`, a share of the gap between the whole model and the empty circuit. With
   `start_share` the sweep begins with the edges that attribution (EAP) ranks highest. The circuit is what is
   left and connected.
3. On the other half: faithfulness (m(C) - m(empty)) / (m(M) - m(empty)), a ratio of means, and the plain
   ratio m(C) / m(M); random connected circuits of as many edges are the control.
4. Sweep again on `choices` resamples of the choosing clusters: the interval of the faithfulness contains what
   the choice adds to it, and the edges that two choices share are compared with what random circuits share.
5. The same sweep at `further_thresholds`: size against faithfulness.

Source: Conmy et al. 2023, "Towards Automated Circuit Discovery for Mechanistic Interpretability"; Syed, Rager
& Conmy 2023 (attribution first); Mueller et al. 2025 (faithfulness). Unit of sampling: the prompt; of
overlaps, a resample of the choosing prompts. Control: random circuits of equal size.
Edges are counted as in `engine.lab.circuits.graph`.

Pitfalls:

- A sweep is greedy: what is kept depends on the order of the edges, on the threshold and on the metric, and a
  part whose work another can do is cut first (Conmy et al. 2023).
- Edges that lower the metric are cut whatever the threshold, so that a circuit may outdo its model; KL, which
  counts both directions, keeps others (Conmy et al. 2023).
- How faithful a circuit is depends on what cut edges read instead and on what is called a circuit (Miller,
  Chughtai & Saunders 2024, "Transformer Circuit Faithfulness Metrics Are Not Robust").
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from engine.errors import DataError
from engine.evidence.builder import Evidence
from engine.evidence.result import Calibration, Check, Result
from engine.lab.circuits.acdc import EdgeSweep, acdc, require_circuit
from engine.lab.circuits.circuit_choices import overlaps, resampled_choosers
from engine.lab.circuits.circuit_task import CircuitTask
from engine.lab.circuits.edge_attribution import attribute_graph
from engine.lab.circuits.faithfulness import faithfulness, random_circuits, top_edges
from engine.lab.circuits.graph import Graph
from engine.lab.circuits.planted_chain import planted_chain_lab, planted_edges
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


class Params(SeedParams):
    prompts_per_relation: Annotated[int, Field(gt=0)] = 1
    """At most this many known pairs of each relation are used, the first by hash of their id."""
    known_rank: Annotated[int, Field(ge=0)] = 0
    """An answer is known where its rank among all tokens is at most this; 0 is the likeliest token."""
    threshold: Annotated[float, Field(gt=0)] = 0.02
    """What cutting an edge may cost: a share of the gap m(M) - m(empty) of the choosing prompts."""
    further_thresholds: list[Annotated[float, Field(gt=0)]] = [0.1, 0.05]
    """Thresholds of the sweep of sizes, likewise shares of the gap."""
    metric: MetricName = "logit_diff"
    """What the loss is made of: `kl` from the clean run, or a metric of the answer, negative."""
    ablation: CircuitAblationName = "corrupted"
    """What a cut edge reads: its source in the `corrupted` prompt, its `mean` by role of the token over half
    of the prompts, or `zero`."""
    direction: CircuitDirectionName = "noising"
    """How the circuit is judged: `noising` puts the reference into the clean run outside of it, `denoising`
    the clean run into the corrupted one along it. The sweep itself goes by noising."""
    evaluated: CircuitSideName = "circuit"
    """Whether the `circuit` is judged by what it keeps or by what is lost without it (`complement`)."""
    positions: CircuitPositionsName = "all"
    """At which positions edges are cut where the circuit is judged: `all`, or the `last` alone. The sweep
    cuts them at all."""
    ungrouped: bool = False
    """Whether query heads that share keys and values have edges of their own into them."""
    start_share: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of the edges, highest by EAP in size, that the sweep begins with; all where left out."""
    choices: Annotated[int, Field(ge=5)] = 5
    """How many resamples of the choosing clusters choose a circuit again."""
    random_circuits: Annotated[int, Field(gt=0)] = 10
    """How many random circuits of as many edges are measured."""
    memory_mb: Annotated[float, Field(gt=0)] = 2048
    """What the runs of a sweep may hold beside the model; more is refused before it begins."""

    @model_validator(mode="after")
    def _has_a_run_to_restore(self) -> Params:
        if self.direction == "denoising" and self.ablation != "corrupted":
            raise ValueError("direction: denoising needs ablation: corrupted, whose run it restores")
        return self


def run(lab: Lab, params: Params) -> Result:
    """The circuit with its size and faithfulness, random circuits, and circuits of other choosers."""
    # 1. The pairs whose answers the model knows; one half chooses, the other measures.
    facts = lab.known_facts(
        known_rank=params.known_rank, both_sides=True, per_relation=params.prompts_per_relation
    )
    ev = facts.evidence()
    graph = Graph.of(lab.model, ungrouped=params.ungrouped)
    task = task_of(lab, graph, facts, params)
    ends = task.ends()
    # Sweeps cut at every position: at the last one alone no path from the embedding would be needed.
    sweeping = task_of(lab, graph, facts, params.model_copy(update={"positions": "all"}))
    _, measuring = facts.halves(ev)
    chooses = facts.selecting

    # 2. One sweep over the edges on the choosing half.
    empty, whole = sweeping.rows(np.flatnonzero(chooses)).ends()
    gap = abs(float(np.mean(whole - empty)))
    with lab.stage(0.3, f"sweeping over {graph.n_edges:,} edges") as progress:
        found = swept(sweeping, np.flatnonzero(chooses), params.threshold * gap, params, progress)
        require_circuit(found)
    # 4. The same on resamples of the choosing clusters.
    with lab.stage(0.7, f"sweeping for {params.choices} other choices") as progress:
        resamples = resampled_choosers(chooses, facts.clusters, params.choices, params.seed)
        again = []
        for number, rows in enumerate(resamples):
            again.append(swept(sweeping, rows, params.threshold * gap, params))
            progress((number + 1) / len(resamples))
    # 5. The sweep of sizes.
    with lab.stage(0.85, "sweeping at further thresholds"):
        others = {
            threshold: swept(sweeping, np.flatnonzero(chooses), threshold * gap, params)
            for threshold in params.further_thresholds
        }

    # 3. Faithfulness on the other half, of the circuit, of the choices and of random circuits.
    rng = np.random.default_rng(params.seed)
    n_edges = int(found.circuit.sum())
    drawn = random_circuits(graph.n_edges, n_edges, params.random_circuits, graph.connected, rng)
    circuits = [found.circuit, *(each.circuit for each in again), *(each.circuit for each in others.values())]
    with lab.stage(1.0, "measuring the circuits") as progress:
        values = task.values(np.stack([*circuits, *drawn]), ends, progress)
    faithful(ev, measuring, values, ends, params)
    counted(ev, graph, found, again, others, n_edges)
    stable(ev, np.stack([each.circuit for each in again]), drawn)
    by_size(ev, measuring, values, ends, {params.threshold: found} | others, params)
    draw(ev, graph, found, again)
    ev.check(metric_receipt(sweeping, found, np.flatnonzero(chooses)))
    ev.array("circuit", found.circuit)
    ev.array("cost", found.cost)
    return ev.result()


def task_of(lab: Lab, graph: Graph, facts: Facts, params: Params) -> CircuitTask:
    """What circuits are judged on."""
    return CircuitTask.of(
        lab.model,
        graph,
        facts.pairs,
        metric=params.metric,
        ablation=params.ablation,
        direction=params.direction,
        evaluated=params.evaluated,
        positions=params.positions,
        seed=params.seed,
    )


def swept(
    task: CircuitTask, rows: np.ndarray, threshold: float, params: Params, progress=lambda fraction: None
) -> EdgeSweep:
    """ACDC on the prompts at `rows`, by attribution first where that is asked for."""
    here = task.rows(rows)
    start = None
    if params.start_share is not None:
        # Scored in the model as it is: by interchange, whatever cut edges read later.
        scores = attribute_graph(task.model, task.graph, here.pairs, metric=here.metric).scores.mean(axis=0)
        n_first = int(params.start_share * task.graph.n_edges)
        start = task.graph.connected(top_edges(scores, n_first, absolute=True)[None])[0]
        if not start.any():
            raise DataError(
                "the edges that attribution ranks highest connect nothing",
                expected="a larger start_share",
                seen=f"{n_first} of {task.graph.n_edges} edges",
            )
    return acdc(
        task.model,
        task.graph,
        here.pairs,
        here.metric,
        threshold,
        reference=here.reference,
        start=start,
        memory_mb=params.memory_mb,
        progress=progress,
    )


def faithful(
    ev: Evidence,
    measuring: Evidence,
    values: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
    params: Params,
) -> None:
    """The circuit's faithfulness on the measuring half, its plain ratio, and random circuits."""
    empty, whole = ends
    gap = whole - empty
    circuit, choices = values[0], values[1 : 1 + params.choices]
    at_random = values[-params.random_circuits :].mean(axis=0)
    formula = "(m(C) - m(empty)) / (m(M) - m(empty)), means over prompts"
    about = f"Faithfulness of random connected circuits of as many edges: {formula}."
    chance = measuring.control("random_faithfulness", at_random - empty, about, over=gap)
    again = [measuring.measured("faithfulness", each - empty, over=gap) for each in choices]
    about = f"Faithfulness of the circuit: {formula}."
    measuring.finding("faithfulness", circuit - empty, about, over=gap, control=chance, choices=again)
    # KL is 0 for the whole model, and what is lost without a circuit is no m(C).
    if params.metric != "kl" and params.evaluated == "circuit":
        again = [measuring.measured("plain_ratio", each, over=whole) for each in choices]
        about = "Plain ratio m(C) / m(M), of means over prompts: it counts what the empty circuit does too."
        measuring.finding("plain_ratio", circuit, about, over=whole, control=chance, choices=again)
    about = "{}'s metric, all prompts."
    for name, each in (("whole", whole), ("empty", empty)):
        ev.finding(f"{name}_{params.metric}", each, about.format(f"The {name} circuit"))


def counted(
    ev: Evidence,
    graph: Graph,
    found: EdgeSweep,
    again: list[EdgeSweep],
    others: dict[float, EdgeSweep],
    n_edges: int,
) -> None:
    """How large the circuit is, and how many edges took a run."""
    ev.count("edges", graph.n_edges, "Edges of the whole graph.", unit="edge")
    ev.count("circuit_edges", n_edges, "Edges of the circuit.", unit="edge")
    ev.count(
        "edges_tried", found.n_tried, "Edges that were decided by a run; the others led nowhere.", unit="edge"
    )
    sizes = np.array([each.circuit.sum() for each in again], dtype=float)
    over = ev.over("choice", [f"choice {i}" for i in range(len(again))])
    about = "Mean number of edges of the circuits that resamples of the choosing clusters choose."
    over.finding("circuit_edges_by_choice", sizes, about, "edges")
    over.finding("circuit_share_by_choice", sizes / graph.n_edges, f"{about[:-1]}, as a share of all edges.")


def stable(ev: Evidence, circuits: np.ndarray, drawn: np.ndarray) -> None:
    """The edges that two choices share, against two random circuits."""
    shared, pairs = overlaps(circuits)
    by_chance, random_pairs = overlaps(drawn) if len(drawn) > 1 else (np.zeros(1), np.array([[0, 1]]))
    about = "Edges that two random circuits of as many edges share, of those that either has."
    chance = ev.over("circuit", clusters=random_pairs).control("random_edge_overlap", by_chance, about)
    about = "Edges that the circuits of two choices share, of those that either has (Jaccard)."
    ev.over("choice", clusters=pairs).finding("edge_overlap", shared, about, control=chance)


def by_size(
    ev: Evidence,
    measuring: Evidence,
    values: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
    sweeps: dict[float, EdgeSweep],
    params: Params,
) -> None:
    """A row for each threshold: size and faithfulness."""
    empty, whole = ends
    places = [0, *range(1 + params.choices, 1 + params.choices + len(params.further_thresholds))]
    rows = []
    for (threshold, sweep), place in zip(sweeps.items(), places, strict=True):
        m = measuring.measured("faithfulness", values[place] - empty, over=whole - empty)
        size = int(sweep.circuit.sum())
        rows.append(
            {
                "threshold": threshold,
                "edges": size,
                "tried": sweep.n_tried,
                "faithfulness": m.value,
                "low": m.low,
                "high": m.high,
            }
        )
    ev.table("sizes", pd.DataFrame(rows).sort_values("edges", ignore_index=True)).line(
        "sizes",
        "edges: edges in the circuit",
        "faithfulness",
        band=True,
        title="Faithfulness against size",
        caption="One circuit for each threshold, found on one half of the clusters and measured on the "
        "other. Bands: 95 % intervals over prompts, the choice left out.",
        rule=1.0,
    )


def draw(ev: Evidence, graph: Graph, found: EdgeSweep, again: list[EdgeSweep]) -> None:
    """The circuit's edges, the dearest first, and how many choices have each."""
    edges = np.flatnonzero(found.circuit)
    edges = edges[np.argsort(-found.cost[edges], kind="stable")]
    table = pd.DataFrame(
        {
            "edge": [graph.edge_name(int(edge)) for edge in edges],
            "source": [graph.sources[graph.edge_source[edge]].name for edge in edges],
            "destination": [graph.destinations[graph.edge_destination[edge]].name for edge in edges],
            "cost": found.cost[edges],
            "chosen": np.mean([each.circuit[edges] for each in again], axis=0),
        }
    )
    ev.table("edges", table)
    ev.table("top_edges", table.head(20)).bar(
        "top_edges",
        "cost: rise of the loss without it",
        "edge",
        title="The edges that cost most to cut",
        caption="By how much the loss rose when the edge was tried, in units of the metric.",
    )


def metric_receipt(task: CircuitTask, found: EdgeSweep, rows: np.ndarray) -> Check:
    """The metric that a sweep ended with against a whole forward of the edges that it kept."""
    here = task.rows(rows)
    noised = CircuitTask(here.model, here.graph, here.pairs, here.metric, here.reference)
    ends = noised.ends()
    whole = noised.values(found.kept[None], ends)[0]
    gap = max(float(np.abs(ends[1] - ends[0]).mean()), 1e-30)
    value = float(np.abs(whole - found.metric).max()) / gap
    about = "Largest difference of the sweep's last metric from a whole forward of its circuit, of the gap."
    return Check("sweep_equals_forward", value, 1e-3, about)


def roc_area(score: np.ndarray, planted: np.ndarray) -> float:
    """The chance that a planted edge scores above another, ties counted as half."""
    above = score[planted][:, None] - score[~planted][None]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def calibrate() -> list[Calibration]:
    """Two planted heads in a row: their three edges are kept and no other, and random scores find none."""
    lab = planted_chain_lab()
    graph = Graph.of(lab.model)
    planted = planted_edges(graph)
    facts = lab.known_facts(both_sides=True, per_relation=1)
    cases = []
    for metric in ("logit_diff", "kl"):
        for ablation in ("corrupted", "mean"):
            task = CircuitTask.of(lab.model, graph, facts.pairs, metric=metric, ablation=ablation)
            empty, whole = task.ends()
            threshold = 0.05 * abs(float(np.mean(whole - empty)))
            found = swept(task, np.arange(len(task)), threshold, Params())
            area = roc_area(found.cost, planted)
            about = f"Area under the ROC of edges by what cutting them costs; {metric}, {ablation}."
            cases.append(known_answer(f"planted edges, {metric}, {ablation}", about, area, 1, 1e-9))
            if ablation == "corrupted":
                wrong = int((found.circuit != planted).sum())
                about = f"Edges wrongly kept or cut of {graph.n_edges}; {metric}."
                cases.append(known_answer(f"the circuit, {metric}", about, wrong, 0))
                kept = faithfulness(task.values(found.circuit[None], (empty, whole)), empty, whole)[0]
                about = f"Faithfulness of the circuit; {metric}."
                cases.append(known_answer(f"faithful circuit, {metric}", about, kept, 1, 1e-3))
    areas = [roc_area(np.random.default_rng(i).random(graph.n_edges), planted) for i in range(50)]
    about = "The same area of random scores, mean of 50."
    cases.append(known_answer("random scores", about, float(np.mean(areas)), 0.5, 0.1))
    return cases
