"""Path patching: what one node does to another along named paths, everything else held as it was.

Let B be the run that is patched into and S the one patched from. A sender writes what it writes in S; along
the edges of the paths, and there alone, this difference is carried on:

    x_d = x_d(B) + sum over edges s -> d of the paths of (V_s - s(B))

with V_s what s writes in S if it is the sender, and else what it writes given its own x. Where a path ends at
an input before the logits (the receiver), everything downstream of it is computed anew, along all edges.

A path is written with the graph's names: `L0H1 -> L2H3.v -> logits`. `L2H3` in the middle stands for all
three of its inputs. Paths that share nodes are patched together with what their edges form besides.

Source: Goldowsky-Dill et al. 2023, "Localizing Model Behavior with Path Patching"; Wang et al. 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine.errors import DataError
from engine.lab.circuits.graph import ARROW, Graph
from engine.lab.circuits.single_nodes import Stream, inputs_of, node_written, plain_run
from engine.lab.groups import equal_length_groups
from engine.lab.patch_pairs import PatchPairs

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel


@dataclass(frozen=True)
class PatchedPaths:
    """The edges that carry a difference, and the nodes (indices of sources) that it begins at."""

    senders: frozenset[int]
    edges: Bool[np.ndarray, " edge"]


def named_paths(graph: Graph, paths: Sequence[str]) -> PatchedPaths:
    """Paths by name, in an ungrouped graph; DataError with the nearest names for what is not there."""
    senders = set()
    edges = np.zeros(graph.n_edges, dtype=bool)
    for path in paths:
        first, *rest = (name.strip() for name in path.split(ARROW.strip()))
        if not rest:
            raise DataError(f"{path!r} is not a path", expected="SENDER -> INPUT, as in L0H1 -> L2H3.v")
        sender = _sending(graph, first)
        senders.add(sender)
        node = sender
        for name in rest:
            inputs, reader = _reading(graph, name)
            for d in inputs:
                # Its error says which sources the destination has.
                edges[graph.edge_index(graph.nodes[node] + ARROW + graph.destinations[d].name)] = True
            node = reader
        edges |= _downstream(graph, node)
    return PatchedPaths(frozenset(senders), edges)


def _sending(graph: Graph, name: str) -> int:
    node = graph.node_index(name)
    if node == graph.n_sources:
        raise DataError("the logits send nothing", expected="the embedding, a head or an MLP", seen=name)
    return node


def _reading(graph: Graph, name: str) -> tuple[tuple[int, ...], int]:
    """The inputs that a name stands for, and the node that has them."""
    if name in graph.nodes:
        node = graph.node_index(name)
        inputs = inputs_of(graph, node)
        if not inputs:
            raise DataError("the embedding reads nothing", expected="a head, an MLP or the logits", seen=name)
        return inputs, node
    destination = graph.destination_index(name)
    return (destination,), graph.destinations[destination].nodes[0]


def _downstream(graph: Graph, node: int) -> Bool[np.ndarray, " edge"]:
    """All edges from a node and from whatever is computed after it out of it; none from the logits."""
    reached = np.zeros(graph.n_nodes, dtype=bool)
    reached[node] = True
    for destination in graph.destinations:
        if reached[: destination.n_sources].any():
            reached[list(destination.nodes)] = True
    return reached[graph.edge_source]


@torch.no_grad()
def path_patched(
    model: HookedModel, graph: Graph, pairs: PatchPairs, paths: PatchedPaths
) -> Float[Tensor, "prompt d_model"]:
    """The stream that each prompt's logits are read off, after patching from `source` into `base`."""
    if graph.n_key_value_inputs != graph.n_heads:
        expected = "Graph.of(model, ungrouped=True)"
        raise DataError("path patching gives each head its own inputs", expected=expected)
    out = model.W_U.new_empty(len(pairs), model.shape.d_model)
    for index in equal_length_groups(pairs.last, 16):
        here = pairs.rows(index)
        length = int(here.last[0]) + 1
        base = here.base_resid(model)[:, :length]
        out[index] = _patched_group(model, graph, base, here.source_resid(model)[:, :length], paths)
    return out


def _patched_group(
    model: HookedModel, graph: Graph, base: Stream, source: Stream, paths: PatchedPaths
) -> Float[Tensor, "prompt d_model"]:
    changed = sorted(_changed(graph, paths))
    run = plain_run(model, graph, base, changed)
    sent = plain_run(model, graph, source, paths.senders).written
    differences: dict[int, Stream] = {}

    def read(destination: int) -> Stream:
        # x_d(B) and the differences that the paths' edges carry to it.
        x = run.read_by(destination)
        for s, difference in differences.items():
            if s < graph.destinations[destination].n_sources and paths.edges[graph.edge(s, destination)]:
                x = x + difference
        return x

    for node in changed:
        # Sources are in the order in which they write: what a node reads is there before it.
        inputs = inputs_of(graph, node)
        written = sent[node] if node in sent else node_written(model, graph, node, [read(d) for d in inputs])
        differences[node] = written - run.written[node]
    return read(graph.logits_input)[:, -1]


def _changed(graph: Graph, paths: PatchedPaths) -> set[int]:
    """The senders, and every node that a difference reaches along the edges."""
    changed = set(paths.senders)
    for d, destination in enumerate(graph.destinations[:-1]):
        edges = slice(int(graph.first_edge[d]), int(graph.first_edge[d + 1]))
        if changed & set(np.flatnonzero(paths.edges[edges]).tolist()):
            changed |= set(destination.nodes)
    return changed
