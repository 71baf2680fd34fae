"""One vector for each text, read at a hook site: what a probe learns from.

A text has a vector at every token. `pooling` says which of them stands for the text: that of its last token,
or the mean or the maximum over its tokens, coordinate by coordinate. Mean and maximum leave out the first
token where there are others: every later position attends to it whatever it says, and its activations may be
hundreds of times as long as others (Sun et al. 2024, "Massive Activations in Large Language Models").
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.lab.groups import equal_length_groups
from engine.lab.site_vectors import activations_at
from engine.models.hooked import HookedModel
from engine.spec.family_params import PoolingName

Encode = Callable[[Float[Tensor, "row d"]], Float[Tensor, "row latent"]]
TEXTS_AT_ONCE = 16


@torch.no_grad()
def text_vectors(
    model: HookedModel,
    input_ids: Int[Tensor, "text pos"],
    last: Int[Tensor, " text"],
    site: str,
    pooling: PoolingName = "last",
    encode: Encode | None = None,
) -> tuple[Float[np.ndarray, "text d"], Float[np.ndarray, "text latent"] | None]:
    """Each text's activations at `site`, pooled, in fp32; and its codes where `encode` makes codes of rows.

    `last` is the index of each text's last token. Codes are made of every token and then pooled: the code of
    a mean is not the mean of the codes.
    """
    pooled: list[Tensor] = []
    codes: list[Tensor] = []
    order: list[int] = []
    # Of one length together, so that no mask is needed and nothing is computed of padding.
    for index in equal_length_groups(last, TEXTS_AT_ONCE):
        n_tokens = int(last[index[0]]) + 1
        found = activations_at(model, input_ids[index, :n_tokens], [site])[site]
        kept = found[:, _first(pooling, n_tokens) :].float()
        pooled.append(pool(kept, pooling))
        if encode is not None:
            rows = encode(kept.flatten(0, 1))
            codes.append(pool(rows.unflatten(0, kept.shape[:2]), pooling))
        order += index
    # Groups came by length: back to the order of the texts.
    back = np.argsort(order)
    vectors = torch.cat(pooled).cpu().numpy()[back]
    return vectors, torch.cat(codes).cpu().numpy()[back] if codes else None


def pool(values: Float[Tensor, "text pos d"], pooling: PoolingName) -> Float[Tensor, "text d"]:
    """One vector for each text out of those of its tokens."""
    if pooling == "last":
        return values[:, -1]
    return values.mean(dim=1) if pooling == "mean" else values.amax(dim=1)


def _first(pooling: PoolingName, n_tokens: int) -> int:
    """The first position that counts."""
    return n_tokens - 1 if pooling == "last" else min(1, n_tokens - 1)
