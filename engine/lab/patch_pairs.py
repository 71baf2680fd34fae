"""What patching is of: pairs of prompts, the logit difference of their answers, and a grid of its values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.spec.sites import ATTN_OUT, MLP_OUT, RESID_PRE, Z

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

PATCHED = {kind.short: kind for kind in (RESID_PRE, ATTN_OUT, MLP_OUT, Z)}
"""The kinds of site that are patched, by the short names that sweeps and tables call them."""
SITES = tuple(PATCHED)


@dataclass(frozen=True)
class PatchPairs:
    """Prompts to patch into (`base`) and from (`source`), and the two answers whose logits are compared.

    `base` and `source` are "prompt pos" and right-padded; pair i is `last[i] + 1` tokens long on both sides.
    A run may begin from another residual stream than that of its tokens: `base_start`, `source_start`.
    """

    base: Int[Tensor, "prompt pos"]
    source: Int[Tensor, "prompt pos"]
    last: Int[Tensor, " prompt"]
    answer: Int[Tensor, " prompt"]
    wrong_answer: Int[Tensor, " prompt"]
    base_start: Float[Tensor, "prompt pos d_model"] | None = None
    source_start: Float[Tensor, "prompt pos d_model"] | None = None

    def __len__(self) -> int:
        return len(self.base)

    def rows(self, index: Sequence[int] | np.ndarray | Tensor) -> PatchPairs:
        """The pairs at `index`."""
        chosen = torch.as_tensor(index, device=self.base.device)
        parts = (self.base, self.source, self.last, self.answer, self.wrong_answer)
        starts = (self.base_start, self.source_start)
        return PatchPairs(
            *(part[chosen] for part in parts),
            *(None if start is None else start[chosen] for start in starts),
        )

    def reversed(self) -> PatchPairs:
        """Noising from denoising, and back: base and source change places."""
        return replace(
            self,
            base=self.source,
            source=self.base,
            base_start=self.source_start,
            source_start=self.base_start,
        )

    def base_resid(self, model: HookedModel) -> Float[Tensor, "prompt pos d_model"]:
        """The residual stream before block 0 of the runs patched into."""
        return model.embed(self.base) if self.base_start is None else self.base_start

    def source_resid(self, model: HookedModel) -> Float[Tensor, "prompt pos d_model"]:
        """The residual stream before block 0 of the runs patched from."""
        return model.embed(self.source) if self.source_start is None else self.source_start


@dataclass(frozen=True)
class Sweep:
    """The metric after each patch, and of the two unpatched runs.

    `patched` holds, by site, "prompt layer pos" (`z`: "prompt layer pos head"); NaN where not asked for.
    """

    patched: dict[str, np.ndarray]
    base: Float[np.ndarray, " prompt"]
    source: Float[np.ndarray, " prompt"]

    def normalised(self, source: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """By site, the metric after each patch on a scale where 0 is the base run and 1 the source run.

        `source` replaces the source run's own values as the 1 of the scale.
        """
        # (patched - base) / (source - base), as in Zhang & Nanda 2024
        span = (self.source if source is None else source) - self.base
        return {
            site: (values - _like(self.base, values)) / _like(span, values)
            for site, values in self.patched.items()
        }


def empty_sweep(model: HookedModel, pairs: PatchPairs, sites: Sequence[str]) -> Sweep:
    """A sweep of the right shape, filled with NaN."""
    n = len(pairs)
    grid = (n, model.n_layers, pairs.base.shape[1])
    shapes = {site: (*grid, model.shape.n_heads) if site == "z" else grid for site in sites}
    # NaN and not 0: a place that was not patched must not look like one without an effect.
    nan = {site: np.full(shape, np.nan) for site, shape in shapes.items()}
    return Sweep(nan, np.full(n, np.nan), np.full(n, np.nan))


def answer_direction(model: HookedModel, pairs: PatchPairs) -> Float[Tensor, "prompt d_model"]:
    """Where the unembedding reads answer minus wrong answer: W_U[:, answer] - W_U[:, wrong answer]."""
    # One direction per prompt: two columns instead of a product with the whole vocabulary.
    return (model.W_U[:, pairs.answer].float() - model.W_U[:, pairs.wrong_answer].float()).T


def logit_differences(
    model: HookedModel, resid: Float[Tensor, "row d_model"], direction: Float[Tensor, "row d_model"]
) -> Float[Tensor, " row"]:
    """answer - wrong answer in logits, of residual streams after the last block."""
    # The product in fp32: a difference of two bf16 logits would lose most of its digits.
    return (model.final_norm(resid).float() * direction).sum(-1)


def capped_differences(
    model: HookedModel,
    resid: Float[Tensor, "row d_model"],
    answer: Int[Tensor, " row"],
    wrong_answer: Int[Tensor, " row"],
) -> Float[Tensor, " row"]:
    """answer - wrong answer in logits, each logit capped by itself, which no one direction says."""
    normed = model.final_norm(resid).float()
    rows = model.W_U.T
    sides = [model.capped((normed * rows[token].float()).sum(-1)) for token in (answer, wrong_answer)]
    return sides[0] - sides[1]


def _like(per_prompt: np.ndarray, values: np.ndarray) -> np.ndarray:
    # Broadcast over layers, positions and, for z, heads.
    return per_prompt.reshape(-1, *[1] * (values.ndim - 1))
