"""Activation patching: every site, layer and position of many prompts, exact, without repeating work.

A patch puts an activation of the source run into the base run. Whatever the site, what follows sees only a
changed residual stream at one position:

    resid_pre  the stream before block L becomes the source's
    z          the stream between attention and MLP of block L gains W_O[h] (z_source - z_base)
    attn_out   the same stream gains attn_out_source - attn_out_base
    mlp_out    the stream after block L gains mlp_out_source - mlp_out_base

(Where a norm follows W_O, z gains the difference after that norm. Where attention and MLP read one stream, as
in Pythia, there is none between them: z and attn_out change the stream after block L.)

So only positions from the patched one on can change (the base run's keys and values stand for the earlier
ones), only layers after the patched one, and only the last position is unembedded (for the logit difference
along one direction).
Patches of one position go down the layers as one batch; each joins it at its own layer.

Source: Meng et al. 2022 (causal tracing), Wang et al. 2023 (path patching), Zhang & Nanda 2024 (metrics). The
result equals TransformerLens's `get_act_patch_*`, which runs the whole model once per patch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.errors import DataError
from engine.lab.groups import equal_length_groups
from engine.lab.patch_metrics import PatchMetric, patch_metric
from engine.lab.patch_pairs import (
    PATCHED,
    SITES,
    PatchPairs,
    Sweep,
    empty_sweep,
)
from engine.lab.slow_patching import edited_sweep
from engine.lab.threads import side_by_side
from engine.models.forward import forward
from engine.models.sites import Site
from engine.spec.sites import ATTN_OUT, RESID_PRE

if TYPE_CHECKING:
    from engine.lab.ablation import Constants
    from engine.models.blocks import Span
    from engine.models.forward import ForwardPass, KVPrefix
    from engine.models.hooked import HookedModel

STAGE = {"resid_pre": 0, "attn_out": 1, "mlp_out": 2, "z": 1}
PARALLEL_STAGE = {"resid_pre": 0, "attn_out": 2, "mlp_out": 2, "z": 2}
"""The first stage (see Patches) that a patch of a site of block 0 changes, by the kind of residual."""
Positions = Bool[np.ndarray, "prompt pos"]


def sweep(
    model: HookedModel,
    pairs: PatchPairs,
    *,
    sites: Sequence[str] = SITES,
    positions: Positions | Mapping[str, Positions | None] | None = None,
    layers: Collection[int] | None = None,
    metric: PatchMetric | None = None,
    instead: Constants | None = None,
    prompts_at_once: int = 4,
    tokens_at_once: int = 512,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Sweep:
    """Every patch of `sites` at the asked `layers` and `positions` (default: all) of every pair.

    `positions` may differ from site to site. `metric` is the logit difference when left out. What is put into
    the base run is the source run's activation, or `instead` a constant. `prompts_at_once` and
    `tokens_at_once` (by each thread) bound memory: activations kept, and activations recomputed. Raises
    DataError for a site that does not exist.
    """
    for site in set(sites) - set(SITES):
        raise DataError(f"cannot patch {site!r}", expected="one of " + ", ".join(SITES), seen=site)
    masks = _masks(pairs, sites, positions)
    at_layers = sorted(set(range(model.n_layers) if layers is None else layers))
    metric = patch_metric(model, pairs) if metric is None else metric
    if not model.is_plain:
        # A bridge has no keys and values to go on from: whole forwards, an edit each.
        return edited_sweep(model, pairs, masks, at_layers, metric, instead, tokens_at_once, progress)
    out = empty_sweep(model, pairs, sites)
    done = 0
    # Prompts of one length share their runs' tensors and need no padding.
    for index in equal_length_groups(pairs.last, prompts_at_once):
        constants = None if instead is None else instead.rows(index)
        here = {site: mask[index] for site, mask in masks.items()}
        runs = BothRuns.of(model, pairs.rows(index), metric.rows(index), constants)
        unpatched, out.source[index] = runs.unpatched()
        out.base[index] = unpatched
        columns = list(_columns(runs, here, at_layers, unpatched))
        base = runs.base_run()
        # The source run is all in the changes by now: beside them it would be the most that is kept.
        del runs
        _patch(base, columns, tokens_at_once)
        for column in columns:
            for cells, values in column.effects():
                rows = np.array(index)[cells.who.numpy()]
                out.patched[cells.site][rows[:, None], at_layers, column.position] = values
        done += len(index)
        progress(done / len(pairs))
    return out


def _masks(
    pairs: PatchPairs, sites: Sequence[str], positions: Positions | Mapping[str, Positions | None] | None
) -> dict[str, Bool[Tensor, "prompt pos"]]:
    """By site, the positions to patch, none beyond a prompt's end."""
    within = torch.arange(pairs.base.shape[1])[None] <= pairs.last.cpu()[:, None]
    given = positions if isinstance(positions, Mapping) else dict.fromkeys(sites, positions)
    masks = {}
    for site in sites:
        mask = given[site]
        masks[site] = within if mask is None else within & torch.as_tensor(mask)
    return masks


@dataclass(frozen=True)
class BothRuns:
    """The unpatched runs of a group of pairs of one length."""

    model: HookedModel
    pairs: PatchPairs
    metric: PatchMetric
    base: ForwardPass
    source: ForwardPass
    instead: Constants | None = None

    @classmethod
    def of(
        cls, model: HookedModel, pairs: PatchPairs, metric: PatchMetric, instead: Constants | None = None
    ) -> BothRuns:
        length = int(pairs.last[0]) + 1
        both = (pairs.base_resid(model)[:, :length], pairs.source_resid(model)[:, :length])
        # Keys and values of the base run stand for all positions before the patched one.
        run = partial(forward, model.decoder, read=model.sites(*PATCHED.values()), keep_prefix=True)
        base, source = side_by_side(run, both, model.device)
        return cls(model, pairs, metric, base, source, instead)

    def unpatched(self) -> tuple[np.ndarray, np.ndarray]:
        """The metric of the base runs and of the source runs, each "prompt"."""
        everyone = torch.arange(len(self.pairs), device=self.base.resid.device)
        base, source = (
            self.metric.of(self.model, run.resid[:, -1], everyone).cpu().numpy()
            for run in (self.base, self.source)
        )
        return base, source

    def first_change(self) -> Int[Tensor, " prompt"]:
        """The first position where a patch can change anything.

        It is the first one whose streams before block 0 differ: no activation before it can. A constant is
        neither run's activation and may change any.
        """
        if self.instead is not None:
            return torch.zeros_like(self.pairs.last)
        start = Site(0, RESID_PRE)
        differs = (self.base.activations[start] != self.source.activations[start]).any(-1)
        # argmax of 0s and 1s is the first 1.
        return differs.long().argmax(dim=1)

    def base_run(self) -> BaseRun:
        """What the patches are made into."""
        # Changes are made of the source run, and of the base run's z and mlp_out: none of these is kept.
        streams = self.model.sites(RESID_PRE, ATTN_OUT)
        activations = {site: self.base.activations[site] for site in streams}
        return BaseRun(
            self.model,
            self.metric,
            replace(self.base, activations=activations),
            last=int(self.pairs.last[0]),
            first_change=self.first_change().cpu(),
        )

    def changes(
        self, site: str, layers: Sequence[int], position: int
    ) -> Float[Tensor, "prompt layer *head d_model"]:
        """What a patch of `site` at `position` adds to the residual stream, by layer (and head)."""
        return torch.stack([self._change(site, layer, position) for layer in layers], dim=1)

    def _change(self, site: str, layer: int, position: int) -> Tensor:
        # Patching a with a_source adds a_source - a_base to whatever a is added to.
        place = Site(layer, PATCHED[site])
        base = self.base.activations[place][:, position]
        put = self.source.activations[place][:, position]
        if self.instead is not None:
            put = self.instead.at(place, position)
        difference = put - base
        if site != "z":
            return difference
        return self.model.decoder.blocks[layer].head_changes(base, difference)


@dataclass(frozen=True)
class BaseRun:
    """The run that patches are made into, as far as they read it, of a group of prompts of one length.

    `last` is the last position, `first_change` the first one where a patch of a prompt can change anything.
    """

    model: HookedModel
    metric: PatchMetric
    forward: ForwardPass
    last: int
    first_change: Int[Tensor, " prompt"]

    def stream(self, stage: int) -> Float[Tensor, "prompt pos d_model"]:
        """The residual stream at a stage (see Patches)."""
        layer = stage // 2
        if layer == self.model.n_layers:
            return self.forward.resid
        before = self.forward.activations[Site(layer, RESID_PRE)]
        return before + self.forward.activations[Site(layer, ATTN_OUT)] if stage % 2 else before


@dataclass(frozen=True)
class Patches:
    """Changes of the residual stream at one position of a group, each of one prompt at one stage.

    Stage 2L is the stream before block L, stage 2L + 1 that between its attention and its MLP, if any.
    """

    position: int
    stage: Int[Tensor, " patch"]
    prompt: Int[Tensor, " patch"]
    change: Float[Tensor, "patch d_model"]

    def rows(self, index: Tensor) -> Patches:
        return Patches(self.position, self.stage[index], self.prompt[index], self.change[index])


@dataclass(frozen=True)
class Cells:
    """The patches of one site at one position: those of the prompts `who`.

    `first_stage` is the first one that a patch in block 0 changes; `shape` is "prompt layer *head".
    """

    site: str
    who: Int[Tensor, " prompt"]
    first_stage: int
    shape: torch.Size

    def patches(
        self, change: Float[Tensor, "prompt layer *head d_model"], layers: Sequence[int], position: int
    ) -> Patches:
        """All of them in one list, by what each changes."""
        shape = self.shape
        over_heads = [1] * (len(shape) - 2)  # one axis more for z
        # Block L reads at stage 2L; attention's output changes stage 2L + 1, the MLP's stage 2L + 2.
        stage = 2 * torch.tensor(layers).view(1, -1, *over_heads) + self.first_stage
        prompt = self.who.view(-1, 1, *over_heads)
        return Patches(
            position,
            stage.expand(shape).flatten(),
            prompt.expand(shape).flatten(),
            change.flatten(0, -2),
        )


@dataclass(frozen=True)
class Column:
    """Every patch at one position of a group, and the metric after each."""

    cells: list[Cells]
    patches: Patches
    values: Float[Tensor, " patch"]

    @classmethod
    def of(cls, cells: list[Cells], lists: list[Patches], base: Float[np.ndarray, " prompt"]) -> Column:
        """Patches yet to be made, a list for each site: their values are still the base run's."""
        patches = Patches(
            lists[0].position,
            torch.cat([one.stage for one in lists]),
            torch.cat([one.prompt for one in lists]),
            torch.cat([one.change for one in lists]),
        )
        # A patch that cannot matter is never run: its value is the base run's, exactly.
        return cls(cells, patches, torch.as_tensor(base)[patches.prompt])

    @property
    def position(self) -> int:
        return self.patches.position

    def effects(self) -> Iterator[tuple[Cells, np.ndarray]]:
        """Each site's cells with their values, "prompt layer *head"."""
        pieces = self.values.split([part.shape.numel() for part in self.cells])
        for part, values in zip(self.cells, pieces, strict=True):
            yield part, values.view(part.shape).numpy()


def _patch(base: BaseRun, columns: Sequence[Column], tokens_at_once: int) -> None:
    """Make the patches of all columns, batch beside batch; each batch is sorted by stage."""
    batches: list[tuple[Column, Tensor]] = []
    for column in columns:
        live = torch.nonzero(_can_matter(base, column.patches)).flatten()
        # By stage, so that a batch holds patches of neighbouring layers: it starts at its first stage, and
        # the blocks before that are not computed for any of its rows.
        live = live[column.patches.stage[live].argsort(stable=True)]
        size = max(1, tokens_at_once // (base.last + 1 - column.position))
        batches += [(column, live[start : start + size]) for start in range(0, len(live), size)]

    def values_of(piece: tuple[Column, Tensor]) -> Float[Tensor, " patch"]:
        # A batch's rows are copied when its turn comes: copies of all batches would be every change twice.
        column, batch = piece
        return run_down(base, column.patches.rows(batch))

    # Batches do not depend on each other: whole ones side by side, a thread each.
    results = side_by_side(values_of, batches, base.model.device)
    for (column, batch), values in zip(batches, results, strict=True):
        column.values[batch] = values.cpu()


def _columns(
    runs: BothRuns, masks: dict[str, Tensor], layers: Sequence[int], base: Float[np.ndarray, " prompt"]
) -> Iterator[Column]:
    """The patches of each position at which any site of any prompt is asked for."""
    stages = PARALLEL_STAGE if runs.model.decoder.parallel else STAGE
    anywhere = torch.stack(list(masks.values())).any(0).any(0)
    for position in torch.nonzero(anywhere).flatten().tolist():
        cells: list[Cells] = []
        lists: list[Patches] = []
        for site, mask in masks.items():
            who = torch.nonzero(mask[:, position]).flatten()
            if len(who):
                change = runs.changes(site, layers, position)[who]
                cells.append(Cells(site, who, stages[site], change.shape[:-1]))
                lists.append(cells[-1].patches(change, layers, position))
        yield Column.of(cells, lists, base)


def _can_matter(base: BaseRun, patches: Patches) -> Bool[Tensor, " patch"]:
    """False before the first change, and after the last attention has read the position."""
    differs = base.first_change[patches.prompt] <= patches.position
    # Attention alone carries an earlier position to the last one, at stage 2(n_layers - 1) at the latest.
    if patches.position == base.last:
        return differs
    return differs & (patches.stage <= 2 * base.model.n_layers - 2)


def run_down(base: BaseRun, patches: Patches) -> Float[Tensor, " patch"]:
    """The metric after each patch; `patches` are sorted by stage and join one batch as it descends."""
    model = base.model
    final = 2 * model.n_layers
    parallel = model.decoder.parallel
    position = patches.position
    # What lies before the patched position is the base run's: only later positions are computed.
    span = model.span(base.stream(0)[:1, position:], first_position=position)
    resid = base.stream(0)[:0, position:]  # no row yet
    for stage in range(int(patches.stage[0]), final + 1):
        joining = torch.nonzero(patches.stage == stage).flatten()
        if len(joining):
            # Until its own stage a patched run is the base run, so it joins here and not at the embedding.
            resid = torch.cat((resid, _patched_streams(base, patches.rows(joining), stage)))
        if stage % 2 and not parallel:
            # x_{l+1} = x_mid + MLP(norm(x_mid))
            resid = resid + model.mlp_out(stage // 2, resid)
        elif stage % 2 == 0 and stage < final:
            # x_mid = x_l + attention(norm(x_l)), over the base run's earlier keys and values
            earlier = base.forward.prefix.before(position)
            written = _attention(model, stage // 2, resid, span, earlier, patches.prompt[: len(resid)])
            if parallel:
                # x_{l+1} = x_l + MLP(norm(x_l)) + attention(norm(x_l))
                written = model.mlp_out(stage // 2, resid) + written
            resid = resid + written
            if stage == final - 2:
                # After the last attention nothing but the last position is read.
                resid = resid[:, -1:]
    return base.metric.of(model, resid[:, -1], patches.prompt.to(resid.device))


def _patched_streams(base: BaseRun, patches: Patches, stage: int) -> Float[Tensor, "patch pos d_model"]:
    """The base run's streams from the patched position on, each with its change at the first of them."""
    streams = base.stream(stage)[patches.prompt, patches.position :]
    return torch.cat((streams[:, :1] + patches.change[:, None], streams[:, 1:]), dim=1)


def _attention(
    model: HookedModel, layer: int, resid: Tensor, span: Span, earlier: KVPrefix, prompt: Tensor
) -> Float[Tensor, "patch pos d_model"]:
    """What attention adds, each row reading the earlier keys and values of its own prompt's base run."""
    block = model.decoder.blocks[layer]
    query, key, value = block.query_key_value(resid, span)
    key = torch.cat((earlier.keys[layer][prompt], key), dim=2)
    value = torch.cat((earlier.values[layer][prompt], value), dim=2)
    return block.attn_out(block.attend(query, key, value, span))
