"""Causal scrubbing: what is left of a behaviour when all is resampled that a hypothesis says does not matter.

1. Keep the prompts whose answer the model knows (rank `known_rank` or better), at most
   `prompts_per_relation` of each relation. The hypothesis names nodes, and for each the columns of the prompt
   set through which alone what it writes matters.
2. Scrub: the logits, and every node of the hypothesis, read each node of the hypothesis as it is for another
   prompt that agrees in the node's columns, and everything else as it is for a prompt drawn from all. A node
   that is read so was scrubbed itself. The mean over `draws` is a prompt's value.
3. The scale: the full hypothesis (everything matters, nothing is resampled) is the model and is 1; the empty
   one, the output of another prompt, is 0. Recovered: (m(H) - m(empty)) / (m(full) - m(empty)), a ratio of
   means over prompts, of the metric and of the loss, -log p(answer) in nats.
4. Random hypotheses of as many nodes of each kind and as many edges, the same columns dealt to them.
5. The hypothesis without each of its nodes in turn: what the node adds.

Source: Chan et al. 2022, "Causal Scrubbing: a method for rigorously testing interpretability hypotheses".
Unit of sampling: the prompt. Controls: random hypotheses of equal size; the empty one by other draws, about
0; the full one, 1. Nothing is chosen here: a hypothesis that was found on these prompts belongs on others.

Where a column takes another value for each prompt, nothing that matters is resampled: the hypothesis then
says which nodes matter, and not what they carry. Prompts stand for each other position by position, so that
of two of one length that mean different things at one position the stream is one that no text gives.

Pitfalls:

- A hypothesis that claims more matters less often fails: the full one recovers all and says nothing. Its size
  and `resampled`, how much of it was read of other prompts, belong to the number (Chan et al. 2022).
- Errors that cancel pass: two nodes that are both read of other prompts may hide each other's effect, so
  that a false hypothesis recovers all (Chan et al. 2022, on what scrubbing cannot reject).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from engine.errors import DataError
from engine.evidence.builder import Evidence
from engine.evidence.result import Calibration, Check, Measurement, Result
from engine.lab.circuits.faithfulness import require_gap
from engine.lab.circuits.graph import Graph
from engine.lab.circuits.planted_chain import planted_chain_lab
from engine.lab.circuits.scrubbing import (
    ScrubbingHypothesis,
    ScrubDraws,
    empty_hypothesis,
    full_hypothesis,
    random_hypothesis,
    resampled_share,
    scrubbed,
    scrubbing_hypothesis,
)
from engine.lab.facts import Facts
from engine.lab.lab import Lab
from engine.lab.patch_metrics import PatchMetric, patch_metric
from engine.lab.patch_pairs import PatchPairs
from engine.lab.profiles import known_answer
from engine.spec.family_params import MetricName, SeedParams
from engine.spec.inputs import ANSWERS, Inputs

OTHER_DRAWS = 10_000
"""The seed of draws that the scale does not rest on is so far from those that it does rest on."""

inputs = Inputs(prompts=ANSWERS)


class Params(SeedParams):
    hypothesis: Annotated[dict[str, Annotated[list[str], Field(min_length=1)]], Field(min_length=1)]
    """The nodes that matter (`embedding`, `L9H6`, `mlp 9`), each with the columns of the prompt set through
    which alone its output matters: `{L9H6: [subject]}` says that L9H6 may be taken from any prompt of the
    same subject, `[id]` that it may be taken from no other prompt."""
    edges: list[str] = []
    """Which of these nodes read which, as in `L0H1 -> L9H6.v` and `L9H6 -> logits`; all of them where left
    out."""
    prompts_per_relation: Annotated[int, Field(gt=0)] = 12
    """At most this many known prompts of each relation are used, the first by hash of their id."""
    known_rank: Annotated[int, Field(ge=0)] = 0
    """An answer is known where its rank among all tokens is at most this; 0 is the likeliest token."""
    metric: MetricName = "logit_diff"
    """What is recovered beside the loss: `logit_diff`, `probability` or `log_probability` of the answer, or
    `kl` from the prompt's own prediction."""
    draws: Annotated[int, Field(gt=0)] = 4
    """How often each prompt's substitutes are drawn."""
    random_hypotheses: Annotated[int, Field(gt=0)] = 8
    """How many random hypotheses of equal size are measured, by one draw of substitutes each."""


@dataclass(frozen=True)
class ScrubbedValues:
    """The metric and the loss of each prompt, means over draws."""

    metric: np.ndarray
    loss: np.ndarray


@dataclass(frozen=True)
class Scrubber:
    """The prompts with what they are measured by: from a hypothesis to numbers."""

    lab: Lab
    graph: Graph
    facts: Facts
    measured_by: PatchMetric
    log_probability: PatchMetric

    @classmethod
    def of(cls, lab: Lab, facts: Facts, params: Params) -> Scrubber:
        """A scrubber of known prompts; each head's keys and values apart, since heads matter apart."""
        p = facts.prompts
        # Two runs of one prompt: the metric is read off a run, and KL is from the prompt's own.
        pairs = PatchPairs(p.clean, p.clean, p.last, p.answer, p.wrong_answer)
        return cls(
            lab,
            Graph.of(lab.model, ungrouped=True),
            facts,
            patch_metric(lab.model, pairs, params.metric),
            patch_metric(lab.model, pairs, "log_probability"),
        )

    def values(self, hypothesis: ScrubbingHypothesis, seeds: range) -> ScrubbedValues:
        """What a hypothesis leaves of each prompt's metric and loss."""
        prompts = self.facts.prompts
        everyone = torch.arange(len(prompts), device=prompts.clean.device)
        metric = []
        loss = []
        for seed in seeds:
            resid = scrubbed(
                self.lab.model, self.graph, prompts.clean, prompts.last, hypothesis, ScrubDraws(seed)
            )
            metric.append(self.measured_by.of(self.lab.model, resid, everyone).cpu().double().numpy())
            loss.append(-self.log_probability.of(self.lab.model, resid, everyone).cpu().double().numpy())
        return ScrubbedValues(np.mean(metric, axis=0), np.mean(loss, axis=0))

    def plain(self) -> np.ndarray:
        """The metric of each prompt in the plain forward, which the full hypothesis must equal."""
        prompts = self.facts.prompts
        rows = torch.arange(len(prompts), device=prompts.clean.device)
        resid = self.lab.model.layers(self.lab.model.embed(prompts.clean))[rows, prompts.last]
        return self.measured_by.of(self.lab.model, resid, rows).cpu().double().numpy()


@dataclass(frozen=True)
class Scale:
    """What is 0 and what is 1."""

    empty: ScrubbedValues
    full: ScrubbedValues

    def recovered(
        self, measure: Callable[..., Measurement], name: str, values: np.ndarray, of: str, *args, **kwargs
    ) -> Measurement:
        """A number on the scale of `metric` or `loss`, by one of the evidence's ways to give one."""
        empty, full = getattr(self.empty, of), getattr(self.full, of)
        return measure(name, values - empty, *args, over=full - empty, **kwargs)


def run(lab: Lab, params: Params) -> Result:
    """Metric and loss recovered by the hypothesis, by random ones, and without each of its nodes."""
    # 1. The prompts whose answer the model knows, and the hypothesis over them.
    facts = with_substitutes(
        lab.known_facts(known_rank=params.known_rank, per_relation=params.prompts_per_relation)
    )
    ev = facts.evidence()
    scrubber = Scrubber.of(lab, facts, params)
    graph = scrubber.graph
    hypothesis = scrubbing_hypothesis(graph, params.hypothesis, facts.table, params.edges)
    seeds = range(params.seed * params.draws, (params.seed + 1) * params.draws)
    elsewhere = range(seeds.start + OTHER_DRAWS, seeds.stop + OTHER_DRAWS)

    # 3. The scale: nothing matters is 0, everything matters is 1.
    scale = Scale(
        scrubber.values(empty_hypothesis(graph), seeds),
        # Nothing is drawn in it: one run is as good as several.
        scrubber.values(full_hypothesis(graph, len(facts)), range(1)),
    )
    require_gap(scale.empty.metric, scale.full.metric)

    # 2. Scrub by the hypothesis.
    with lab.stage(0.3, f"scrubbing {len(facts)} prompts"):
        found = scrubber.values(hypothesis, seeds)
    # 4. Random hypotheses of equal size.
    with lab.stage(0.7, f"scrubbing by {params.random_hypotheses} random hypotheses") as progress:
        rng = np.random.default_rng(params.seed)
        at_random = []
        for number in range(params.random_hypotheses):
            drawn = random_hypothesis(graph, hypothesis, rng)
            at_random.append(scrubber.values(drawn, range(seeds.start + number, seeds.start + number + 1)))
            progress((number + 1) / params.random_hypotheses)
    again = scrubber.values(empty_hypothesis(graph), elsewhere)

    sized(ev, graph, hypothesis, facts, seeds)
    recovered(ev, scale, found, at_random, again, params)
    # 5. The hypothesis without each of its nodes.
    with lab.stage(1.0, "scrubbing without each node") as progress:
        without = {}
        for number, node in enumerate(hypothesis.classes):
            without[node] = scrubber.values(hypothesis.without(graph, node), seeds)
            progress((number + 1) / len(hypothesis.classes))
    by_node(ev, graph, scale, found, without, params)

    gap = float(np.abs(scale.full.metric - scrubber.plain()).max())
    scale_of = max(1.0, float(np.abs(scale.full.metric).max()))
    about = "Largest difference of the full hypothesis from the plain forward, of the metric's size."
    ev.check(Check("full_equals_forward", gap / scale_of, 1e-3, about))
    return ev.result()


def with_substitutes(facts: Facts) -> Facts:
    """The facts without prompts of a length that no other has; DataError where that leaves fewer than two."""
    last = facts.prompts.last
    _, place, size = torch.unique(last, return_inverse=True, return_counts=True)
    several = size[place] > 1
    if int(several.sum()) < 2:
        raise DataError(
            "no two prompts are equally long, so that none can stand for another",
            expected="prompts of one template, or of a few lengths with several prompts each",
            seen=f"{len(facts)} prompts of {len(size)} lengths",
        )
    kept = facts.prompts.keep(several, "no other prompt is equally long")
    return Facts(kept, facts.given, facts.unused)


def sized(ev: Evidence, graph: Graph, hypothesis: ScrubbingHypothesis, facts: Facts, seeds: range) -> None:
    """How much the hypothesis claims, and how much of it was put to the test."""
    ev.count("nodes", len(hypothesis.classes), "Nodes that matter by the hypothesis.", unit="node")
    ev.count("all_nodes", graph.n_sources, "Nodes of the model that write.", unit="node")
    ev.count("edges", int(hypothesis.edges.sum()), "Edges that matter by the hypothesis.", unit="edge")
    last = facts.prompts.last
    drawn = [resampled_share(graph, hypothesis, last, ScrubDraws(seed)) for seed in seeds]
    about = "Share of the hypothesis's inputs that were read of another prompt than their own."
    ev.finding("resampled", np.mean(drawn, axis=0), about)


def recovered(
    ev: Evidence,
    scale: Scale,
    found: ScrubbedValues,
    at_random: list[ScrubbedValues],
    again: ScrubbedValues,
    params: Params,
) -> None:
    """What the hypothesis recovers, beside random hypotheses, the empty one by other draws, and the full."""
    names = {"metric": params.metric, "loss": "loss"}
    formula = "(m(H) - m(empty)) / (m(full) - m(empty)), means over prompts"
    rows = []
    for of, name in names.items():
        about = f"{name}, " + "{}."
        ev.finding(f"full_{name}", getattr(scale.full, of), about.format("the model as it is"))
        ev.finding(f"scrubbed_{name}", getattr(found, of), about.format("scrubbed by the hypothesis"))
        ev.control(f"empty_{name}", getattr(scale.empty, of), about.format("output of another prompt"))
        drawn = np.mean([getattr(each, of) for each in at_random], axis=0)
        about = f"{of.capitalize()} recovered by random hypotheses of equal size: {formula}."
        chance = scale.recovered(ev.control, f"random_{of}_recovered", drawn, of, about)
        about = f"{of.capitalize()} recovered by the empty hypothesis, by other draws than the scale's."
        nothing = scale.recovered(ev.control, f"empty_{of}_recovered", getattr(again, of), of, about)
        about = f"{of.capitalize()} recovered by the full hypothesis, which is the model."
        full = getattr(scale.full, of)
        whole = scale.recovered(ev.control, f"full_{of}_recovered", full, of, about)
        about = f"{of.capitalize()} recovered by the hypothesis: {formula}."
        m = scale.recovered(ev.finding, f"{of}_recovered", getattr(found, of), of, about, control=chance)
        for what, each in (("empty", nothing), ("random", chance), ("hypothesis", m), ("full", whole)):
            row = {"hypothesis": what, "of": of, "recovered": each.value, "low": each.low, "high": each.high}
            rows.append(row)
    ev.table("hypotheses", pd.DataFrame(rows)).bar(
        "hypotheses",
        "recovered: share recovered",
        "hypothesis",
        facet="of",
        band=True,
        title="What is left after scrubbing",
        caption="0 is the output of another prompt, 1 the model; with 95 % intervals over prompts.",
    )


def by_node(
    ev: Evidence,
    graph: Graph,
    scale: Scale,
    found: ScrubbedValues,
    without: dict[int, ScrubbedValues],
    params: Params,
) -> None:
    """What each node adds: recovered with it less recovered without it."""
    rows = []
    for node, values in without.items():
        # The scale's 0 falls out of the difference.
        m = ev.measured("adds", found.metric - values.metric, over=scale.full.metric - scale.empty.metric)
        name = graph.sources[node].name
        columns = ", ".join(params.hypothesis[name])
        rows.append({"node": name, "same": columns, "adds": m.value, "low": m.low, "high": m.high})
    ev.table("nodes", pd.DataFrame(rows)).bar(
        "nodes",
        "adds: share recovered less that without it",
        "node",
        band=True,
        title="What each node of the hypothesis adds",
        caption=f"Share of the {params.metric} recovered with the node less without it, "
        "with 95 % intervals over prompts.",
    )


def with_openings(lab: Lab) -> Lab:
    """The lab with a column that says nothing of the answer: the first word of each prompt."""
    assert lab.prompts is not None
    table = lab.prompts.table
    return Lab(lab.model, replace(lab.prompts, table=table.assign(opening=table["clean"].str.split().str[0])))


def calibrate() -> list[Calibration]:
    """Two heads in a row carry each answer: the true hypothesis, and wrong nodes, columns and edges."""
    lab = with_openings(planted_chain_lab())

    def found(nodes: dict[str, str], *edges: str) -> dict[str, float]:
        params = Params(
            hypothesis={name: [column] for name, column in nodes.items()},
            edges=list(edges),
            prompts_per_relation=16,
            random_hypotheses=4,
        )
        return {name: m.value for name, m in run(lab, params).measurements.items()}

    chain = ("embedding", "L0H1", "L2H3")
    true = found(dict.fromkeys(chain, "subject"))
    by_edges = found(
        dict.fromkeys(chain, "subject"), "embedding -> L0H1.v", "L0H1 -> L2H3.v", "L2H3 -> logits"
    )
    wrong_nodes = found(dict.fromkeys(("embedding", "L0H2", "L2H1"), "subject"))
    wrong_column = found(dict.fromkeys(chain, "opening"))
    wrong_edge = found(dict.fromkeys(chain, "subject"), "embedding -> L2H3.v", "L2H3 -> logits")
    planted = "Two heads in a row turn the subject into the answer."
    return [
        known_answer("true hypothesis", planted, true["metric_recovered"], 1, 1e-4),
        known_answer("true hypothesis, loss", planted, true["loss_recovered"], 1, 1e-4),
        known_answer("true edges", "Only the three that carry it.", by_edges["metric_recovered"], 1, 1e-4),
        known_answer("wrong nodes", "Heads that write nothing.", wrong_nodes["metric_recovered"], 0, 1e-4),
        known_answer("wrong edge", "Past the first head.", wrong_edge["metric_recovered"], 0, 0.25),
        known_answer(
            "wrong column", "Resampled by the opening word.", wrong_column["metric_recovered"], 0, 0.25
        ),
        known_answer("empty hypothesis", "By other draws.", true["empty_metric_recovered"], 0, 0.25),
    ]
