"""Attribution of nodes and edges: every patch of a model's graph estimated by gradients.

Patching edge s -> d puts what s writes in the source (clean) run into what d reads of the base (corrupted)
run. To first order the metric L then changes by

    score(s -> d) = sum over positions of (C_s - B_s) . dL/dx_d

with C_s and B_s what s writes in the two runs and x_d what d reads, before its norm. The sign is denoising's:
a score is positive where putting the clean run's contribution into the corrupted run raises the metric. The
score of a node is the sum over its outgoing edges, since x_d is a sum of its sources. Methods differ in where
and how dL/dx_d is taken:

    eap                 the gradient in the base run (Syed, Rager & Conmy 2023): one forward of each run and a
                        backward
    eap_ig_inputs       its mean over `steps` runs that start between the two embeddings (Hanna, Pezzelle &
                        Belinkov 2024)
    eap_ig_activations  for the sources of one layer (its heads, or its MLP) the mean over `steps` base runs
                        in which these write something between B_s and C_s (Marks et al. 2024, Mueller et al.
                        2025)
    relp                the relevance coefficients of the base run in place of the gradient, by the rules of
                        `engine.models.propagation` (Jafari et al. 2025): as many runs as eap

Steps are at the middles of equal parts, (k - 1/2) / steps, whose error falls with the square of their number;
the papers take their ends, k / steps. One step of `eap_ig_inputs` is therefore the gradient half way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from engine.errors import DataError
from engine.lab.circuits.circuit_forward import MEMORY_MB, SourceOutputs, heads_written, source_outputs
from engine.lab.circuits.graph import Granularity, Graph
from engine.lab.groups import equal_length_groups
from engine.lab.patch_metrics import PatchMetric, patch_metric
from engine.lab.patch_pairs import PatchPairs
from engine.lab.threads import side_by_side
from engine.models.blocks import Block, Resid, Span
from engine.models.propagation import RELP, Propagation
from engine.spec.family_params import AttributionMethod

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

METHODS: tuple[AttributionMethod, ...] = get_args(AttributionMethod)
STEPS = 5
EMBEDDING_ALONE = slice(0, 1)


@dataclass(frozen=True)
class GraphScores:
    """Scores of each pair's nodes (its sources) or edges, "prompt unit", and the metric of both runs."""

    scores: Float[np.ndarray, "prompt unit"]
    base: Float[np.ndarray, " prompt"]
    source: Float[np.ndarray, " prompt"]


def attribute_graph(
    model: HookedModel,
    graph: Graph,
    pairs: PatchPairs,
    *,
    method: AttributionMethod = "eap",
    granularity: Granularity = "edges",
    steps: int = STEPS,
    metric: PatchMetric | None = None,
    rules: Propagation = RELP,
    memory_mb: float = MEMORY_MB,
    progress: Callable[[float], None] = lambda fraction: None,
) -> GraphScores:
    """Every node or edge of each pair scored; `pairs` are denoising ones (base corrupted, source clean).

    `rules` are those of relp alone, `steps` those of integrated gradients. `metric` is the logit difference
    when left out. Batches fit `memory_mb`. Raises DataError for another method, for no step, where not one
    prompt fits, or where the two runs do not differ.
    """
    _require_method(method, steps)
    whole = patch_metric(model, pairs) if metric is None else metric
    n_units = graph.n_units(granularity)
    out = GraphScores(
        np.full((len(pairs), n_units), np.nan, dtype=np.float32),
        np.full(len(pairs), np.nan),
        np.full(len(pairs), np.nan),
    )
    # The rules are those of a backward alone: nothing else sees them.
    differentiated = model.propagating(rules) if method == "relp" else model
    done = 0

    def attribute(index: list[int]) -> None:
        nonlocal done
        group = _Group.of(differentiated, graph, pairs.rows(index), whole.rows(index), granularity)
        found = group.scored(method, steps)
        out.scores[index] = found.scores
        out.base[index] = found.base
        out.source[index] = found.source
        done += len(index)
        progress(done / len(pairs))

    side_by_side(
        attribute,
        equal_length_groups(pairs.last, _prompts_at_once(model, graph, pairs, memory_mb)),
        model.device,
    )
    require_separation(out.base, out.source)
    return out


def attribution_bytes(model: HookedModel, graph: Graph, prompts: int, positions: int) -> int:
    """What one batch holds at its largest, beside the model: both runs' source outputs and their difference,
    a gradient for every destination, and what a backward keeps of the blocks."""
    shape = model.shape
    # Of each input the stream, its square, normed and weighted; of an MLP its neurons at every operation.
    streams = 3 * graph.n_sources + graph.n_destinations + 4 * shape.n_layers * graph.n_inputs
    neurons = 4 * shape.n_layers * shape.d_mlp
    return prompts * positions * (streams * shape.d_model + neurons) * model.W_U.element_size()


def _prompts_at_once(model: HookedModel, graph: Graph, pairs: PatchPairs, memory_mb: float) -> int:
    """How many of the longest prompts fit, by each of the threads; DataError where none does."""
    longest = int(pairs.last.max()) + 1
    one = attribution_bytes(model, graph, 1, longest)
    room = memory_mb * 2**20
    if one > room:
        raise DataError(
            f"the attribution of one prompt of {longest} tokens does not fit the memory limit",
            expected=f"memory_mb of at least {one / 2**20:.0f}, or shorter prompts",
            seen=f"{memory_mb:.0f}",
        )
    return max(1, min(8, int(room // (one * torch.get_num_threads()))))


def require_separation(base: Float[np.ndarray, " prompt"], source: Float[np.ndarray, " prompt"]) -> None:
    """DataError where the metric does not tell the clean runs from the corrupted ones."""
    gap = float(np.abs(source - base).max())
    # The two are sums of as many terms in different order: what rounding leaves is no difference.
    if gap > 1e-5 * max(1.0, float(np.abs(source).max())):
        return
    raise DataError(
        "the metric does not tell the clean prompts from the corrupted ones: there is nothing to attribute",
        expected="a difference of the metric between the two runs of some pair",
        seen=f"at most {gap:.2g}",
    )


def _require_method(method: str, steps: int) -> None:
    if method not in METHODS:
        raise DataError(f"{method!r} is no method of attribution", expected=", ".join(METHODS), seen=method)
    if steps < 1:
        raise DataError("integrated gradients need a step", expected="steps of at least 1", seen=str(steps))


class _Tap(NamedTuple):
    """Where a gradient is taken: what some destinations read, "destination prompt pos d_model", or the stream
    that some sources have just written to, "1 prompt pos d_model". `units` are those destinations or sources.
    """

    units: slice
    value: Tensor


class _Backward(NamedTuple):
    """A forward and a backward: the metric, its gradient at every tap, and what each source wrote."""

    values: Float[Tensor, " prompt"]
    gradients: list[_Tap]
    outputs: SourceOutputs | None


@dataclass(frozen=True)
class _Group:
    """Pairs of one length: the streams before block 0 of both runs, and what the sources write in one."""

    model: HookedModel
    graph: Graph
    metric: PatchMetric
    granularity: Granularity
    start: Resid
    end: Resid
    source: SourceOutputs

    @classmethod
    def of(
        cls,
        model: HookedModel,
        graph: Graph,
        pairs: PatchPairs,
        metric: PatchMetric,
        granularity: Granularity,
    ) -> _Group:
        length = int(pairs.last[0]) + 1
        end = pairs.source_resid(model)[:, :length]
        # 1. The source run: C_s.
        source = source_outputs(model, graph, end)
        return cls(model, graph, metric, granularity, pairs.base_resid(model)[:, :length], end, source)

    def scored(self, method: AttributionMethod, steps: int) -> GraphScores:
        """Scores by one method, with the metric of both runs."""
        middles = [(k + 0.5) / steps for k in range(steps)]
        # 2. The base run: B_s; and dL/dx_d there, or between the runs.
        if method == "eap_ig_inputs":
            base = source_outputs(self.model, self.graph, self.start)
            way = self.end - self.start
            runs = [self.backward(self.start + portion * way).gradients for portion in middles]
            gradients = [
                _Tap(taps[0].units, torch.stack([tap.value for tap in taps]).mean(0))
                for taps in zip(*runs, strict=True)
            ]
            scores = self.products(self.source - base, gradients)
        elif method == "eap_ig_activations":
            base = source_outputs(self.model, self.graph, self.start)
            scores = self.by_activation(base, middles)
        else:
            run = self.backward(self.start, keep_outputs=True)
            assert run.outputs is not None
            base = run.outputs
            scores = self.products(self.source - base, run.gradients)
        base_value, source_value = (
            # What the logits read is the sum of all sources, and of the biases.
            self.objective(outputs.sum(0) + self.biases(self.graph.n_layers)).detach().cpu().numpy()
            for outputs in (base, self.source)
        )
        return GraphScores(scores.float().cpu().numpy(), base_value, source_value)

    def by_activation(self, base: SourceOutputs, middles: list[float]) -> Float[Tensor, "prompt unit"]:
        """Scores by gradients between B_s and C_s of one layer's sources at a time, the rest being base."""
        graph = self.graph
        difference = self.source - base
        scores = base.new_zeros(base.shape[1], graph.n_units(self.granularity))
        for sources, stage, n_before in _turns(graph):
            # The base run's stream where these sources have written, and what they would add of the source's.
            stream = base[:n_before].sum(0) + self.biases((stage + 1) // 2)
            added = difference[sources].sum(0)
            for portion in middles:
                run = self.backward(stream + portion * added, first_stage=stage, writers=sources)
                found = self.products(difference[sources], run.gradients, sources.start)
                scores += found / len(middles)
        return scores

    def objective(self, resid: Resid) -> Float[Tensor, " prompt"]:
        everyone = torch.arange(len(resid), device=resid.device)
        return self.metric.of(self.model, resid[:, -1], everyone)

    def biases(self, n_layers: int) -> Float[Tensor, " d_model"]:
        """The output biases of attention of the first blocks, which belong to no head."""
        first = [self.model.b_O(layer) for layer in range(n_layers)]
        return torch.stack([*first, torch.zeros_like(self.model.b_O(0))]).sum(0)

    def backward(
        self,
        resid: Resid,
        *,
        first_stage: int = 0,
        writers: slice = EMBEDDING_ALONE,
        keep_outputs: bool = False,
    ) -> _Backward:
        """A forward from a stage on (2l: attention of block l, 2l + 1: its MLP), and gradients at its taps.

        Edges are tapped where they are read, each input apart; nodes where they are written. `writers` have
        just written to `resid`.
        """
        outputs = resid.new_empty(self.graph.n_sources, *resid.shape) if keep_outputs else None
        with torch.enable_grad():
            # Parameters require no gradient, so that the graph has to begin at the stream itself.
            resid = resid.detach().requires_grad_()
            if outputs is not None:
                outputs[0] = resid.detach()
            resid, taps = self.forward(resid, first_stage, writers, outputs)
            values = self.objective(resid)
            # Rows of a batch do not see each other, so that the sum gives each its own gradient.
            found = torch.autograd.grad(values.sum(), [tap.value for tap in taps])
        gradients = [_Tap(tap.units, gradient) for tap, gradient in zip(taps, found, strict=True)]
        return _Backward(values.detach(), gradients, outputs)

    def forward(
        self, resid: Resid, first_stage: int, writers: slice, outputs: Tensor | None
    ) -> tuple[Resid, list[_Tap]]:
        """The stream after the last block, and the taps on the way there."""
        graph = self.graph
        by_edge = self.granularity == "edges"
        taps: list[_Tap] = []

        def tapped(resid: Resid, units: slice, copies: int = 1) -> Float[Tensor, "copy prompt pos d_model"]:
            # A view of its own: its gradient is that of what reads it alone. `expand` copies nothing.
            taps.append(_Tap(units, resid.expand(copies, *resid.shape)))
            return taps[-1].value

        def written(resid: Resid, sources: slice) -> Resid:
            # To a node's gradient all that reads the stream from here on counts.
            return resid if by_edge else tapped(resid, sources)[0]

        span = self.model.span(resid)
        resid = written(resid, writers)
        for layer in range(first_stage // 2, graph.n_layers):
            block = self.model.decoder.blocks[layer]
            mlp = graph.mlp_source(layer)
            resid_pre = resid
            if 2 * layer >= first_stage:
                if by_edge:
                    inputs = tapped(resid, graph.head_inputs(layer), graph.n_inputs).transpose(0, 1)
                    z = _attended_apart(block, graph, inputs, span)
                else:
                    z = block.attend(*block.query_key_value(resid, span), span)
                if outputs is not None:
                    outputs[graph.head_sources(layer)] = heads_written(self.model, layer, z.detach())
                resid = resid + block.attn_out(z)
                if not graph.parallel:
                    resid = written(resid, graph.head_sources(layer))
            # A parallel MLP reads what attention reads.
            read = resid_pre if graph.parallel else resid
            if by_edge:
                place = graph.mlp_input(layer)
                read = tapped(read, slice(place, place + 1))[0]
            mlp_out = block.mlp_out(read)
            if outputs is not None:
                outputs[mlp] = mlp_out.detach()
            # The heads of a parallel block and its MLP write to one stream.
            first = graph.n_sources_before(layer) if graph.parallel else mlp
            resid = written(resid + mlp_out, slice(first, mlp + 1))
        if by_edge:
            resid = tapped(resid, slice(graph.logits_input, graph.logits_input + 1))[0]
        return resid, taps

    def products(
        self, difference: SourceOutputs, gradients: list[_Tap], first_source: int = 0
    ) -> Float[Tensor, "prompt unit"]:
        """(C_s - B_s) . dL/dx_d of every edge, or . dL/dstream of every node, of the sources from
        `first_source` on that `difference` has; 0 for all others."""
        graph = self.graph
        end = first_source + len(difference)
        by_prompt = difference.transpose(0, 1).flatten(2)  # "prompt source place"
        scores = difference.new_zeros(len(by_prompt), graph.n_units(self.granularity))
        for units, gradient in gradients:
            by_place = gradient.transpose(0, 1).flatten(2)
            if self.granularity == "nodes":
                chosen = slice(max(units.start, first_source), min(units.stop, end))
                here = slice(chosen.start - first_source, chosen.stop - first_source)
                if chosen.start < chosen.stop:
                    scores[:, chosen] = (by_prompt[:, here] @ by_place.mT)[..., 0]
                continue
            read = min(graph.destinations[units.start].n_sources, end)
            found = by_place @ by_prompt[:, : read - first_source].mT  # "prompt destination source"
            # A destination's edges are in order of their sources.
            edges = torch.as_tensor(graph.first_edge[units], device=found.device)[:, None]
            edges = edges + torch.arange(first_source, read, device=found.device)
            scores[:, edges.flatten()] = found.flatten(1)
        return scores


def _attended_apart(
    block: Block, graph: Graph, inputs: Float[Tensor, "prompt input pos d_model"], span: Span
) -> Float[Tensor, "prompt pos head d_head"]:
    """z of heads that read streams of their own: queries, then keys, then values."""
    queries, keys, values = inputs.split(
        [graph.n_heads, graph.n_key_value_inputs, graph.n_key_value_inputs], dim=1
    )
    return block.attend(*block.query_key_value_apart(queries, keys, values, span), span)


def _turns(graph: Graph) -> Iterator[tuple[slice, int, int]]:
    """The sources of each layer that write together, the stage that reads them first, and how many sources
    have written by then."""
    yield slice(0, 1), 0, 1
    for layer in range(graph.n_layers):
        mlp = graph.mlp_source(layer)
        after = (2 * layer + 2, mlp + 1)
        yield graph.head_sources(layer), *(after if graph.parallel else (2 * layer + 1, mlp))
        yield slice(mlp, mlp + 1), *after
