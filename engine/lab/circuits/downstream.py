"""What another input of one part does to a circuit's metric, computed where it makes a difference and nowhere
else.

A sweep from the logits upwards (ACDC) changes the inputs of one destination at a time. Nothing before that
destination has changed yet; behind it only kept edges lead on. So of a forward what is computed is

- the parts that a changed source reaches by kept edges, and of a head the inputs that change,
- positions from the first one on at which any source differs from the reference,
- the last position alone, of parts that no key or value of a later head reads,

and many inputs at once, a row each. Everything else is this circuit's run, which is kept beside: inputs of
the parts behind, their queries, keys and values, and what they write.

The values equal those of `circuit_forward` on the same edges.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine.lab.circuits.circuit_forward import ReferenceRun, circuit_forward
from engine.lab.circuits.graph import HEAD_INPUTS, Destination, Graph
from engine.lab.patch_metrics import PatchMetric
from engine.lab.patch_pairs import PatchPairs
from engine.models.blocks import Span
from engine.models.forward import NO_PREFIX, KVPrefix, forward

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

Rows = Float[Tensor, "row prompt pos d_model"]
"""Some inputs of a destination, at the positions that matter there."""


@dataclass(frozen=True)
class Matters:
    """Which nodes and destinations still reach the logits, and where more than the last position matters.

    Known of a node once all destinations behind it are decided.
    """

    graph: Graph
    kept: Bool[np.ndarray, "destination source"]
    alive: Bool[np.ndarray, " destination"]
    everywhere: Bool[np.ndarray, " destination"]
    node_alive: Bool[np.ndarray, " node"]
    node_everywhere: Bool[np.ndarray, " node"]

    @classmethod
    def of(cls, graph: Graph, kept: Bool[np.ndarray, "destination source"]) -> Matters:
        sizes = (graph.n_destinations, graph.n_destinations, graph.n_nodes, graph.n_nodes)
        found = cls(graph, kept, *(np.zeros(size, dtype=bool) for size in sizes))
        found.node_alive[-1] = True
        return found

    def look_ahead(self, d: int) -> None:
        """What matters of a destination, by way of the nodes that it is an input of."""
        destination = self.graph.destinations[d]
        for node in destination.nodes:
            if node < self.graph.n_sources:
                readers = self.kept[:, node] & self.alive
                self.node_alive[node] = readers.any()
                self.node_everywhere[node] = (readers & self.everywhere).any()
        nodes = list(destination.nodes)
        self.alive[d] = self.node_alive[nodes].any()
        # Keys and values of every position are read by a later query; a query or an MLP only passes its own
        # position on.
        self.everywhere[d] = destination.kind in ("k", "v") or self.node_everywhere[nodes].any()


@dataclass
class Downstream:
    """The run of one circuit over pairs of one length, to be changed from the logits upwards.

    `kept` is the circuit, shared with whoever sweeps over it. `differences` are what each source writes more
    than its reference, positions from `first` on; a source before the present destination writes what it does
    in the circuit that the sweep began with. `inputs` are what the destinations reached so far read, and
    `projected` the queries, keys and values made of them.
    """

    model: HookedModel
    graph: Graph
    metric: PatchMetric
    kept: Bool[np.ndarray, "destination source"]
    first: int
    last: int
    reference: Float[Tensor, "source prompt pos d_model"]
    differences: Float[Tensor, "source prompt pos d_model"]
    early: KVPrefix
    inputs: dict[int, Tensor] = field(default_factory=dict)
    projected: dict[int, Tensor] = field(default_factory=dict)
    matters: Matters = field(init=False)
    spans: dict[bool, Span] = field(init=False)

    def __post_init__(self) -> None:
        self.matters = Matters.of(self.graph, self.kept)
        # Masks and angles depend on positions alone: those of all positions (True), and of the last one.
        every = self.reference[0]
        self.spans = {
            True: self.model.span(every, first_position=self.first),
            False: self.model.span(every[:, -1:], first_position=self.last),
        }

    @classmethod
    def of(
        cls,
        model: HookedModel,
        graph: Graph,
        pairs: PatchPairs,
        metric: PatchMetric,
        reference: ReferenceRun,
        kept: Bool[np.ndarray, "destination source"],
    ) -> Downstream:
        """The run of a circuit over pairs of one length (source: clean, base: corrupted)."""
        last = int(pairs.last[0])
        start = pairs.source_resid(model)[:, : last + 1]
        replaced = reference.outputs(model, graph, pairs)
        edges = kept[graph.edge_destination, graph.edge_source]
        run = circuit_forward(model, graph, start, replaced, edges[None])
        differences = torch.cat(((start - replaced[0])[None], run.differences[0]))
        first = _first_difference(differences[0]) if reference.name == "corrupted" else 0
        early = forward(model.decoder, start[:, :first], keep_prefix=True).prefix if first else NO_PREFIX
        # Copies, so that the tensors over all positions are let go of.
        ours = (replaced[:, :, first:].clone(), differences[:, :, first:].clone())
        return cls(model, graph, metric, kept, first, last, *ours, early)

    # The sweep's steps

    def enter(self, d: int) -> bool:
        """Make ready for a destination whose later ones are all decided; False where it changes nothing.

        A destination of nodes that nothing kept leads on from has no effect, whatever it reads.
        """
        together = self._computed_together(d)
        for other in together:
            self.matters.look_ahead(other)
        if not self.matters.alive[d]:
            return False
        for other in together:
            if self.matters.alive[other] and other not in self.inputs:
                self.inputs[other] = self._read(other)
                self._project_own(other)
        return True

    def without(self, d: int, sources: Sequence[int]) -> Rows:
        """What a destination reads after sources are cut one after the other: row j lacks the first j + 1."""
        # A source whose edge is cut is read from the reference: C_s becomes R_s, so that C_s - R_s goes.
        gone = self.differences[list(sources)][:, :, self._places(d)]
        return self.inputs[d] - gone.cumsum(0)

    def values(self, d: int, x: Rows) -> Float[Tensor, "row prompt"]:
        """The metric of each prompt where a destination reads `x`."""
        return self._metric_of(self._run(d, x, keep=False))

    def own_values(self) -> Float[Tensor, " prompt"]:
        """The metric of each prompt in the run as it is; the logits must have been entered."""
        return self._metric_of(self.inputs[self.graph.logits_input][None, :, -1])[0]

    def put(self, d: int, x: Float[Tensor, "prompt pos d_model"]) -> None:
        """From now on a destination reads `x`, and everything behind it what follows from that."""
        self._run(d, x[None], keep=True)

    def _metric_of(self, resid: Float[Tensor, "row prompt d_model"]) -> Float[Tensor, "row prompt"]:
        n_rows, n_prompts = resid.shape[:2]
        everyone = torch.arange(n_prompts, device=resid.device).repeat(n_rows)
        return self.metric.of(self.model, resid.flatten(0, 1), everyone).unflatten(0, (n_rows, n_prompts))

    def _places(self, d: int) -> slice:
        """The positions of a destination that matter, counted from `first`."""
        return slice(None) if self.matters.everywhere[d] else slice(-1, None)

    def _node_places(self, node: int) -> slice:
        return slice(None) if self.matters.node_everywhere[node] else slice(-1, None)

    def _computed_together(self, d: int) -> list[int]:
        """The inputs that are made ready with a destination: those of its block's attention, or itself."""
        destination = self.graph.destinations[d]
        if destination.kind not in HEAD_INPUTS:
            return [d]
        inputs = self.graph.head_inputs(destination.layer)
        return list(range(inputs.start, inputs.stop))

    # The circuit's own run

    def _read(self, d: int) -> Float[Tensor, "prompt pos d_model"]:
        """x_d = sum_s R_s + biases + sum_s k_ds (C_s - R_s), where nothing before d has changed."""
        destination = self.graph.destinations[d]
        n_sources = destination.n_sources
        at = self._places(d)
        weights = torch.as_tensor(self.kept[d, :n_sources], device=self.reference.device)
        own = torch.einsum(
            "s,sbpm->bpm",
            weights.to(self.reference.dtype),
            self.differences[:n_sources, :, at],
        )
        # Attention's output biases belong to no head: all that were added before are read.
        n_blocks = destination.layer + (destination.kind == "mlp" and not self.graph.parallel)
        biases = sum(self.model.b_O(layer) for layer in range(n_blocks))
        return self.reference[:n_sources, :, at].sum(0) + biases + own

    def _project_own(self, d: int) -> None:
        destination = self.graph.destinations[d]
        if destination.kind in HEAD_INPUTS:
            self.projected[d] = self._project(destination, [d], self.inputs[d][None, None])[0][0]

    # A forward of what changes

    def _run(self, d: int, x: Rows, keep: bool) -> Float[Tensor, "row prompt d_model"]:
        """What the logits read at the last position where d reads `x`; with `keep`, that becomes the run."""
        graph = self.graph
        begin = graph.destinations[d]
        changed: dict[int, Tensor] = {}
        new = {d: x}
        for layer in range(begin.layer, graph.n_layers):
            if layer > begin.layer:
                inputs = graph.head_inputs(layer)
                new = self._new_inputs(range(inputs.start, inputs.stop), changed, keep)
            elif keep:
                self.inputs[d] = x[0]
            if new and not (layer == begin.layer and begin.kind == "mlp"):
                self._change_heads(layer, new, changed, keep)
            place = graph.mlp_input(layer)
            if layer > begin.layer or begin.kind != "mlp":
                new = self._new_inputs([place], changed, keep)
            if place in new:
                written = self.model.mlp_out(layer, new[place].flatten(0, 1)).unflatten(0, x.shape[:2])
                self._change(graph.mlp_source(layer), written, changed, keep)
        if begin.kind == "logits":
            if keep:
                self.inputs[d] = x[0]
            return x[:, :, -1]
        place = graph.logits_input
        new = self._new_inputs([place], changed, keep)
        resid = new[place] if place in new else self.inputs[place].expand(len(x), -1, -1, -1)
        return resid[:, :, -1]

    def _new_inputs(
        self, destinations: Iterable[int], changed: dict[int, Tensor], keep: bool
    ) -> dict[int, Tensor]:
        """Inputs of those destinations that a changed source reaches by a kept edge."""
        found = {}
        for d in destinations:
            if d not in self.inputs:
                continue
            read = [s for s in changed if self.kept[d, s]]
            if not read:
                continue
            at = self._places(d)
            total = self.inputs[d] + changed[read[0]][:, :, at]
            for s in read[1:]:
                total += changed[s][:, :, at]
            found[d] = total
            if keep:
                self.inputs[d] = total[0]
        return found

    def _change_heads(
        self, layer: int, new: dict[int, Tensor], changed: dict[int, Tensor], keep: bool
    ) -> None:
        """What the heads of a block write whose inputs are new."""
        graph = self.graph
        block = self.model.decoder.blocks[layer]
        own = graph.head_inputs(layer).start
        projected: dict[int, Tensor] = {}
        for kind in HEAD_INPUTS:
            these = [d for d in new if graph.destinations[d].kind == kind]
            # Queries of some heads are needed at the last position alone.
            for everywhere in (True, False):
                group = [d for d in these if self.matters.everywhere[d] == everywhere]
                if group:
                    stacked = torch.stack([new[d] for d in group])
                    result = self._project(graph.destinations[group[0]], group, stacked)
                    projected |= dict(zip(group, result, strict=True))
        n_rows, n_prompts = next(iter(new.values())).shape[:2]

        def rows_of(d: int) -> Float[Tensor, "row_and_prompt pos d_head"]:
            if d in projected:
                return projected[d].flatten(0, 1)
            value = self.projected[d]
            return value.expand(n_rows, *value.shape).flatten(0, 1)

        first_head = graph.head_sources(layer).start
        matters = self.matters
        nodes = {node for d in new for node in graph.destinations[d].nodes if matters.node_alive[node]}
        for everywhere in (True, False):
            heads = sorted(
                node - first_head for node in nodes if self.matters.node_everywhere[node] == everywhere
            )
            if not heads:
                continue
            shared = [graph.n_heads + head * graph.n_key_value_inputs // graph.n_heads for head in heads]
            query = torch.stack([rows_of(own + head) for head in heads], dim=1)
            key = torch.stack([rows_of(own + i) for i in shared], dim=1)
            value = torch.stack([rows_of(own + i + graph.n_key_value_inputs) for i in shared], dim=1)
            key, value = self._with_early(layer, heads, key, value)
            z = block.attend(query, key, value, self.spans[everywhere])
            written = torch.einsum("bphd,hdm->hbpm", z, block.W_O[heads])
            for head, each in zip(heads, written, strict=True):
                self._change(first_head + head, each.unflatten(0, (n_rows, n_prompts)), changed, keep)
        if keep:
            for d, value in projected.items():
                self.projected[d] = value[0]

    def _change(self, node: int, written: Rows, changed: dict[int, Tensor], keep: bool) -> None:
        """How much more a node writes than in this circuit's run."""
        at = self._node_places(node)
        difference = written - self.reference[node][:, at]
        changed[node] = difference - self.differences[node][:, at]
        if keep:
            self.differences[node, :, at] = difference[0]

    def _project(
        self, like: Destination, group: list[int], x: Float[Tensor, "input row prompt pos d_model"]
    ) -> Float[Tensor, "input row prompt pos d_head"]:
        """Queries, keys or values of inputs of one kind and one block, positions applied."""
        graph = self.graph
        block = self.model.decoder.blocks[like.layer]
        kind = HEAD_INPUTS.index(like.kind)
        projection = block.projections_by_head[kind]
        before = (0, graph.n_heads, graph.n_heads + graph.n_key_value_inputs)[kind]
        offset = graph.head_inputs(like.layer).start + before
        n_inputs = graph.n_heads if like.kind == "q" else graph.n_key_value_inputs
        which = [(d - offset) * len(projection.weight) // n_inputs for d in group]
        flat = x.flatten(1, 2)  # "input row_and_prompt pos d_model"
        normed = flat if block.attention_norm is None else block.attention_norm(flat)
        out = torch.einsum("ibpm,imd->ibpd", normed, projection.weight[which])
        if projection.bias is not None:
            out = out + projection.bias[which][:, None, None]
        span = self.spans[bool(self.matters.everywhere[group[0]])]
        return block.with_positions(like.kind, out, span).unflatten(1, x.shape[1:3])

    def _with_early(self, layer: int, heads: list[int], key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values with those of the positions in front, at which every circuit is the same."""
        if not self.first:
            return key, value
        graph = self.graph
        which = [head * graph.n_key_value_heads // graph.n_heads for head in heads]
        n_rows = len(key) // len(self.early.keys[layer])
        in_front = [
            part[layer][:, which].repeat(n_rows, 1, 1, 1) for part in (self.early.keys, self.early.values)
        ]
        return torch.cat((in_front[0], key), dim=2), torch.cat((in_front[1], value), dim=2)


def _first_difference(embedding: Float[Tensor, "prompt pos d_model"]) -> int:
    """The first position where two runs can differ, given how their embeddings do."""
    # Tokens that are the same embed exactly alike, and so does all that is computed of them alone: of later
    # parts there is no need to look at numbers, which rounding would make differ.
    differs = (embedding != 0).any(-1).any(0)
    return int(differs.long().argmax()) if bool(differs.any()) else embedding.shape[1] - 1
