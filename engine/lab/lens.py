"""The logit lens: what the model would say if it stopped after each block.

Source: nostalgebraist (2020), "interpreting GPT: the logit lens".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.lab.groups import equal_length_groups
from engine.lab.threads import side_by_side
from engine.spec.sites import RESID_PRE

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

ROWS_AT_ONCE = 128  # rows of "vocab" logits held at a time: 25 MB for SmolLM2


@dataclass(frozen=True)
class LensReading:
    """How each target token stands after 0, 1, ... n_layers blocks, each "prompt layer target".

    `rank` counts the tokens that are likelier, from 0; `logprob` is in nats. Layer 0 reads the embedding.
    """

    rank: Int[np.ndarray, "prompt layer target"]
    logprob: Float[np.ndarray, "prompt layer target"]


def read_lens(
    model: HookedModel,
    input_ids: Int[Tensor, "prompt pos"],
    last: Int[Tensor, " prompt"],
    targets: Int[Tensor, "prompt target"],
    translate: Callable[[Tensor], Tensor] = lambda streams: streams,
) -> LensReading:
    """Final norm and unembedding on the residual stream of the last position before and after every block.

    `translate` maps the streams, "row layers d_model", before they are read: a tuned lens.
    """
    shape = (len(input_ids), model.n_layers + 1, targets.shape[1])
    reading = LensReading(np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.float32))

    def standing(index: list[int]) -> list[Tensor]:
        streams = translate(last_position_streams(model, input_ids[index, : int(last[index[0]]) + 1]))
        # Every layer of every prompt is a row of its own, each against the targets of its prompt.
        wanted = targets[index].repeat_interleave(shape[1], dim=0)
        both = _standing(model, streams.flatten(0, 1), wanted)
        return [each.unflatten(0, streams.shape[:2]).cpu() for each in both]

    # Prompts of one length together: no padding, and the last position is -1 for all of a group.
    groups = list(equal_length_groups(last, 8))
    for index, found in zip(groups, side_by_side(standing, groups, model.device), strict=True):
        reading.rank[index], reading.logprob[index] = found
    return reading


def last_position_streams(
    model: HookedModel, input_ids: Int[Tensor, "prompt pos"]
) -> Float[Tensor, "prompt layer d_model"]:
    """The residual stream at the last position before block 0 and after every block."""
    # x_0 .. x_{L-1} are what the blocks read, x_L is what the last one leaves.
    run = model.forward(input_ids, read=model.sites(RESID_PRE))
    streams = [*run.by_layer(RESID_PRE), run.resid]
    return torch.stack([stream[:, -1] for stream in streams], dim=1)


@dataclass(frozen=True)
class LensGrid:
    """What one text says after 0, 1, ... n_layers blocks at each of its positions, the final layer last.

    `rank` and `logprob` are those of each position's target, as in `LensReading`; `top` has the likeliest
    token ids, the likeliest first, and `top_probability` what each is given.
    """

    rank: Int[np.ndarray, "pos layer"]
    logprob: Float[np.ndarray, "pos layer"]
    top: Int[np.ndarray, "pos layer top"]
    top_probability: Float[np.ndarray, "pos layer top"]


@torch.no_grad()
def read_lens_grid(
    model: HookedModel,
    input_ids: Int[Tensor, " pos"],
    last_target: int | None = None,
    n_top: int = 5,
    translate: Callable[[Tensor], Tensor] = lambda streams: streams,
) -> LensGrid:
    """Final norm and unembedding on the residual stream at every position before and after every block.

    The target of a position is what the model finds likeliest there in the end; of the last position it is
    `last_target`, where one is given. `translate` is that of `read_lens`.
    """
    run = model.forward(input_ids[None], read=model.sites(RESID_PRE))
    # "pos layer d_model": a position is a row of `translate`, as a prompt is in `read_lens`.
    streams = translate(torch.stack([*run.by_layer(RESID_PRE), run.resid], dim=2)[0])
    targets = model.unembed(streams[:, -1]).argmax(-1)
    if last_target is not None:
        targets[-1] = last_target
    shape = streams.shape[:2]
    rows = streams.flatten(0, 1)
    wanted = targets.repeat_interleave(shape[1])[:, None]
    pieces = zip(rows.split(ROWS_AT_ONCE), wanted.split(ROWS_AT_ONCE), strict=True)
    # Rank, log-probability and top tokens of one product with the vocabulary, which is most of the work.
    found = [_standing_and_top(model, streams, targets, n_top) for streams, targets in pieces]
    rank, logprob, top, top_logprob = (
        torch.cat(parts).unflatten(0, shape).cpu().numpy() for parts in zip(*found, strict=True)
    )
    return LensGrid(rank[..., 0], logprob[..., 0], top, np.exp(top_logprob))


def _standing(
    model: HookedModel, streams: Float[Tensor, "row d_model"], targets: Int[Tensor, "row target"]
) -> tuple[Int[Tensor, "row target"], Float[Tensor, "row target"]]:
    """Rank and log-probability of each row's targets."""
    pieces = zip(streams.split(ROWS_AT_ONCE), targets.split(ROWS_AT_ONCE), strict=True)
    found = [_standing_and_top(model, rows, wanted, 0)[:2] for rows, wanted in pieces]
    ranks, logprobs = zip(*found, strict=True)
    return torch.cat(ranks), torch.cat(logprobs)


def _standing_and_top(
    model: HookedModel,
    streams: Float[Tensor, "row d_model"],
    targets: Int[Tensor, "row target"],
    n_top: int,
) -> tuple[
    Int[Tensor, "row target"], Float[Tensor, "row target"], Int[Tensor, "row top"], Float[Tensor, "row top"]
]:
    """Rank and log-probability of each row's targets; the likeliest tokens and their log-probabilities."""
    # The lens: W_U norm(x_l), with the model's own final norm. In fp32, since a bf16 log-sum over the
    # vocabulary is off by more than the differences between layers.
    logits = model.unembed(streams).float()
    own = logits.gather(1, targets)
    # The rank counts likelier tokens, so that ties are no worse; no sort of the vocabulary is needed.
    rank = torch.stack([(logits > own[:, [t]]).sum(1) for t in range(targets.shape[1])], dim=1)
    total = logits.logsumexp(1, keepdim=True)
    top = logits.topk(n_top)
    return rank, own - total, top.indices, top.values - total
