"""Causal scrubbing: what is left of a behaviour when all is resampled that a hypothesis says does not matter.

A hypothesis names nodes of a model, for each the columns of the prompt set through which alone its output
matters, and which of them read which. Let x be a prompt whose behaviour is measured. Then the logits, and in
the same way every node of the hypothesis, read

    from a node s of the hypothesis  what s writes for another prompt x', drawn from those that agree with x
                                     in the columns of s; s is computed for x' in this same manner
    from everything else             what it writes in the plain run of one prompt r, drawn from all

If the hypothesis is right, none of this changes the behaviour. If it is empty, the logits are those of
another prompt. Draws are among prompts of one length, uniform, the prompt itself among them; each pair of a
node and what reads it has draws of its own.

Each node is computed once for every prompt, which then stands for that prompt wherever it is drawn: a forward
or less for all prompts together, where the unfolded tree of Chan et al. computes a node anew for every path
to it. The two differ only where one prompt is drawn for one node along two paths.

Source: Chan et al. 2022, "Causal Scrubbing: a method for rigorously testing interpretability hypotheses".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.errors import DataError, nearest
from engine.lab.circuits.graph import LOGITS, Graph
from engine.lab.circuits.single_nodes import PlainRun, Stream, inputs_of, node_written, plain_run
from engine.lab.groups import equal_length_groups

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel


@dataclass(frozen=True)
class ScrubbingHypothesis:
    """Which nodes matter (indices of sources), the class of each prompt for each, and the edges between them.

    Two prompts of one class may stand for each other at that node.
    """

    classes: dict[int, Int[np.ndarray, " prompt"]]
    edges: Bool[np.ndarray, " edge"]

    def rows(self, index: Sequence[int]) -> ScrubbingHypothesis:
        """The hypothesis over the prompts at `index`."""
        return ScrubbingHypothesis({n: of[index] for n, of in self.classes.items()}, self.edges)

    def without(self, graph: Graph, node: int) -> ScrubbingHypothesis:
        """The hypothesis that says that one of its nodes does not matter."""
        left = {n: of for n, of in self.classes.items() if n != node}
        return ScrubbingHypothesis(left, self.edges & edges_between(graph, left))


@dataclass(frozen=True)
class ScrubDraws:
    """Which prompt stands for which: a function of the seed and the place, so that hypotheses share draws."""

    seed: int

    def unrelated(self, graph: Graph, reader: int, n_prompts: int) -> Int[np.ndarray, " prompt"]:
        """For each prompt the one that everything which does not matter to `reader` is read of."""
        # No source has this index: the logits are the last node and write nothing.
        return self.within(reader, graph.n_sources, np.zeros(n_prompts, dtype=int))

    def within(
        self, reader: int, source: int, classes: Int[np.ndarray, " prompt"]
    ) -> Int[np.ndarray, " prompt"]:
        """For each prompt one of its class, that `reader` reads `source` of."""
        share = np.random.default_rng([self.seed, reader, source]).random(len(classes))
        # Members of one class stand together, so that one of them is a place between its first and its last.
        order = np.argsort(classes, kind="stable")
        _, place, size = np.unique(classes, return_inverse=True, return_counts=True)
        first = np.cumsum(size) - size
        return order[first[place] + (share * size[place]).astype(int)]


def scrubbing_hypothesis(
    graph: Graph, nodes: Mapping[str, Sequence[str]], table: pd.DataFrame, edges: Sequence[str] = ()
) -> ScrubbingHypothesis:
    """A hypothesis from names: columns of the prompts' table by node, and edges: all between them if none.

    DataError with the nearest names for a node, an edge or a column that is not there, and for an edge that
    begins or ends outside of the hypothesis.
    """
    classes = {}
    for name, columns in nodes.items():
        node = graph.node_index(name)
        if name == LOGITS:
            raise DataError(
                "the logits are what is measured, and are in every hypothesis",
                expected="nodes that write: the embedding, heads, MLPs",
                seen=name,
            )
        classes[node] = equivalence_classes(table, columns, name)
    between = edges_between(graph, classes)
    if not edges:
        return ScrubbingHypothesis(classes, between)
    named = np.zeros(graph.n_edges, dtype=bool)
    for name in edges:
        edge = graph.edge_index(name)
        if not between[edge]:
            raise DataError(
                f"the edge {name!r} begins or ends at a node that the hypothesis does not name",
                expected=f"edges between its nodes and into the logits; its nodes are {', '.join(nodes)}",
                seen=name,
            )
        named[edge] = True
    return ScrubbingHypothesis(classes, named)


def equivalence_classes(table: pd.DataFrame, columns: Sequence[str], node: str) -> Int[np.ndarray, " prompt"]:
    """Which prompts agree in some columns, by number; DataError with the nearest names for another column."""
    for column in columns:
        if column not in table:
            known = [str(name) for name in table.columns]
            raise DataError(
                f"{node} is to be resampled among prompts of one {column!r}, which the prompts do not have",
                expected="one of " + ", ".join(known),
                seen=column,
                near=nearest(column, known),
            )
    if not columns:
        raise DataError(
            f"{node} is said to matter through nothing",
            expected="a column of the prompts, or the node left out of the hypothesis",
            seen="no column",
        )
    return table.groupby(list(columns), sort=True, dropna=False).ngroup().to_numpy()


def edges_between(graph: Graph, nodes: Mapping[int, object]) -> Bool[np.ndarray, " edge"]:
    """All edges between some nodes, and from them to the logits."""
    kept = np.zeros((1, graph.n_sources), dtype=bool)
    kept[0, list(nodes)] = True
    return graph.kept_edges(kept, "nodes")[0]


def full_hypothesis(graph: Graph, n_prompts: int) -> ScrubbingHypothesis:
    """Everything matters, as it is for each prompt: nothing is resampled."""
    alone = {node: np.arange(n_prompts) for node in range(graph.n_sources)}
    return ScrubbingHypothesis(alone, np.ones(graph.n_edges, dtype=bool))


def empty_hypothesis(graph: Graph) -> ScrubbingHypothesis:
    """Nothing matters: the logits are read of another prompt."""
    return ScrubbingHypothesis({}, np.zeros(graph.n_edges, dtype=bool))


def random_hypothesis(
    graph: Graph, like: ScrubbingHypothesis, rng: np.random.Generator
) -> ScrubbingHypothesis:
    """As many nodes of each kind and as many edges, drawn; the classes are dealt to them as they come."""
    kinds = np.array([source.kind for source in graph.sources])
    classes = {}
    for kind in dict.fromkeys(kinds[sorted(like.classes)]):
        own = [of for node, of in like.classes.items() if kinds[node] == kind]
        drawn = rng.choice(np.flatnonzero(kinds == kind), size=len(own), replace=False)
        classes |= {int(node): of for node, of in zip(drawn, own, strict=True)}
    edges = edges_between(graph, classes)
    if like.edges.sum() < edges_between(graph, like.classes).sum():
        # Where edges were named, as many of those that there are between the nodes drawn.
        possible = np.flatnonzero(edges)
        size = min(len(possible), int(like.edges.sum()))
        edges = np.zeros_like(edges)
        edges[rng.choice(possible, size=size, replace=False)] = True
    return ScrubbingHypothesis(classes, edges)


@torch.no_grad()
def scrubbed(
    model: HookedModel,
    graph: Graph,
    prompts: Int[Tensor, "prompt pos"],
    last: Int[Tensor, " prompt"],
    hypothesis: ScrubbingHypothesis,
    draws: ScrubDraws,
) -> Float[Tensor, "prompt d_model"]:
    """The stream that the logits of each prompt's last token are read off, after scrubbing.

    `graph` is ungrouped: a head that matters has keys and values of its own.
    """
    if graph.n_key_value_inputs != graph.n_heads:
        raise DataError(
            "scrubbing gives each head its own inputs", expected="Graph.of(model, ungrouped=True)"
        )
    out = model.W_U.new_empty(len(prompts), model.shape.d_model)
    for index in equal_length_groups(last, len(prompts)):
        start = model.embed(prompts[index, : int(last[index[0]]) + 1])
        out[index] = _scrubbed_group(model, graph, start, hypothesis.rows(index), draws)
    return out


def _scrubbed_group(
    model: HookedModel, graph: Graph, start: Stream, hypothesis: ScrubbingHypothesis, draws: ScrubDraws
) -> Float[Tensor, "prompt d_model"]:
    nodes = sorted(hypothesis.classes)
    plain = plain_run(model, graph, start, nodes)
    written: dict[int, Stream] = {}
    for node in nodes:
        # Sources are in the order in which they write: what a node reads is there before it.
        inputs = [
            _read(graph, plain, written, hypothesis, draws, node, destination)
            for destination in inputs_of(graph, node)
        ]
        written[node] = node_written(model, graph, node, inputs) if inputs else start
    logits = graph.n_sources
    return _read(graph, plain, written, hypothesis, draws, logits, graph.logits_input)[:, -1]


def _read(
    graph: Graph,
    plain: PlainRun,
    written: Mapping[int, Stream],
    hypothesis: ScrubbingHypothesis,
    draws: ScrubDraws,
    reader: int,
    destination: int,
) -> Stream:
    """What one input of a node reads for every prompt."""
    stream = plain.read_by(destination)
    unrelated = draws.unrelated(graph, reader, len(stream))
    # Everything of the prompt r, ...
    x = stream[unrelated]
    n_sources = graph.destinations[destination].n_sources
    for source, of_source in written.items():
        if source < n_sources and hypothesis.edges[graph.edge(source, destination)]:
            # ... but of each node that matters what it writes for x', in place of what it writes for r.
            related = draws.within(reader, source, hypothesis.classes[source])
            x = x + of_source[related] - plain.written[source][unrelated]
    return x


def resampled_share(
    graph: Graph, hypothesis: ScrubbingHypothesis, last: Int[Tensor, " prompt"], draws: ScrubDraws
) -> Float[np.ndarray, " prompt"]:
    """For each prompt, the share of the edges of a hypothesis that are read of another prompt than itself.

    0 where classes are of one prompt each: such a hypothesis says which nodes matter, not what they carry.
    """
    out = np.zeros(len(last))
    edges = np.flatnonzero(hypothesis.edges)
    reads = {(graph.destinations[graph.edge_destination[e]].nodes[0], graph.edge_source[e]) for e in edges}
    for index in equal_length_groups(last, len(last)):
        here = hypothesis.rows(index)
        for reader, source in sorted(reads):
            drawn = draws.within(reader, int(source), here.classes[int(source)])
            out[index] += (drawn != np.arange(len(index))) / len(reads)
    return out
