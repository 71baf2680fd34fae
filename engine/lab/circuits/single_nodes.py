"""One node of a graph by itself: what it reads in a plain run, and what it writes given its inputs.

Scrubbing and path patching give a node inputs that no single run has. What they change is a few sources of
many, so that a changed input is the plain stream plus differences: no sum over all sources is needed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from engine.lab.circuits.circuit_forward import heads_written
from engine.lab.circuits.graph import Graph, require_separable
from engine.models.forward import forward
from engine.models.sites import Site
from engine.spec.sites import MLP_OUT, RESID_MID, RESID_PRE, Z

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

Stream = Float[Tensor, "prompt pos d_model"]


@dataclass(frozen=True)
class PlainRun:
    """What some nodes read and write in the plain run of some prompts of one length.

    `streams` are what their inputs read, by layer and whether it is an MLP's; `written` is by source. `last`
    is what the logits read.
    """

    graph: Graph
    streams: dict[tuple[int, bool], Stream]
    written: dict[int, Stream]
    last: Stream

    def read_by(self, destination: int) -> Stream:
        """The stream that an input of one of the nodes reads, biases included."""
        place = self.graph.destinations[destination]
        if place.kind == "logits":
            return self.last
        return self.streams[place.layer, place.kind == "mlp"]


@torch.no_grad()
def plain_run(model: HookedModel, graph: Graph, start: Stream, nodes: Collection[int]) -> PlainRun:
    """The plain run from the stream `start` before block 0, read at `nodes` (indices of sources)."""
    require_separable(model)
    sources = {node: graph.sources[node] for node in nodes}
    # A parallel MLP reads what attention reads.
    mlp_reads = RESID_PRE if graph.parallel else RESID_MID
    read = set()
    for source in sources.values():
        if source.kind == "head":
            read |= {Site(source.layer, RESID_PRE), Site(source.layer, Z)}
        elif source.kind == "mlp":
            read |= {Site(source.layer, mlp_reads), Site(source.layer, MLP_OUT)}
    run = forward(model.decoder, start, read=sorted(read, key=str))
    streams = {}
    written = {}
    for node, source in sources.items():
        if source.kind == "embedding":
            written[node] = start
        elif source.kind == "head":
            streams[source.layer, False] = run.activations[Site(source.layer, RESID_PRE)]
            z = run.activations[Site(source.layer, Z)]
            written[node] = heads_written(model, source.layer, z)[source.head]
        else:
            streams[source.layer, True] = run.activations[Site(source.layer, mlp_reads)]
            written[node] = run.activations[Site(source.layer, MLP_OUT)]
    return PlainRun(graph, streams, written, run.resid)


def inputs_of(graph: Graph, node: int) -> tuple[int, ...]:
    """The destinations that a node reads by: q, k, v of a head, one of an MLP or the logits, else none."""
    if node == graph.n_sources:
        return (graph.logits_input,)
    source = graph.sources[node]
    if source.kind == "mlp":
        return (graph.mlp_input(source.layer),)
    if source.kind == "embedding":
        return ()
    first = graph.head_inputs(source.layer).start
    # Consecutive query heads share a key-value input, unless each has its own.
    shared = source.head * graph.n_key_value_inputs // graph.n_heads
    keys = first + graph.n_heads + shared
    return (first + source.head, keys, keys + graph.n_key_value_inputs)


@torch.no_grad()
def node_written(model: HookedModel, graph: Graph, node: int, inputs: list[Stream]) -> Stream:
    """What a head or an MLP writes, given what each of its inputs reads (in the order of `inputs_of`)."""
    source = graph.sources[node]
    block = model.decoder.blocks[source.layer]
    if source.kind == "mlp":
        return block.mlp_out(inputs[0])
    span = model.span(inputs[0])
    heads = slice(source.head, source.head + 1)
    # Which key-value head it is, whatever its inputs are shared with.
    own = source.head * graph.n_key_value_heads // graph.n_heads
    query, key, value = (block.query_key_value(stream, span)[part] for part, stream in enumerate(inputs))
    z = block.attend(query[:, heads], key[:, own : own + 1], value[:, own : own + 1], span)
    return z[:, :, 0] @ model.W_O(source.layer)[source.head]
