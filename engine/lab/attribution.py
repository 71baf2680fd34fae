"""Direct logit attribution: what each component writes towards an answer, with the final norm's scale frozen.

The residual stream at the last position is the sum of what the embeddings, every head, every attention
bias and every MLP wrote to it. Once the final norm's scale is held at its value in the run, norm and
unembedding are linear, so a logit difference is the sum of the components' contributions (and of the
norm's own bias), exactly. What else is not linear on the way is frozen alike: the norm that some
architectures have after attention, at its scale, and a soft cap of the logits, at what it makes of each
answer's logit in the run (`answer_directions`).

Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Wang et al. 2023 (per
head).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.lab.groups import equal_length_groups
from engine.lab.threads import side_by_side
from engine.models.sites import Site
from engine.spec.sites import MLP_OUT, RESID_PRE, Z

if TYPE_CHECKING:
    from engine.models.forward import ForwardPass
    from engine.models.hooked import HookedModel

ComponentKind = Literal["embedding", "position embedding", "head", "attention bias", "mlp", "norm bias"]


@dataclass(frozen=True)
class Component:
    """One writer to the residual stream; `layer` is -1 for what belongs to none."""

    name: str
    kind: ComponentKind
    layer: int = -1


@dataclass(frozen=True)
class Attribution:
    """Contributions in logits, "prompt direction component", and the logit differences they add up to."""

    components: tuple[Component, ...]
    values: Float[np.ndarray, "prompt direction component"]
    logit_diff: Float[np.ndarray, "prompt direction"]

    @property
    def largest_residue(self) -> float:
        """How far any sum of contributions is from its logit difference, relative to the largest of these."""
        residue = np.abs(self.values.sum(axis=-1) - self.logit_diff).max()
        return float(residue / np.abs(self.logit_diff).max())

    def of_kind(self, *kinds: ComponentKind) -> np.ndarray:
        """Indices of the components of these kinds, in order of layer."""
        return np.array([i for i, c in enumerate(self.components) if c.kind in kinds], dtype=int)

    def by_layer(self, n_layers: int) -> Float[np.ndarray, "prompt direction layer"]:
        """What each block as a whole wrote."""
        # Embeddings and the norm's bias have layer -1, and so belong to no block.
        layers = np.array([c.layer for c in self.components])
        return np.stack([self.values[..., layers == layer].sum(-1) for layer in range(n_layers)], axis=-1)


def attribute(
    model: HookedModel,
    input_ids: Int[Tensor, "prompt pos"],
    last: Int[Tensor, " prompt"],
    directions: Float[Tensor, "prompt direction d_model"],
) -> Attribution:
    """Every component's contribution at the last position along directions in the unembedding's input."""
    names = components(model)
    n_prompts, n_directions, _ = directions.shape
    # In float64: what components add up to is compared with the logit difference.
    values = np.zeros((n_prompts, n_directions, len(names)))
    logit_diff = np.zeros((n_prompts, n_directions))

    def contributions(index: list[int]) -> tuple[Tensor, Tensor]:
        # Cut to the group's one length: nothing is padded, and the last position is the last column.
        written, final = _writings(model, input_ids[index, : int(last[index[0]]) + 1])
        # With its scale frozen the final norm is linear:
        # norm(sum_c x_c) = sum_c (x_c * scale * weight) + bias
        norm = model.frozen_norm(final.float())
        towards = directions[index].float()
        # contribution_c = norm(x_c) . d, where d is W_U[:, answer] - W_U[:, wrong answer]
        linear = torch.einsum("cpd,pkd->pkc", norm.apply(written.float()), towards)
        from_bias = (towards @ norm.bias.float())[..., None]
        # What they must add up to, from the norm as the model runs it (`largest_residue`).
        total = torch.einsum("pd,pkd->pk", model.final_norm(final).float(), towards)
        return torch.cat((linear, from_bias), dim=-1).cpu(), total.cpu()

    groups = list(equal_length_groups(last, 8))
    for index, found in zip(groups, side_by_side(contributions, groups, model.device), strict=True):
        values[index], logit_diff[index] = found
    return Attribution(names, values, logit_diff)


def answer_directions(
    model: HookedModel,
    input_ids: Int[Tensor, "prompt pos"],
    last: Int[Tensor, " prompt"],
    answers: Int[Tensor, "prompt direction"],
    wrong: Int[Tensor, " prompt"],
) -> Float[Tensor, "prompt direction d_model"]:
    """Where the logit of each answer is read minus that of the wrong answer, in the unembedding's input.

    A model that caps its logits (Gemma 2) gives c tanh(l / c) for l. Held at its value in the run, the factor
    c tanh(l / c) / l makes that linear: each row of the unembedding is multiplied by its own.
    """
    rows = model.W_U.T
    if not model.logit_cap:
        return rows[answers] - rows[wrong][:, None]
    tokens = torch.cat((answers, wrong[:, None]), dim=1)
    scaled = rows[tokens].float()
    groups = list(equal_length_groups(last, 8))

    def factors(index: list[int]) -> Tensor:
        resid = model.layers(model.embed(input_ids[index, : int(last[index[0]]) + 1]))[:, -1]
        logits = torch.einsum("pd,ptd->pt", model.final_norm(resid).float(), scaled[index])
        # tanh(x) / x is 1 at 0, where dividing would give NaN.
        return torch.where(logits == 0, 1.0, model.capped(logits) / logits)

    found = side_by_side(factors, groups, model.device)
    for index, values in zip(groups, found, strict=True):
        scaled[index] = scaled[index] * values[..., None]
    return scaled[:, :-1] - scaled[:, -1:]


def components(model: HookedModel) -> tuple[Component, ...]:
    """Every writer, in the order of `Attribution.values`."""
    named = [Component("embedding", "embedding")]
    if model.path.position_embedding is not None:
        named.append(Component("position embedding", "position embedding"))
    for layer in range(model.n_layers):
        named += [Component(f"L{layer}H{head}", "head", layer) for head in range(model.shape.n_heads)]
        named += [Component(f"L{layer}b_O", "attention bias", layer), Component(f"MLP{layer}", "mlp", layer)]
    return (*named, Component("norm bias", "norm bias"))


def _writings(
    model: HookedModel, input_ids: Int[Tensor, "prompt pos"]
) -> tuple[Float[Tensor, "component prompt d_model"], Float[Tensor, "prompt d_model"]]:
    """What each component but the norm's bias wrote at the last position, and the stream at the end."""
    run = model.forward(input_ids, read=[Site(0, RESID_PRE), *model.sites(Z, MLP_OUT)])
    return torch.stack(list(_written(model, run))), run.resid[:, -1]


def _written(model: HookedModel, run: ForwardPass) -> Iterator[Float[Tensor, "prompt d_model"]]:
    """In the order of `components`; the sum is the residual stream at the end (Elhage et al. 2021)."""
    embedded = run.activations[Site(0, RESID_PRE)]
    positions = model.path.position_embedding
    if positions is None:
        yield embedded[:, -1]
    else:
        # Where positions are learned the stream before block 0 is token plus position embedding.
        position = positions[embedded.shape[1] - 1].expand(len(embedded), -1)
        yield embedded[:, -1] - position
        yield position
    for layer in range(model.n_layers):
        # attn_out = sum_h z_h W_O^h + b_O: a head each, and the bias, which belongs to none of them
        z = run.activations[Site(layer, Z)][:, -1:]
        heads = model.head_outputs(layer, z)
        yield from heads[:, 0].unbind(dim=1)
        yield model.bias_output(layer, z)[:, 0]
        yield run.activations[Site(layer, MLP_OUT)][:, -1]
