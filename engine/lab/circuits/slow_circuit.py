"""A circuit's forward written out edge by edge: what `circuit_forward` must equal.

One prompt and one circuit. Every destination's input is summed source by source, and every head is computed
by itself from three whole forwards of its block's projections, of which it takes its own part: nothing is
shared with the fast path but the block's own functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine.lab.circuits.graph import Graph

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel


@torch.no_grad()
def slow_circuit(
    model: HookedModel,
    graph: Graph,
    start: Float[Tensor, "pos d_model"],
    reference: Float[Tensor, "source pos d_model"],
    kept: Bool[np.ndarray, " edge"],
) -> Float[Tensor, "pos d_model"]:
    """What the logits read of one prompt under one circuit."""
    written = [start]
    bias = torch.zeros_like(start)
    span = model.span(start[None])

    def read(destination: int) -> Float[Tensor, "1 pos d_model"]:
        """x_d: the sum of its sources, of this run where the edge is kept, else the reference; and biases."""
        total = bias.clone()
        for source in range(graph.destinations[destination].n_sources):
            edge = graph.edge(source, destination)
            total = total + (written[source] if kept[edge] else reference[source])
        return total[None]

    for layer in range(graph.n_layers):
        block = model.decoder.blocks[layer]
        first = graph.head_inputs(layer).start
        n_keys = graph.n_key_value_inputs
        heads = []
        for head in range(graph.n_heads):
            # Which input a head's key is read through, and which key-value head it is.
            shared = head * n_keys // graph.n_heads
            key_head = head * graph.n_key_value_heads // graph.n_heads
            query_input = first + head
            key_input = first + graph.n_heads + shared
            query = block.query_key_value(read(query_input), span)[0][:, [head]]
            key = block.query_key_value(read(key_input), span)[1][:, [key_head]]
            value = block.query_key_value(read(key_input + n_keys), span)[2][:, [key_head]]
            z = block.attend(query, key, value, span)[0, :, 0]
            heads.append(z @ model.W_O(layer)[head])
        if graph.parallel:
            mlp_out = block.mlp_out(read(graph.mlp_input(layer)))[0]
            written += [*heads, mlp_out]
            bias = bias + model.b_O(layer)
        else:
            written += heads
            bias = bias + model.b_O(layer)
            written.append(block.mlp_out(read(graph.mlp_input(layer)))[0])
    return read(graph.logits_input)[0]
