"""Activation patching: every site, layer and position of many prompts, exact, without repeating work.

A patch puts an activation of the source run into the base run. Whatever the site, what follows sees only a
changed residual stream at one position:

    resid_pre  the stream before block L becomes the source's
    z          the stream between attention and MLP of block L gains W_O[h] (z_source - z_base)
    attn_out   the same stream gains attn_out_source - attn_out_base
    mlp_out    the stream after block L gains mlp_out_source - mlp_out_base

So only positions from the patched one on can change (the base run's keys and values stand for the earlier
ones), only layers after the patched one, and only the last position is unembedded, along one direction.
Patches of one position go down the layers as one batch; each joins it at its own layer.

Source: Meng et al. 2022 (causal tracing), Wang et al. 2023 (path patching), Zhang & Nanda 2024 (metrics). The
result equals TransformerLens's `get_act_patch_*`, which runs the whole model once per patch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.errors import DataError
from engine.lab.groups import equal_length_groups

if TYPE_CHECKING:
    from engine.models.blocks import Span
    from engine.models.hooked import HookedModel, KVPrefix, Trace

STAGE = {"resid_pre": 0, "attn_out": 1, "mlp_out": 2, "z": 1}
SITES = tuple(STAGE)


@dataclass(frozen=True)
class Pairs:
    """Prompts to patch into (`base`) and from (`source`), and the two answers whose logits are compared.

    `base` and `source` are "prompt pos" and right-padded; pair i is `last[i] + 1` tokens long on both sides.
    """

    base: Int[Tensor, "prompt pos"]
    source: Int[Tensor, "prompt pos"]
    last: Int[Tensor, " prompt"]
    answer: Int[Tensor, " prompt"]
    wrong_answer: Int[Tensor, " prompt"]

    def __len__(self) -> int:
        return len(self.base)

    def rows(self, index: Sequence[int] | np.ndarray | Tensor) -> Pairs:
        """The pairs at `index`."""
        chosen = torch.as_tensor(index, device=self.base.device)
        parts = (self.base, self.source, self.last, self.answer, self.wrong_answer)
        return Pairs(*(part[chosen] for part in parts))

    def reversed(self) -> Pairs:
        """Noising from denoising, and back: base and source change places."""
        return Pairs(self.source, self.base, self.last, self.answer, self.wrong_answer)

    def first_difference(self) -> Int[Tensor, " prompt"]:
        """The first position whose tokens differ; no activation before it can."""
        return (self.base != self.source).long().argmax(dim=1)


@dataclass(frozen=True)
class Sweep:
    """Logit differences (answer - wrong answer) after each patch, and of the two unpatched runs.

    `logit_diff` holds, by site, "prompt layer pos" (`z`: "prompt layer pos head"); NaN where not asked for.
    """

    logit_diff: dict[str, np.ndarray]
    base: Float[np.ndarray, " prompt"]
    source: Float[np.ndarray, " prompt"]

    def normalised(self, source: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """By site, the patched logit difference on a scale where 0 is the base run and 1 the source run.

        `source` replaces the source run's own logit differences as the 1 of the scale.
        """
        span = (self.source if source is None else source) - self.base
        return {
            site: (values - _like(self.base, values)) / _like(span, values)
            for site, values in self.logit_diff.items()
        }


def sweep(
    model: HookedModel,
    pairs: Pairs,
    *,
    sites: Sequence[str] = SITES,
    positions: Bool[np.ndarray, "prompt pos"] | None = None,
    layers: Collection[int] | None = None,
    prompts_at_once: int = 4,
    tokens_at_once: int = 1024,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Sweep:
    """Every patch of `sites` at the asked `layers` and `positions` (default: all) of every pair.

    `prompts_at_once` and `tokens_at_once` bound memory: activations kept, and activations recomputed.
    Raises DataError for a site that does not exist.
    """
    for site in set(sites) - set(SITES):
        raise DataError(f"cannot patch {site!r}", expected="one of " + ", ".join(SITES), seen=site)
    asked = within(pairs) if positions is None else torch.as_tensor(positions) & within(pairs)
    out = empty_sweep(model, pairs, sites)
    at_layers = sorted(set(range(model.n_layers) if layers is None else layers))
    done = 0
    for index in equal_length_groups(pairs.last, prompts_at_once):
        with torch.no_grad():
            runs = BothRuns.of(model, pairs.rows(index))
            out.base[index], out.source[index] = runs.logit_differences()
            for position in torch.nonzero(asked[index].any(0)).flatten().tolist():
                who = torch.nonzero(asked[index, position]).flatten()
                place = np.array(index)[who.numpy()][:, None], at_layers, position
                changes = {site: runs.changes(site, at_layers, position)[who] for site in sites}
                for site, values in patch_position(runs, changes, at_layers, position, who, tokens_at_once):
                    out.logit_diff[site][place] = values.cpu()
        done += len(index)
        progress(done / len(pairs))
    return out


def empty_sweep(model: HookedModel, pairs: Pairs, sites: Sequence[str]) -> Sweep:
    """A sweep of the right shape, filled with NaN."""
    n, n_positions = pairs.base.shape
    grid = (n, model.n_layers, n_positions)
    shapes = {site: (*grid, model.shape.n_heads) if site == "z" else grid for site in sites}
    nan = {site: np.full(shape, np.nan) for site, shape in shapes.items()}
    return Sweep(nan, np.full(n, np.nan), np.full(n, np.nan))


def answer_direction(model: HookedModel, pairs: Pairs) -> Float[Tensor, "prompt d_model"]:
    """Where the unembedding reads answer minus wrong answer."""
    return (model.W_U[:, pairs.answer].float() - model.W_U[:, pairs.wrong_answer].float()).T


def logit_differences(
    model: HookedModel, resid: Float[Tensor, "row d_model"], direction: Float[Tensor, "row d_model"]
) -> Float[Tensor, " row"]:
    """answer - wrong answer in logits, of residual streams after the last block."""
    return (model.final_norm(resid).float() * direction).sum(-1)


def within(pairs: Pairs) -> Bool[Tensor, "prompt pos"]:
    """True where a prompt has a token."""
    return torch.arange(pairs.base.shape[1])[None] <= pairs.last.cpu()[:, None]


def _like(per_prompt: np.ndarray, values: np.ndarray) -> np.ndarray:
    return per_prompt.reshape(-1, *[1] * (values.ndim - 1))


@dataclass(frozen=True)
class BothRuns:
    """The unpatched runs of a group of pairs of one length."""

    model: HookedModel
    pairs: Pairs
    base: Trace
    source: Trace

    @classmethod
    def of(cls, model: HookedModel, pairs: Pairs) -> BothRuns:
        length = int(pairs.last[0]) + 1
        return cls(model, pairs, model.trace(pairs.base[:, :length]), model.trace(pairs.source[:, :length]))

    @property
    def last(self) -> int:
        return int(self.pairs.last[0])

    def logit_differences(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the base runs and of the source runs, each "prompt"."""
        direction = answer_direction(self.model, self.pairs)
        base, source = (
            logit_differences(self.model, run.resid_final[:, -1], direction).cpu().numpy()
            for run in (self.base, self.source)
        )
        return base, source

    def changes(
        self, site: str, layers: Sequence[int], position: int
    ) -> Float[Tensor, "prompt layer *head d_model"]:
        """What a patch of `site` at `position` adds to the residual stream, by layer (and head)."""
        return torch.stack([self._change(site, layer, position) for layer in layers], dim=1)

    def _change(self, site: str, layer: int, position: int) -> Tensor:
        base, source = getattr(self.base, site)[layer], getattr(self.source, site)[layer]
        difference = source[:, position] - base[:, position]
        if site != "z":
            return difference
        return torch.einsum("bhd,hdm->bhm", difference, self.model.W_O(layer))

    def stream(self, stage: int) -> Float[Tensor, "prompt pos d_model"]:
        """The base run's residual stream at a stage (see Patches)."""
        before = self.base.resid_pre[stage // 2]
        return before + self.base.attn_out[stage // 2] if stage % 2 else before


@dataclass(frozen=True)
class Patches:
    """Changes of the residual stream at one position, each of one prompt at one stage.

    Stage 2L is the stream before block L, stage 2L + 1 that between its attention and its MLP.
    """

    stage: Int[Tensor, " patch"]
    prompt: Int[Tensor, " patch"]
    change: Float[Tensor, "patch d_model"]

    def rows(self, index: Tensor) -> Patches:
        return Patches(self.stage[index], self.prompt[index], self.change[index])


def patch_position(
    runs: BothRuns,
    changes: dict[str, Float[Tensor, "prompt layer *head d_model"]],
    layers: Sequence[int],
    position: int,
    who: Int[Tensor, " prompt"],
    tokens_at_once: int,
) -> Iterator[tuple[str, Float[Tensor, "prompt layer *head"]]]:
    """Each site with the logit differences after its changes at one position of the prompts `who`."""
    patches = _flatten(changes, layers, who)
    base, _ = runs.logit_differences()
    values = torch.as_tensor(base)[patches.prompt]
    live = torch.nonzero(_can_matter(runs, patches, position)).flatten()
    live = live[patches.stage[live].argsort(stable=True)]
    size = max(1, tokens_at_once // (runs.last + 1 - position))
    for start in range(0, len(live), size):
        chunk = live[start : start + size]
        values[chunk] = run_down(runs, patches.rows(chunk), position).cpu()
    sizes = [change[..., 0].numel() for change in changes.values()]
    for (site, change), part in zip(changes.items(), values.split(sizes), strict=True):
        yield site, part.view(change.shape[:-1])


def _flatten(changes: dict[str, Tensor], layers: Sequence[int], who: Tensor) -> Patches:
    """All sites' patches of one position in one list, sites in order."""
    stages, prompts = [], []
    for site, change in changes.items():
        one_per_head = [1] * (change.ndim - 3)
        stage = 2 * torch.tensor(layers).view(1, -1, *one_per_head) + STAGE[site]
        stages.append(stage.expand(change.shape[:-1]).flatten())
        prompts.append(who.view(-1, 1, *one_per_head).expand(change.shape[:-1]).flatten())
    flat = torch.cat([change.flatten(0, -2) for change in changes.values()])
    return Patches(torch.cat(stages), torch.cat(prompts), flat)


def _can_matter(runs: BothRuns, patches: Patches, position: int) -> Bool[Tensor, " patch"]:
    """False before the first differing token, and after the last attention has read the position."""
    differs = runs.pairs.first_difference().cpu()[patches.prompt] <= position
    if position == runs.last:
        return differs
    return differs & (patches.stage <= 2 * runs.model.n_layers - 2)


def run_down(runs: BothRuns, patches: Patches, position: int) -> Float[Tensor, " patch"]:
    """Logit differences after each patch; `patches` are sorted by stage and join one batch as it descends."""
    model, final = runs.model, 2 * runs.model.n_layers
    span = model.span(runs.stream(0)[:1, position:], first_position=position)
    resid = runs.stream(0)[:0, position:]
    for stage in range(int(patches.stage[0]), final + 1):
        joining = torch.nonzero(patches.stage == stage).flatten()
        if len(joining):
            resid = torch.cat((resid, _patched_streams(runs, patches.rows(joining), stage, position)))
        if stage % 2:
            resid = resid + model.mlp_out(stage // 2, resid)
        elif stage < final:
            earlier = runs.base.prefix.before(position)
            resid = resid + _attention(model, stage // 2, resid, span, earlier, patches.prompt[: len(resid)])
            if stage == final - 2:
                resid = resid[:, -1:]
    direction = answer_direction(model, runs.pairs)[patches.prompt]
    return logit_differences(model, resid[:, -1], direction)


def _patched_streams(
    runs: BothRuns, patches: Patches, stage: int, position: int
) -> Float[Tensor, "patch pos d_model"]:
    """The base run's streams from `position` on, each with its change at the first of them."""
    base = runs.stream(stage)[patches.prompt, position:]
    return torch.cat((base[:, :1] + patches.change[:, None], base[:, 1:]), dim=1)


def _attention(
    model: HookedModel, layer: int, resid: Tensor, span: Span, earlier: KVPrefix, prompt: Tensor
) -> Float[Tensor, "patch pos d_model"]:
    """What attention adds, each row reading the earlier keys and values of its own prompt's base run."""
    block = model.decoder.blocks[layer]
    query, key, value = block.query_key_value(resid, span)
    key = torch.cat((earlier.keys[layer][prompt], key), dim=2)
    value = torch.cat((earlier.values[layer][prompt], value), dim=2)
    return block.attn_out(block.attend(query, key, value, span))
