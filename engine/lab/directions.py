"""Directions of the residual stream: found, put in, taken out, and how well they tell two kinds apart.

1. A direction is the difference of the mean activations of two kinds of prompts, at one layer and position
   (`mean_difference`). Its chance level are random directions of the same length (`random_directions`).
2. Addition puts it in, x' = x + c r, at one layer and all positions (`addition_edits`).
3. Directional ablation takes it out, x' = x - r^ (r^ . x), of whatever is written to the stream: at the input
   of every block and at the outputs of its attention and its MLP (`ablation_edits`).
4. Separability is what a projection on it tells: the area under the ROC curve (`auc_samples`) and the effect
   size d' (`effect_size_samples`), both as values per prompt whose mean is the number, so that their
   intervals are those of any mean, clusters included.

That a direction separates does not say that it controls anything: these are different measurements.

Edits are functions of an activation "... d_model", for `edit=` of `engine.models.forward.forward` and
`engine.models.generate.generate`. They compute in fp32 whatever the model's dtype.

Source: Arditi et al. 2024, "Refusal in Language Models Is Mediated by a Single Direction" (2.3, 2.4); DeLong
et al. 1988 (the values behind an AUC).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine.errors import DataError, ModelError
from engine.models.forward import Edit
from engine.models.sites import Site
from engine.spec.sites import ATTN_OUT, MLP_OUT, RESID_PRE

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

Direction = Float[Tensor, " d_model"]
Scores = Float[np.ndarray, " prompt"]
Labels = Bool[np.ndarray, " prompt"]
WRITTEN = (RESID_PRE, ATTN_OUT, MLP_OUT)
"""Where a direction can enter a block's stream: from before, from its attention, from its MLP."""


def mean_difference(
    positive: Float[Tensor, "positive *place d_model"], negative: Float[Tensor, "negative *place d_model"]
) -> Float[Tensor, "*place d_model"]:
    """The mean activation of one kind of prompts less that of the other, in fp32, at every place.

    DataError where one of the two has no prompt.
    """
    for name, activations in (("positive", positive), ("negative", negative)):
        if len(activations) == 0:
            raise DataError(
                f"no {name} prompt to take a mean over", expected="one of each kind or more", seen="0"
            )
    return positive.float().mean(0) - negative.float().mean(0)


def unit(direction: Float[Tensor, "*place d_model"]) -> Float[Tensor, "*place d_model"]:
    """The direction at length 1, in fp32; ModelError where it has no length, or is no number."""
    norm = direction.float().norm(dim=-1, keepdim=True)
    if not bool((norm.isfinite() & (norm > 0)).all()):
        raise ModelError(
            "a direction has no length",
            expected="a vector that is finite and not 0",
            seen=f"length {float(norm.flatten()[0]):g}",
            hint="the two kinds of prompts have the same mean there",
        )
    return direction.float() / norm


def random_directions(direction: Direction, n: int, seed: int) -> Float[Tensor, "direction d_model"]:
    """`n` directions as long as the given one, evenly distributed over all directions.

    They depend on the seed alone, whatever the device; the first of a larger `n` are those of a smaller.
    """
    generator = torch.Generator().manual_seed(seed)
    # A normal vector's direction is uniform on the sphere. Row by row, since torch draws the end of a tensor
    # in another way than its middle.
    drawn = torch.stack([torch.randn(len(direction), generator=generator) for _ in range(n)])
    return unit(drawn).to(direction.device) * direction.float().norm()


def added(direction: Direction, coefficient: float = 1.0) -> Edit:
    """x' = x + c r at every position that the edit sees."""
    step = coefficient * direction.float()

    def edit(x: Tensor) -> Tensor:
        return (x.float() + step.to(x.device)).to(x.dtype)

    return edit


def ablated(direction: Direction) -> Edit:
    """x' = x - r^ (r^ . x): nothing is left along the direction, whose length does not count."""
    r = unit(direction)

    def edit(x: Tensor) -> Tensor:
        along = r.to(x.device)
        wide = x.float()
        return (wide - (wide @ along)[..., None] * along).to(x.dtype)

    return edit


def addition_edits(direction: Direction, layer: int, coefficient: float = 1.0) -> dict[Site, Edit]:
    """Addition at the input of one block, the one that the direction was found at: all positions."""
    return {Site(layer, RESID_PRE): added(direction, coefficient)}


def ablation_edits(
    model: HookedModel, direction: Direction, layers: Collection[int] | None = None
) -> dict[Site, Edit]:
    """Directional ablation at the input, the attention output and the MLP output of blocks: all positions.

    `layers` are the blocks, all of them unless given. ModelError for a direction of another width, and for a
    model in which one of the three cannot be edited.
    """
    require_width(model, direction)
    missing = [kind.name for kind in WRITTEN if kind in model.absent_sites]
    if missing:
        raise ModelError(
            f"{model.name} has no site where a direction could be taken out of what is written",
            expected=", ".join(kind.name for kind in WRITTEN),
            seen="without " + ", ".join(missing),
        )
    edit = ablated(direction)
    blocks = range(model.n_layers) if layers is None else layers
    return {Site(layer, kind): edit for layer in blocks for kind in WRITTEN}


def require_width(model: HookedModel, direction: Direction) -> None:
    """ModelError for a direction that is not of this model's width."""
    if len(direction) != model.shape.d_model:
        raise ModelError(
            f"the direction is not one of {model.name}'s residual stream",
            expected=f"{model.shape.d_model} dimensions",
            seen=str(len(direction)),
            hint="a vector belongs to the model, and the layer, that it was made for",
        )


def projection(activations: Float[Tensor, "*place d_model"], direction: Direction) -> Float[Tensor, "*place"]:
    """How far activations lie along the direction, r^ . x, in the activations' units."""
    return activations.float() @ unit(direction).to(activations.device)


def agreement(differences: Float[Tensor, "pair d_model"]) -> Float[Tensor, " pair"]:
    """The cosine of each training difference with their mean: how far they agree on one direction.

    Near 1 they are one vector; for independent vectors the mean of the cosines is about 1 / sqrt(n). Its mean
    is said to predict how reliably steering works (Braun et al. 2025).
    """
    return projection(unit(differences), differences.float().mean(0))


def auc(scores: Scores, positive: Labels) -> float:
    """The chance that a positive prompt has a larger score than a negative one, ties counting one half."""
    return float(auc_samples(scores, positive).mean())


def auc_samples(scores: Scores, positive: Labels) -> Scores:
    """A value for each prompt, whose mean is the AUC and whose spread is the AUC's own uncertainty.

    With V_i the share of the other kind that prompt i is on the right side of, a unit's value is
    AUC + (n / n_kind) (V_i - AUC), so that the variance of the mean is S_1 / n_1 + S_0 / n_0 (DeLong et al.
    1988). Values may lie outside of [0, 1]. DataError where a kind has no prompt.
    """
    n_by_kind = _numbers(positive)
    others = {kind: np.sort(scores[positive != kind]) for kind in (True, False)}
    right = np.empty(len(scores))
    for kind, ordered in others.items():
        own = scores[positive == kind]
        below = np.searchsorted(ordered, own, side="left")
        up_to = np.searchsorted(ordered, own, side="right")
        # Ties are half below and half above.
        share_below = (below + up_to) / 2 / len(ordered)
        right[positive == kind] = share_below if kind else 1 - share_below
    area = right[positive].mean()
    return area + len(scores) / n_by_kind * (right - area)


def effect_size(scores: Scores, positive: Labels) -> float:
    """d' = (m_1 - m_0) / s, with s^2 the mean squared distance of the scores from their own kind's mean."""
    return float(effect_size_samples(scores, positive).mean())


def effect_size_samples(scores: Scores, positive: Labels) -> Scores:
    """A value for each prompt, whose mean is d' and whose spread is the uncertainty of d', to first order.

    d' = (m_1 - m_0) / s is linearised in m_1, m_0 and s^2 (the delta method):
    d' +- (n / n_kind) (x - m_kind) / s - d' / (2 s^2) ((x - m_kind)^2 - s^2). DataError where a kind has no
    prompt, or all prompts of a kind have one score.
    """
    n_by_kind = _numbers(positive)
    means = np.where(positive, scores[positive].mean(), scores[~positive].mean())
    around = scores - means
    variance = (around**2).mean()
    if not variance > 0:
        raise DataError(
            "an effect size needs scores that differ within a kind",
            expected="a spread",
            seen="one score each",
        )
    s = np.sqrt(variance)
    d = (scores[positive].mean() - scores[~positive].mean()) / s
    sign = np.where(positive, 1.0, -1.0)
    return d + sign * len(scores) / n_by_kind * around / s - d / (2 * variance) * (around**2 - variance)


def _numbers(positive: Labels) -> np.ndarray:
    """How many prompts there are of each prompt's kind; DataError where there is one kind alone."""
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        raise DataError(
            "there are not two kinds to tell apart",
            expected="prompts of both labels",
            seen=f"{n_positive} positive, {n_negative} negative",
        )
    return np.where(positive, n_positive, n_negative)
