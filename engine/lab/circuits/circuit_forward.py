"""One forward of a circuit: a part reads some sources from this run and the others from a reference run.

Let C_s be what source s writes in this run, R_s what it writes in the reference run, and k_ds whether the
edge from s to d is kept. Destination d (the query input of a head, an MLP, the logits) reads

    x_d = sum_s k_ds C_s + (1 - k_ds) R_s + biases  =  sum_s R_s + biases + sum_s k_ds (C_s - R_s)

and its norm is applied to that sum. Source by source only the difference C_s - R_s is kept, so that all
inputs of a block are one product of the table k with the differences so far, for many circuits (masks) at
once. With every edge kept this is the plain forward, with none the reference's.

`circuit_values` does this for prompts of any length, in batches that fit a memory limit.

Source: Wang et al. 2023 (path patching), Conmy et al. 2023 (ACDC), Miller, Chughtai & Saunders 2024
("Transformer Circuit Faithfulness Metrics Are Not Robust": edges, not nodes), Mueller et al. 2025 (MIB).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.errors import DataError
from engine.lab.circuits.graph import Graph, require_separable
from engine.lab.groups import equal_length_groups
from engine.lab.patch_metrics import PatchMetric
from engine.lab.patch_pairs import PatchPairs
from engine.models.forward import forward
from engine.models.sites import Site
from engine.spec.sites import MLP_OUT, Z

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

ReferenceName = Literal["corrupted", "mean", "zero"]
SourceOutputs = Float[Tensor, "source prompt pos d_model"]
"""What each source of a graph writes to the residual stream."""
MEMORY_MB = 512
STEP = 0.1


@dataclass(frozen=True)
class ReferenceRun:
    """Where the outputs of sources are from whose edge is not kept.

    `corrupted`: the run of each pair's base prompt. `mean`: the mean over a reference set, by the role of the
    token (`role` is "prompt pos", `means` "source role d_model"; see `mean_reference`). `zero`: nothing is
    written; attention's output bias, which belongs to no head, is read all the same.
    """

    name: ReferenceName = "corrupted"
    means: Float[Tensor, "source role d_model"] | None = field(default=None, repr=False)
    role: Int[Tensor, "prompt pos"] | None = field(default=None, repr=False)

    def rows(self, index: Sequence[int] | np.ndarray | Tensor) -> ReferenceRun:
        """The reference for the prompts at `index`."""
        if self.role is None:
            return self
        return ReferenceRun(self.name, self.means, self.role[torch.as_tensor(index, device=self.role.device)])

    def outputs(self, model: HookedModel, graph: Graph, pairs: PatchPairs) -> SourceOutputs:
        """What the sources write in place of pairs of one length, whose base is the corrupted prompt."""
        length = int(pairs.last[0]) + 1
        if self.name == "corrupted":
            return source_outputs(model, graph, pairs.base_resid(model)[:, :length])
        if self.name == "zero":
            like = pairs.source_resid(model)[:, :length]
            return like.new_zeros(graph.n_sources, *like.shape)
        if self.means is None or self.role is None:
            raise DataError("a mean reference needs the means", expected="mean_reference(...)", seen="none")
        return self.means[:, self.role[:, :length]]


@dataclass(frozen=True)
class CircuitPass:
    """One forward of some circuits.

    `resid` is what the logits read, `differences` what each source that was computed writes more than in the
    reference run: those from `shared` on, where that many are the same for all masks.
    """

    resid: Float[Tensor, "mask prompt pos d_model"]
    differences: Float[Tensor, "mask rest prompt pos d_model"] = field(repr=False)


@torch.no_grad()
def source_outputs(
    model: HookedModel, graph: Graph, resid: Float[Tensor, "prompt pos d_model"]
) -> SourceOutputs:
    """What every source writes in the plain run that starts from the stream `resid` before block 0."""
    require_separable(model)
    run = forward(model.decoder, resid, read=model.sites(Z, MLP_OUT))
    out = resid.new_empty(graph.n_sources, *resid.shape)
    out[0] = resid
    for layer in range(graph.n_layers):
        out[graph.head_sources(layer)] = heads_written(model, layer, run.activations[Site(layer, Z)])
        out[graph.mlp_source(layer)] = run.activations[Site(layer, MLP_OUT)]
    return out


def heads_written(
    model: HookedModel, layer: int, z: Float[Tensor, "row pos head d_head"]
) -> Float[Tensor, "head row pos d_model"]:
    """z_h W_O^h of each head: what it writes; attention's output bias is not in it."""
    return torch.einsum("bphd,hdm->hbpm", z, model.W_O(layer))


@torch.no_grad()
def mean_reference(
    model: HookedModel,
    graph: Graph,
    reference_set: PatchPairs,
    reference_role: Int[Tensor, "reference pos"],
    role: Int[Tensor, "prompt pos"],
    *,
    prompts_at_once: int = 8,
) -> ReferenceRun:
    """The mean of every source over the source prompts of a reference set, by the role of the token.

    Roles are small integers (`engine.lab.ablation.roles_of`). A role that no token of the reference set plays
    is an error where a prompt asks for it.
    """
    n_roles = 1 + int(max(reference_role.max(), role.max()))
    total = torch.zeros(graph.n_sources, n_roles, model.shape.d_model, device=reference_role.device)
    count = torch.zeros(n_roles, device=reference_role.device)
    for index in equal_length_groups(reference_set.last, prompts_at_once):
        pairs = reference_set.rows(index)
        length = int(pairs.last[0]) + 1
        here = reference_role[index, :length].flatten()
        outputs = source_outputs(model, graph, pairs.source_resid(model)[:, :length])
        total.index_add_(1, here, outputs.float().flatten(1, 2))
        count.index_add_(0, here, torch.ones_like(here, dtype=count.dtype))
    missing = sorted(set(role.unique().tolist()) & set(torch.nonzero(count == 0).flatten().tolist()))
    if missing:
        raise DataError(
            "the reference set has no token of a role that the prompts have",
            expected="every role of the prompts",
            seen=f"none of role {', '.join(map(str, missing))}",
        )
    means = total / count.clamp(min=1)[:, None]
    return ReferenceRun("mean", means.to(model.W_U.dtype), role)


@torch.no_grad()
def circuit_forward(
    model: HookedModel,
    graph: Graph,
    start: Float[Tensor, "prompt pos d_model"],
    reference: SourceOutputs,
    kept: Bool[np.ndarray, "mask edge"],
    *,
    shared: Float[Tensor, "first prompt pos d_model"] | None = None,
) -> CircuitPass:
    """The forward of each circuit (a row of `kept`) over the prompts whose stream before block 0 is `start`.

    `shared` are the differences of the first sources from the reference where they are the same for all of
    the circuits (their edges agree so far, as in ACDC): these are not computed again.
    """
    state = _Differences.of(graph, start, reference, len(kept), shared)
    block_constants = reference.new_zeros(start.shape[1:])
    span = model.span(start)
    rows = (len(kept) * start.shape[0], *start.shape[1:])
    for layer in range(graph.n_layers):
        block = model.decoder.blocks[layer]
        before = graph.n_sources_before(layer)
        # Queries, keys and values: every head's inputs, each the sum of its own sources.
        if state.is_missing(graph.mlp_source(layer) - 1):
            inputs = state.read(graph.by_destination(kept, graph.head_inputs(layer)), before)
            inputs = (inputs + block_constants).transpose(1, 2).flatten(0, 1)  # "row input pos d_model"
            split = [graph.n_heads, graph.n_key_value_inputs, graph.n_key_value_inputs]
            queries, keys, values = inputs.split(split, dim=1)
            query, key, value = block.query_key_value_apart(queries, keys, values, span)
            written = heads_written(model, layer, block.attend(query, key, value, span))
            state.put(graph.head_sources(layer), written)
        # The output bias belongs to no head: whatever reads after it reads it.
        mlp_constants = block_constants
        block_constants = block_constants + block.b_O
        if not graph.parallel:
            mlp_constants = block_constants
        # The MLP, which reads this block's heads too, unless both read one stream.
        if state.is_missing(graph.mlp_source(layer)):
            place = graph.mlp_input(layer)
            n_sources = graph.destinations[place].n_sources
            inputs = state.read(graph.by_destination(kept, slice(place, place + 1)), n_sources)
            written = block.mlp_out((inputs + mlp_constants).reshape(rows))
            state.put(slice(graph.mlp_source(layer), graph.mlp_source(layer) + 1), written[None])
    place = graph.logits_input
    resid = state.read(graph.by_destination(kept, slice(place, place + 1)), graph.n_sources)
    return CircuitPass((resid + block_constants)[:, 0], state.apart)


@dataclass(frozen=True)
class _Differences:
    """Differences from the reference so far: of the first sources for all masks, of the others by mask.

    `sums` are the sums of the reference's first n sources, "n prompt pos d_model" for n = 0, 1, ...
    """

    reference: SourceOutputs
    shared: Float[Tensor, "first prompt pos d_model"]
    apart: Float[Tensor, "mask rest prompt pos d_model"]

    @classmethod
    def of(
        cls,
        graph: Graph,
        start: Float[Tensor, "prompt pos d_model"],
        reference: SourceOutputs,
        n_masks: int,
        shared: Tensor | None,
    ) -> _Differences:
        # The embedding reads nothing, so that it is the same in every circuit.
        shared = (start - reference[0])[None] if shared is None else shared
        apart = start.new_empty(n_masks, graph.n_sources - len(shared), *start.shape)
        return cls(reference, shared, apart)

    def is_missing(self, source: int) -> bool:
        """Whether a source has to be computed."""
        return source >= len(self.shared)

    def put(self, sources: slice, written: Float[Tensor, "_some row pos d_model"]) -> None:
        """What some sources write, rows being masks by prompts."""
        n_masks = len(self.apart)
        by_mask = written.unflatten(1, (n_masks, -1)).transpose(0, 1)
        first = len(self.shared)
        self.apart[:, sources.start - first : sources.stop - first] = by_mask - self.reference[sources]

    def read(
        self, kept: Bool[np.ndarray, "mask destination source"], n_sources: int
    ) -> Float[Tensor, "mask destination prompt pos d_model"]:
        """x_d of some destinations that read the first `n_sources`, biases left out."""
        n_shared = min(n_sources, len(self.shared))
        weights = torch.as_tensor(kept, device=self.shared.device).to(self.shared.dtype)
        # sum_s k_ds (C_s - R_s): one product for all masks where the sources are shared,
        common = weights[..., :n_shared].flatten(0, 1) @ self.shared[:n_shared].flatten(1)
        x = common.unflatten(0, weights.shape[:2])
        if n_sources > n_shared:
            # and one for each mask where they are not.
            x = x + weights[..., n_shared:] @ self.apart[:, : n_sources - n_shared].flatten(2)
        # sum_s R_s
        return self.reference[:n_sources].sum(0) + x.unflatten(-1, self.reference.shape[1:])


def circuit_values(
    model: HookedModel,
    graph: Graph,
    pairs: PatchPairs,
    kept: Bool[np.ndarray, "mask edge"],
    metric: PatchMetric,
    *,
    reference: ReferenceRun | None = None,
    memory_mb: float = MEMORY_MB,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Float[np.ndarray, "mask prompt"]:
    """The metric of every circuit on every pair, in batches of prompts and masks that fit `memory_mb`.

    Kept edges carry the run of a pair's source (clean) prompt, the others the reference: by default the run
    of its base (corrupted) prompt. Raises DataError where not even one prompt under one mask fits.
    """
    reference = ReferenceRun() if reference is None else reference
    out = np.full((len(kept), len(pairs)), np.nan)
    done = 0
    for index in equal_length_groups(pairs.last, _prompts_at_once(model, graph, pairs, memory_mb)):
        here = pairs.rows(index)
        length = int(here.last[0]) + 1
        start = here.source_resid(model)[:, :length]
        replaced = reference.rows(index).outputs(model, graph, here)
        room = memory_mb * 2**20 - circuit_bytes(model, graph, 0, len(index), length)
        n_masks = max(1, int(room // (len(index) * length * _bytes_each(model, graph))))
        rows = metric.rows(index)
        everyone = torch.arange(len(index), device=start.device)
        for first in range(0, len(kept), n_masks):
            masks = kept[first : first + n_masks]
            resid = circuit_forward(model, graph, start, replaced, masks).resid[:, :, -1]
            values = rows.of(model, resid.flatten(0, 1), everyone.repeat(len(masks)))
            out[first : first + n_masks, index] = values.view(len(masks), -1).cpu().numpy()
        done += len(index)
        progress(done / len(pairs))
    return out


def circuit_bytes(model: HookedModel, graph: Graph, masks: int, prompts: int, positions: int) -> int:
    """What `circuit_forward` holds at its largest, beside the model: for every mask the differences of all
    sources, and one block's inputs with what is made of them; for all of them the reference's outputs."""
    by_reference = graph.n_sources * model.shape.d_model * model.W_U.element_size()
    return prompts * positions * (by_reference + masks * _bytes_each(model, graph))


def _bytes_each(model: HookedModel, graph: Graph) -> int:
    """By mask, prompt and position."""
    shape = model.shape
    # One block's inputs: summed, with biases, normed and about to be projected; or an MLP's neurons.
    inputs = 4 * graph.n_inputs * shape.d_model
    neurons = 3 * shape.d_mlp
    return (graph.n_sources * shape.d_model + max(inputs, neurons)) * model.W_U.element_size()


def _prompts_at_once(model: HookedModel, graph: Graph, pairs: PatchPairs, memory_mb: float) -> int:
    """How many of the longest prompts fit with one mask; DataError where none does."""
    longest = int(pairs.last.max()) + 1
    one = circuit_bytes(model, graph, 1, 1, longest)
    if one > memory_mb * 2**20:
        raise DataError(
            f"one prompt of {longest} tokens under one circuit does not fit the memory limit",
            expected=f"memory_mb of at least {one / 2**20:.0f}",
            seen=f"{memory_mb:.0f}",
        )
    # Half of the room for prompts and half for masks: both make the products large.
    return max(1, min(8, int(memory_mb * 2**20 // (2 * one))))
