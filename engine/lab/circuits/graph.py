"""The graph of a model: what writes to the residual stream, what reads from it, and the edges between.

The stream is a sum, so that whatever reads it reads the sum of what all earlier parts wrote:

    nodes         the embedding, each attention head, each MLP, the logits
    sources       all nodes but the logits, in the order in which they write
    destinations  what reads the stream: the query, key and value inputs of heads apart, each MLP, the logits
    edges         from each source to each destination that is computed after it

Every destination reads a prefix of the sources. Where attention is grouped (Ainslie et al. 2023), query heads
share keys and values, and a key-value head's inputs are destinations of their own (`L10KV2.k`). `ungrouped`
gives each query head keys and values by itself, as MIB counts (Mueller et al. 2025).

An output bias of attention is a constant that belongs to no head: it is part of what is read, and no source.
Learned positions belong to the embedding. GPT-2 small has 158 nodes and 32,491 edges; whoever counts learned
positions as a node, edges by position, or one input for each head, counts otherwise.

Source: Elhage et al. 2021 (the stream as a sum), Wang et al. 2023 (edges), Syed, Rager & Conmy 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Bool, Int

from engine.errors import DataError, ModelError, nearest
from engine.models.known import ModelShape

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

Granularity = Literal["nodes", "edges"]
EMBEDDING = "embedding"
LOGITS = "logits"
ARROW = " -> "
HEAD_INPUTS = ("q", "k", "v")


@dataclass(frozen=True)
class SourceNode:
    """A node that writes: `kind` is "embedding", "head" or "mlp"; layer -1 is before all blocks."""

    name: str
    kind: str
    layer: int
    head: int = -1


@dataclass(frozen=True)
class Destination:
    """What reads the stream: `kind` is "q", "k", "v", "mlp" or "logits".

    It reads the first `n_sources` sources. `nodes` are the indices of the nodes that it is an input of: one,
    or all query heads that share a key-value head.
    """

    name: str
    kind: str
    layer: int
    n_sources: int
    nodes: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """Nodes, sources, destinations and edges of a model's shape, in order of computation.

    `parallel`: attention and MLP read one stream (Pythia), so that no head of a block writes to its MLP.
    Edges are in order of their destinations, and of their sources within each.
    """

    n_layers: int
    n_heads: int
    n_key_value_heads: int
    parallel: bool = False
    ungrouped: bool = False

    @classmethod
    def of(cls, model: HookedModel, *, ungrouped: bool = False) -> Graph:
        """The graph of a model; ModelError where what its heads write or read cannot be told apart."""
        require_separable(model)
        return cls.of_shape(model.shape, parallel=model.decoder.parallel, ungrouped=ungrouped)

    @classmethod
    def of_shape(cls, shape: ModelShape, *, parallel: bool = False, ungrouped: bool = False) -> Graph:
        """The graph of a model of some size, which need not be loaded."""
        return cls(shape.n_layers, shape.n_heads, shape.n_key_value_heads, parallel, ungrouped)

    # What is in the graph

    @cached_property
    def sources(self) -> tuple[SourceNode, ...]:
        """What writes, in the order of computation: the embedding, then each block's heads and its MLP."""
        found = [SourceNode(EMBEDDING, "embedding", -1)]
        for layer in range(self.n_layers):
            found += [SourceNode(f"L{layer}H{head}", "head", layer, head) for head in range(self.n_heads)]
            found.append(SourceNode(f"mlp {layer}", "mlp", layer))
        return tuple(found)

    @cached_property
    def destinations(self) -> tuple[Destination, ...]:
        """What reads, in the order of computation; of a block the queries, then keys, values and the MLP."""
        found: list[Destination] = []
        for layer in range(self.n_layers):
            before = self.n_sources_before(layer)
            for kind in HEAD_INPUTS:
                n_inputs = self.n_heads if kind == "q" else self.n_key_value_inputs
                found += [self._head_input(kind, layer, i, n_inputs, before) for i in range(n_inputs)]
            # A parallel MLP reads what attention reads.
            read = before if self.parallel else before + self.n_heads
            found.append(Destination(f"mlp {layer}", "mlp", layer, read, (self.mlp_source(layer),)))
        logits = Destination(LOGITS, "logits", self.n_layers, self.n_sources, (self.n_sources,))
        return (*found, logits)

    def _head_input(self, kind: str, layer: int, index: int, n_inputs: int, before: int) -> Destination:
        # Consecutive query heads share a key-value head.
        shared = self.n_heads // n_inputs
        heads = range(before + index * shared, before + (index + 1) * shared)
        of = f"L{layer}H{index}" if shared == 1 else f"L{layer}KV{index}"
        return Destination(f"{of}.{kind}", kind, layer, before, tuple(heads))

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """The names of all nodes: the sources, then the logits."""
        return (*(source.name for source in self.sources), LOGITS)

    @cached_property
    def edge_source(self) -> Int[np.ndarray, " edge"]:
        """By edge, the index of its source."""
        return np.concatenate([np.arange(d.n_sources) for d in self.destinations])

    @cached_property
    def edge_destination(self) -> Int[np.ndarray, " edge"]:
        """By edge, the index of its destination."""
        return np.repeat(np.arange(self.n_destinations), [d.n_sources for d in self.destinations])

    @cached_property
    def edge_kinds(self) -> tuple[np.ndarray, np.ndarray]:
        """By edge, the kinds of its source ("embedding", "head", "mlp") and destination."""
        sources = np.array([source.kind for source in self.sources])
        destinations = np.array([destination.kind for destination in self.destinations])
        return sources[self.edge_source], destinations[self.edge_destination]

    # How much of it there is

    @property
    def n_key_value_inputs(self) -> int:
        """How many keys (and values) of a block have inputs of their own."""
        return self.n_heads if self.ungrouped else self.n_key_value_heads

    @property
    def n_inputs(self) -> int:
        """How many query, key and value inputs a block has."""
        return self.n_heads + 2 * self.n_key_value_inputs

    @property
    def n_sources(self) -> int:
        return self.n_sources_before(self.n_layers)

    @property
    def n_nodes(self) -> int:
        return self.n_sources + 1

    @property
    def n_destinations(self) -> int:
        return self.n_layers * (self.n_inputs + 1) + 1

    @cached_property
    def n_edges(self) -> int:
        return int(self.first_edge[-1])

    def n_units(self, granularity: Granularity) -> int:
        """How many nodes or edges there are to keep or to leave out: the logits are always kept."""
        return self.n_sources if granularity == "nodes" else self.n_edges

    # Where things are

    def n_sources_before(self, layer: int) -> int:
        """How many sources have written before a block; of all blocks with layer = n_layers."""
        return 1 + layer * (self.n_heads + 1)

    def head_sources(self, layer: int) -> slice:
        """The heads of a block among the sources."""
        first = self.n_sources_before(layer)
        return slice(first, first + self.n_heads)

    def mlp_source(self, layer: int) -> int:
        """A block's MLP among the sources."""
        return self.n_sources_before(layer) + self.n_heads

    def head_inputs(self, layer: int) -> slice:
        """The query, key and value inputs of a block among the destinations."""
        first = layer * (self.n_inputs + 1)
        return slice(first, first + self.n_inputs)

    def mlp_input(self, layer: int) -> int:
        """A block's MLP among the destinations."""
        return layer * (self.n_inputs + 1) + self.n_inputs

    @property
    def logits_input(self) -> int:
        """The logits among the destinations."""
        return self.n_destinations - 1

    @cached_property
    def first_edge(self) -> Int[np.ndarray, " destination_and_end"]:
        """Where each destination's edges begin, and last where they end: destination d has first_edge[d] to
        first_edge[d + 1], one for each source that it reads."""
        return np.cumsum([0, *(d.n_sources for d in self.destinations)])

    def edge(self, source: int | np.integer, destination: int | np.integer) -> int:
        """The index of an edge, given indices of its ends."""
        return int(self.first_edge[destination] + source)

    # Names

    def edge_name(self, edge: int | np.integer) -> str:
        """`L9H6 -> L10H7.q`"""
        source = self.sources[self.edge_source[edge]].name
        return source + ARROW + self.destinations[self.edge_destination[edge]].name

    def node_index(self, name: str) -> int:
        """A node by its name; DataError with the nearest names where there is none."""
        return _found(name, self.nodes, "node")

    def destination_index(self, name: str) -> int:
        """A destination by its name; DataError with the nearest names where there is none."""
        return _found(name, [destination.name for destination in self.destinations], "input")

    def edge_index(self, name: str) -> int:
        """An edge by its name; DataError where there is none."""
        source_name, arrow, destination_name = name.partition(ARROW)
        if not arrow:
            raise DataError(f"{name!r} is not an edge", expected="SOURCE -> INPUT, as in L9H6 -> L10H7.q")
        source = self.node_index(source_name.strip())
        destination = self.destination_index(destination_name.strip())
        n_sources = self.destinations[destination].n_sources
        if source >= n_sources:
            raise DataError(
                f"there is no edge {name!r}: its source writes after its destination reads",
                expected=f"one of its {n_sources} sources, {EMBEDDING} to {self.nodes[n_sources - 1]}",
                seen=source_name.strip(),
            )
        return self.edge(source, destination)

    # Choices of nodes and edges

    def kept_edges(self, kept: Bool[np.ndarray, "mask unit"], granularity: Granularity) -> np.ndarray:
        """Which edges are kept, "mask edge", where some nodes or edges are.

        Of nodes (a row of sources): the edges between two kept ones, the logits being kept. An input that
        several heads share counts with any of them.
        """
        expected = self.n_units(granularity)
        if kept.shape[1] != expected:
            raise DataError(
                f"a choice of {granularity} has another length than this graph has {granularity}",
                expected=str(expected),
                seen=str(kept.shape[1]),
            )
        if granularity == "edges":
            return kept
        nodes = np.concatenate((kept, np.ones((len(kept), 1), dtype=bool)), axis=1)
        reads = np.stack([nodes[:, list(d.nodes)].any(axis=1) for d in self.destinations], axis=1)
        return kept[:, self.edge_source] & reads[:, self.edge_destination]

    def by_destination(
        self, per_edge: np.ndarray, destinations: slice | None = None
    ) -> Bool[np.ndarray, "mask destination source"]:
        """Kept edges as a table of destinations and the sources they read, False where there is no edge.

        Of some destinations that read equally many sources, or of all.
        """
        chosen = range(self.n_destinations)[destinations or slice(None)]
        width = max(self.destinations[d].n_sources for d in chosen)
        table = np.zeros((len(per_edge), len(chosen), width), dtype=bool)
        for row, d in enumerate(chosen):
            edges = slice(int(self.first_edge[d]), int(self.first_edge[d + 1]))
            table[:, row, : self.destinations[d].n_sources] = per_edge[:, edges]
        return table

    def connected(self, kept: Bool[np.ndarray, "mask edge"]) -> Bool[np.ndarray, "mask edge"]:
        """The kept edges that lie on a path of kept edges from the embedding to the logits."""
        reached = np.zeros((len(kept), self.n_nodes), dtype=bool)
        reached[:, 0] = True
        # Downwards: a node is reached by way of any of its inputs, in order of computation.
        for d, destination in enumerate(self.destinations):
            edges = slice(int(self.first_edge[d]), int(self.first_edge[d + 1]))
            arrives = np.any(kept[:, edges] & reached[:, : destination.n_sources], axis=1)
            reached[:, list(destination.nodes)] |= arrives[:, None]
        # Upwards: a source matters where a kept edge leads to a node that does.
        matters = np.zeros_like(reached)
        matters[:, -1] = True
        out = np.zeros_like(kept)
        for d in reversed(range(self.n_destinations)):
            destination = self.destinations[d]
            edges = slice(int(self.first_edge[d]), int(self.first_edge[d + 1]))
            onward = np.any(matters[:, list(destination.nodes)], axis=1, keepdims=True)
            out[:, edges] = kept[:, edges] & reached[:, : destination.n_sources] & onward
            matters[:, : destination.n_sources] |= out[:, edges]
        return out


def require_separable(model: HookedModel) -> None:
    """ModelError where heads write or read in a way that no sum of edges describes."""
    for block in model.decoder.blocks:
        if block.attention_post_norm is not None:
            raise ModelError(
                f"the heads of {model.name} do not write to the residual stream each by itself: "
                "a norm of their sum stands between",
                expected="a model without a norm after attention (Llama, Qwen 2 and 3, GPT-2, Pythia, Phi)",
                seen=model.anatomy.style,
            )
        if block.query_norm is not None and len(block.query_norm.weight) != block.d_head:
            raise ModelError(
                f"no head of {model.name} reads by itself: its queries are normed over all heads at once",
                expected="queries and keys that are normed head by head, or not at all",
                seen=model.anatomy.style,
            )


def _found(name: str, names: Sequence[str], what: str) -> int:
    if name in names:
        return list(names).index(name)
    raise DataError(f"the graph has no {what} {name!r}", seen=name, near=nearest(name, list(names)))
