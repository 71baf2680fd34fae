"""Causal scrubbing as it is defined, by recursion: what `scrubbed` must equal.

One prompt at a time. A node's inputs are summed source by source, of whole plain runs, and every node is
computed anew wherever it is read; only the draws are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.lab.circuits.circuit_forward import source_outputs
from engine.lab.circuits.graph import Graph
from engine.lab.circuits.scrubbing import ScrubbingHypothesis, ScrubDraws

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel


@torch.no_grad()
def slow_scrubbed(
    model: HookedModel,
    graph: Graph,
    prompts: Int[Tensor, "prompt pos"],
    hypothesis: ScrubbingHypothesis,
    draws: ScrubDraws,
    prompt: int,
) -> Float[Tensor, " d_model"]:
    """The last stream of one of some prompts of one length, unpadded."""
    outputs = source_outputs(model, graph, model.embed(prompts))
    n_prompts = len(prompts)

    def bias(layer: int, is_mlp: bool) -> Float[Tensor, " d_model"]:
        """What attention's output biases have written before an input of a block reads."""
        n_blocks = layer + (is_mlp and not graph.parallel)
        total = torch.zeros(model.shape.d_model)
        for before in range(n_blocks):
            total = total + model.b_O(before)
        return total

    def value(node: int, x: int) -> Float[Tensor, "pos d_model"]:
        """What a node that matters writes for the prompt x."""
        source = graph.sources[node]
        if source.kind == "embedding":
            return outputs[0, x]
        block = model.decoder.blocks[source.layer]
        if source.kind == "mlp":
            return block.mlp_out(read(node, graph.mlp_input(source.layer), x)[None])[0]
        first = graph.head_inputs(source.layer).start + source.head
        streams = [read(node, first + kind * graph.n_heads, x)[None] for kind in range(3)]
        # Whole blocks, of which this head takes its part, keys and values repeated for each query head.
        span = model.span(streams[0])
        query, key, value = (block.query_key_value(s, span)[i] for i, s in enumerate(streams))
        shared = graph.n_heads // graph.n_key_value_heads
        whole = block.attend(
            query, key.repeat_interleave(shared, dim=1), value.repeat_interleave(shared, dim=1), span
        )
        return whole[0, :, source.head] @ model.W_O(source.layer)[source.head]

    def read(reader: int, destination: int, x: int) -> Float[Tensor, "pos d_model"]:
        """The sum of all sources, each of the prompt that was drawn for it."""
        place = graph.destinations[destination]
        other = int(draws.unrelated(graph, reader, n_prompts)[x])
        total = bias(place.layer, place.kind == "mlp").expand(prompts.shape[1], -1)
        for source in range(place.n_sources):
            if hypothesis.edges[graph.edge(source, destination)]:
                drawn = draws.within(reader, source, hypothesis.classes[source])
                total = total + value(source, int(drawn[x]))
            else:
                total = total + outputs[source, other]
        return total

    return read(graph.n_sources, graph.logits_input, prompt)[-1]
