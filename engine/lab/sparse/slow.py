"""The loss of gradients.py by plain autograd over dense latents: what the fast path must equal."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine.lab.sparse.gradients import Objective, Weights


def slow_loss(
    weights: Weights,
    x: Float[Tensor, "row d"],
    objective: Objective,
    dead: Bool[Tensor, " latent"] | None = None,
) -> Tensor:
    """Mean squared error of a row, plus the weighted auxiliary error."""
    pre = (x - weights.b_dec) @ weights.W_enc.T + weights.b_enc
    # Selection by index, as in the fast path: no gradient flows into which latents are active.
    codes = _kept(pre, objective.k) if objective.architecture == "topk" else _kept_of_all(pre, objective.k)
    decoded = codes.relu() @ weights.W_dec + weights.b_dec
    loss = (decoded - x).square().sum(dim=1).mean()
    if dead is None or not bool(dead.any()):
        return loss
    # Living latents at -inf are never among the largest; what is dead and negative falls to the ReLU.
    dead_pre = torch.where(dead, pre, -torch.inf)
    dead_codes = _kept(dead_pre, min(objective.k_aux, int(dead.sum()))).relu()
    # e is held constant: AuxK must not teach living latents to leave more over.
    left_over = (x - decoded).detach()
    missing = (dead_codes @ weights.W_dec - left_over).square().sum(dim=1).mean()
    return loss + objective.aux_coefficient * missing


def slow_gradients(
    weights: Weights,
    x: Float[Tensor, "row d"],
    objective: Objective,
    dead: Bool[Tensor, " latent"] | None = None,
) -> Weights:
    """Autograd's gradients, that of each decoder row without its part along the row."""
    leaves = Weights(*(w.detach().clone().requires_grad_() for w in weights.all()))
    slow_loss(leaves, x, objective, dead).backward()
    W_enc, W_dec, b_enc, b_dec = (w.grad if w.grad is not None else torch.zeros_like(w) for w in leaves.all())
    # Rows have norm 1, so that this dot is the length of the gradient's part along the row.
    along = (W_dec * weights.W_dec).sum(dim=1, keepdim=True)
    return Weights(W_enc, W_dec - along * weights.W_dec, b_enc, b_dec)


def _kept(pre: Tensor, k: int) -> Tensor:
    top = pre.topk(k, dim=1)
    return torch.zeros_like(pre).scatter(1, top.indices, top.values)


def _kept_of_all(pre: Tensor, k: int) -> Tensor:
    # BatchTopK is Top-K over the whole batch as one row.
    return _kept(pre.reshape(1, -1), k * len(pre)).reshape(pre.shape)
