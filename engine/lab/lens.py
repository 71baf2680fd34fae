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


def _standing(
    model: HookedModel, streams: Float[Tensor, "row d_model"], targets: Int[Tensor, "row target"]
) -> tuple[Int[Tensor, "row target"], Float[Tensor, "row target"]]:
    """Rank and log-probability of each row's targets."""
    ranks = []
    logprobs = []
    for rows, wanted in zip(streams.split(ROWS_AT_ONCE), targets.split(ROWS_AT_ONCE), strict=True):
        # The lens: W_U norm(x_l), with the model's own final norm. In fp32, since a bf16 log-sum over the
        # vocabulary is off by more than the differences between layers.
        logits = model.unembed(rows).float()
        own = logits.gather(1, wanted)
        # The rank counts likelier tokens, so that ties are no worse; no sort of the vocabulary is needed.
        ranks.append(torch.stack([(logits > own[:, [t]]).sum(1) for t in range(wanted.shape[1])], dim=1))
        logprobs.append(own - logits.logsumexp(1, keepdim=True))
    return torch.cat(ranks), torch.cat(logprobs)
