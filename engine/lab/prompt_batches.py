"""Many prompts under edits, in few forwards.

1. What all prompts begin with, as a chat template's first tokens, is computed once, under the same edits.
2. The rest of each is computed in batches of similar length, padded on the right: nobody looks there.
3. Something is read of each batch's last residual stream. Only positions that are read are unembedded, since
   the vocabulary is the larger part of a small model's work.

Edits apply at every position. What all prompts begin with sees the same tokens in each of them, so that an
edit that treats positions alike gives it the same activations in all.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.data.chat import ChatPrompts
from engine.errors import DataError
from engine.lab.threads import side_by_side
from engine.models.forward import NO_EDITS, NO_PREFIX, Edit, Extent, KVPrefix, forward
from engine.models.generate import WORTH_SHARING, common_start
from engine.models.sites import Site
from engine.spec.sites import RESID_PRE

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

TOKENS_AT_ONCE = 512
"""Of a batch, pads included: enough for the reading of the weights to be shared by many, and several batches
for several threads where there are a hundred prompts."""
ROWS_AT_ONCE = 64  # of logits over the whole vocabulary: 40 MB of float32 for 150,000 tokens

TokenRows = Sequence[Sequence[int]]
"""Token ids of each prompt, without pads."""


@dataclass(frozen=True)
class PromptBatch:
    """Some prompts after the blocks: `resid` begins at position `first_position` of each.

    `prompts` are their numbers in the order in which all were given, `last` each one's last place in `resid`.
    `activations` has the sites that were to be read, from the same position on.
    """

    prompts: list[int]
    resid: Float[Tensor, "batch pos d_model"]
    last: Int[Tensor, " batch"]
    first_position: int
    activations: Mapping[Site, Tensor] = field(default_factory=dict, repr=False)


def token_rows(prompts: ChatPrompts) -> list[list[int]]:
    """The token ids of chat prompts without their pads."""
    ends = (prompts.last + 1).tolist()
    return [row[:end] for row, end in zip(prompts.tokens.tolist(), ends, strict=True)]


def last_streams(
    model: HookedModel, rows: TokenRows, *, edit: Mapping[Site, Edit] = NO_EDITS, n_shared: int | None = None
) -> Float[Tensor, "prompt d_model"]:
    """The residual stream after the last block at each prompt's last position, in the order of the prompts.

    See `read_prompts` for `n_shared` and the errors.
    """

    def at_last(batch: PromptBatch) -> Tensor:
        return batch.resid[torch.arange(len(batch.last), device=batch.last.device), batch.last]

    return read_prompts(model, rows, at_last, edit=edit, n_shared=n_shared)


def streams_before_answer(
    model: HookedModel, rows: TokenRows, n_positions: int
) -> Float[Tensor, "prompt layer place d_model"]:
    """The input of every block at the last `n_positions` positions of each prompt, the last one last.

    Errors: those of `read_prompts`; DataError for a prompt with fewer positions.
    """
    shortest = min(map(len, rows), default=0)
    if not 1 <= n_positions <= shortest:
        raise DataError(
            "prompts have no such positions before their end",
            expected=f"1 to {shortest} positions",
            seen=str(n_positions),
        )
    sites = model.sites(RESID_PRE)
    back = torch.arange(1 - n_positions, 1, device=model.device)

    def before_answer(batch: PromptBatch) -> Tensor:
        row = torch.arange(len(batch.last), device=batch.last.device)[:, None]
        places = batch.last[:, None] + back
        return torch.stack([batch.activations[site][row, places] for site in sites], dim=1)

    # What is read has to be computed with each prompt, and not with what they begin with.
    n_shared = min(common_start([list(row) for row in rows]), shortest - n_positions)
    return read_prompts(model, rows, before_answer, read=sites, n_shared=n_shared)


def over_logits(
    model: HookedModel,
    resid: Float[Tensor, "row d_model"],
    of: Callable[[Float[Tensor, "piece vocab"], slice], Tensor],
) -> Float[Tensor, "row ..."]:
    """`of` the fp32 logits of some streams and of which rows they are, a few rows at a time.

    The logits of all rows would not fit: a hundred rows of 150,000 tokens are 60 MB, a thousand 600.
    """
    pieces = [slice(start, start + ROWS_AT_ONCE) for start in range(0, len(resid), ROWS_AT_ONCE)]
    with torch.no_grad():
        # fp32: what bf16 leaves of a logit is two digits.
        return torch.cat([of(model.unembed(resid[piece]).float(), piece) for piece in pieces])


def read_prompts(
    model: HookedModel,
    rows: TokenRows,
    of: Callable[[PromptBatch], Tensor],
    *,
    edit: Mapping[Site, Edit] = NO_EDITS,
    read: Collection[Site] = (),
    n_shared: int | None = None,
) -> Float[Tensor, "prompt ..."]:
    """What `of` gives of each batch, "batch ...", put together in the order of the prompts.

    `n_shared` tokens, the same in all prompts, are computed once; left out, it is all they begin with, and 0
    computes every prompt whole. Batches are read side by side, so `of` must not change anything.

    DataError for no prompts, an empty one, or one that is too long for the model.
    """
    _require_readable(model, rows)
    if n_shared is None:
        n_shared = common_start([list(row) for row in rows])
    if not model.is_plain or n_shared * (len(rows) - 1) < WORTH_SHARING:
        n_shared = 0
    # 1. The common start, in a batch of 1.
    prefix = _prefix(model, rows[0][:n_shared], edit)

    # 2. The rest, in batches; 3. what is read of each.
    def read_batch(prompts: list[int]) -> Tensor:
        return of(_batch(model, rows, prompts, prefix, n_shared, edit, read))

    lengths = [len(row) - n_shared for row in rows]
    # A GPU has no use for more batches than it needs.
    threads = torch.get_num_threads() if str(model.device).startswith("cpu") else 1
    batches = similar_lengths(lengths, threads)
    found = torch.cat(side_by_side(read_batch, batches, model.device))
    order = torch.tensor([prompt for batch in batches for prompt in batch], device=found.device)
    return found[order.argsort()]


@torch.no_grad()
def _prefix(model: HookedModel, start: Sequence[int], edit: Mapping[Site, Edit]) -> KVPrefix:
    if not start:
        return NO_PREFIX
    input_ids = torch.tensor([list(start)], device=model.device)
    return model.forward(input_ids, edit=edit, keep_prefix=True).prefix


def _batch(
    model: HookedModel,
    rows: TokenRows,
    prompts: list[int],
    prefix: KVPrefix,
    first: int,
    edit: Mapping[Site, Edit],
    read: Collection[Site],
) -> PromptBatch:
    """Some prompts from position `first` on."""
    input_ids, mask, last = model.pad([list(rows[prompt][first:]) for prompt in prompts])
    if first == 0:
        run = model.forward(input_ids, read=read, edit=edit, attention_mask=mask)
        return PromptBatch(prompts, run.resid, last, first, run.activations)
    positions = first + torch.arange(input_ids.shape[1], device=model.device).expand_as(input_ids)
    resid = model.decoder.embed(input_ids, positions)
    # No mask: pads stand on the right, where no real position looks.
    extent = Extent(first_position=first, prefix=prefix)
    run = forward(model.decoder, resid, read=read, edit=edit, extent=extent)
    return PromptBatch(prompts, run.resid, last, first, run.activations)


def similar_lengths(lengths: Sequence[int], threads: int) -> list[list[int]]:
    """The prompts in groups of similar length, at most TOKENS_AT_ONCE tokens in each with its pads.

    There are as many groups as threads, or twice as many and so on: a thread without one would have nothing
    to do while the others work.
    """
    # Stable: prompts of one length stay in their order, and batches are the same in every run.
    order = sorted(range(len(lengths)), key=lambda prompt: -lengths[prompt])
    for n_groups in range(min(threads, len(order)), len(order), threads):
        bounds = [len(order) * group // n_groups for group in range(n_groups + 1)]
        groups = [order[start:end] for start, end in itertools.pairwise(bounds)]
        # The first of a group is its longest, to which the others are padded.
        if all(len(group) * lengths[group[0]] <= TOKENS_AT_ONCE for group in groups):
            return groups
    return [[prompt] for prompt in order]


def _require_readable(model: HookedModel, rows: TokenRows) -> None:
    if not rows:
        raise DataError("there are no prompts to read", expected="one or more", seen="none")
    context = model.anatomy.context_tokens
    for prompt, row in enumerate(rows):
        if not 1 <= len(row) <= context:
            raise DataError(
                f"a prompt that {model.name} cannot read",
                where=f"prompt {prompt}",
                expected=f"1 to {context} tokens",
                seen=f"{len(row)} tokens",
            )
