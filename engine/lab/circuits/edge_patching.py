"""Exact patches of single edges: what attribution estimates, measured.

The base (corrupted) run goes on with what source s wrote in the source (clean) run in place of its own, in
what destination d reads and nowhere else; everything after d is computed again. That is the circuit with
every edge but one kept, whose reference is the clean run. Since all other edges carry the run itself, what
follows the destination's block is the plain forward: many edges into one block go down together.

Source: Wang et al. 2023 (path patching), Syed, Rager & Conmy 2023 (as what attribution is compared with).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.lab.circuits.circuit_forward import source_outputs
from engine.lab.circuits.graph import Graph
from engine.lab.groups import equal_length_groups
from engine.lab.patch_metrics import PatchMetric
from engine.lab.patch_pairs import PatchPairs
from engine.lab.threads import side_by_side
from engine.models.blocks import Resid
from engine.models.forward import forward
from engine.models.sites import Site
from engine.spec.sites import ATTN_OUT, MLP_OUT, RESID_PRE

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel


def edge_effects(
    model: HookedModel,
    graph: Graph,
    pairs: PatchPairs,
    edges: Int[np.ndarray, " chosen"],
    metric: PatchMetric,
    *,
    prompts_at_once: int = 2,
    tokens_at_once: int = 512,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Float[np.ndarray, "prompt chosen"]:
    """How much the metric changes where one edge of the base run is patched from the source run, each alone.

    `tokens_at_once` bounds memory: positions of all prompts and edges that are computed together.
    """
    out = np.full((len(pairs), len(edges)), np.nan)
    done = 0
    for index in equal_length_groups(pairs.last, prompts_at_once):
        runs = _Runs.of(model, graph, pairs.rows(index), metric.rows(index))
        tokens = runs.difference.shape[1] * runs.difference.shape[2]
        pieces = _pieces(graph, edges, max(1, tokens_at_once // tokens))
        found = side_by_side(runs.patched, [edges[piece] for piece in pieces], model.device)
        for piece, values in zip(pieces, found, strict=True):
            out[np.ix_(np.array(index), piece)] = (values - runs.unpatched).T.cpu().numpy()
        done += len(index)
        progress(done / len(pairs))
    return out


def _pieces(graph: Graph, edges: Int[np.ndarray, " chosen"], size: int) -> list[np.ndarray]:
    """Places in `edges` by the block that reads them, at most `size` together; attention and MLP apart."""
    # By the index of the first destination of the stage: edges of one piece join at one place.
    destinations = graph.edge_destination[edges]
    is_mlp = np.array([graph.destinations[d].kind == "mlp" for d in destinations], dtype=int)
    stage = 2 * np.array([graph.destinations[d].layer for d in destinations], dtype=int) + is_mlp
    pieces = []
    for each in np.unique(stage):
        members = np.flatnonzero(stage == each)
        pieces += [members[first : first + size] for first in range(0, len(members), size)]
    return pieces


class _Runs:
    """Both runs of a group of pairs of one length, as far as a patched run reads them."""

    def __init__(self, model: HookedModel, graph: Graph, pairs: PatchPairs, metric: PatchMetric) -> None:
        length = int(pairs.last[0]) + 1
        start = pairs.base_resid(model)[:, :length]
        self.model = model
        self.graph = graph
        self.metric = metric
        self.base = forward(model.decoder, start, read=model.sites(RESID_PRE, ATTN_OUT, MLP_OUT))
        source = source_outputs(model, graph, pairs.source_resid(model)[:, :length])
        # C_s - B_s: what a patch of any edge from s adds to what is read.
        self.difference = source - source_outputs(model, graph, start)
        self.unpatched = self.values(self.base.resid[None])[0]

    @classmethod
    def of(cls, model: HookedModel, graph: Graph, pairs: PatchPairs, metric: PatchMetric) -> _Runs:
        with torch.no_grad():
            return cls(model, graph, pairs, metric)

    def values(self, resid: Float[Tensor, "edge prompt pos d_model"]) -> Float[Tensor, "edge prompt"]:
        """The metric of some streams after the last block."""
        n_edges, n_prompts = resid.shape[:2]
        everyone = torch.arange(n_prompts, device=resid.device).repeat(n_edges)
        return self.metric.of(self.model, resid[:, :, -1].flatten(0, 1), everyone).unflatten(0, (n_edges, -1))

    def patched(self, edges: Int[np.ndarray, " piece"]) -> Float[Tensor, "edge prompt"]:
        """The metric after each patch; the edges all lead into one block's attention, or its MLP, or the
        logits."""
        graph = self.graph
        first = graph.destinations[graph.edge_destination[edges[0]]]
        added = self.difference[graph.edge_source[edges]]
        if first.kind == "logits":
            return self.values(self.base.resid + added)
        block = self.model.decoder.blocks[first.layer]
        before = self.base.activations[Site(first.layer, RESID_PRE)]
        attn_out = self.base.activations[Site(first.layer, ATTN_OUT)]
        mlp_out = self.base.activations[Site(first.layer, MLP_OUT)]
        if first.kind == "mlp":
            stream = before if graph.parallel else before + attn_out
            written = block.mlp_out((stream + added).flatten(0, 1))
            resid = (before + attn_out).repeat(len(edges), 1, 1) + written
        else:
            written = self.attention(first.layer, graph.edge_destination[edges], added)
            stream = before.repeat(len(edges), 1, 1)
            mid = stream + written
            unchanged = mlp_out.repeat(len(edges), 1, 1)
            resid = mid + (unchanged if graph.parallel else block.mlp_out(mid))
        resid = self.model.layers(resid, start=first.layer + 1)
        return self.values(resid.unflatten(0, (len(edges), -1)))

    def attention(
        self,
        layer: int,
        destinations: Int[np.ndarray, " piece"],
        added: Float[Tensor, "edge prompt pos d_model"],
    ) -> Resid:
        """What attention writes where one input of it reads something more, rows being edges by prompts."""
        graph = self.graph
        block = self.model.decoder.blocks[layer]
        before = self.base.activations[Site(layer, RESID_PRE)]
        # "edge prompt input pos d_model": every input reads the base run's stream, one of each row more.
        inputs = before[:, None].expand(-1, graph.n_inputs, -1, -1).repeat(len(destinations), 1, 1, 1, 1)
        rows = torch.arange(len(destinations), device=before.device)
        place = torch.as_tensor(destinations - graph.head_inputs(layer).start, device=before.device)
        inputs[rows, :, place] += added
        sizes = [graph.n_heads, graph.n_key_value_inputs, graph.n_key_value_inputs]
        queries, keys, values = inputs.flatten(0, 1).split(sizes, dim=1)
        span = self.model.span(before)
        z = block.attend(*block.query_key_value_apart(queries, keys, values, span), span)
        return block.attn_out(z)


def stratified_edges(graph: Graph, n: int, seed: int) -> Int[np.ndarray, " chosen"]:
    """A sample of about `n` edges, spread evenly over the kinds of source and destination, in order.

    A kind with fewer edges than its share gives all of them, and the others share what is left; with n at or
    above the number of edges all are taken.
    """
    if n >= graph.n_edges:
        return np.arange(graph.n_edges)
    rng = np.random.default_rng(seed)
    sources, destinations = graph.edge_kinds
    kinds = np.char.add(np.char.add(sources, " "), destinations)
    members = {kind: rng.permutation(np.flatnonzero(kinds == kind)) for kind in np.unique(kinds)}
    chosen: list[np.ndarray] = []
    left = n
    # Small kinds first: what they cannot give is shared out among the larger ones.
    by_size = sorted(members.values(), key=len)
    for position, edges in enumerate(by_size):
        share = -(-left // (len(by_size) - position))
        chosen.append(edges[:share])
        left -= len(chosen[-1])
    return np.sort(np.concatenate(chosen))
