"""Affine translators for the lens: from the stream after a block to what the last block will make of it.

The plain lens reads every layer in the basis of the last one, where early layers may not write. A translator
for each layer, h_L ~ A h_l + b, takes that difference away (Belrose et al. 2023, "Eliciting Latent
Predictions from Transformers with the Tuned Lens"). There A and b minimise the divergence from the output;
here they are the least-squares fit to the final stream (Din et al. 2023, "Jump to Conclusions"), which has a
closed form: no steps, no learning rate, no seed. Each token's error is taken relative to the length of its
final stream, since the final norm divides by it; otherwise a few tokens of huge activations rule the fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.lab.contexts import Contexts
from engine.spec.sites import RESID_PRE

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

CONTEXTS_AT_ONCE = 16
RIDGE = 1e-6
"""Relative to the mean square of a dimension: without effect but where dimensions are constant."""


@dataclass(frozen=True)
class Translators:
    """An affine map for every layer; layer `n_layers` (after the last block) is left as it is.

    `mean` is the mean direction of the final stream: what a lens says that reads nothing.
    """

    weight: Float[Tensor, "layer d_model d_model"]
    bias: Float[Tensor, "layer d_model"]
    mean: Float[Tensor, " d_model"]

    def __call__(self, streams: Float[Tensor, "row layers d_model"]) -> Float[Tensor, "row layers d_model"]:
        """The streams after 0, 1, ... n_layers blocks as the last block's output would have them."""
        before_last = streams[:, :-1].float()
        moved = torch.einsum("rli,lij->rlj", before_last, self.weight) + self.bias
        return torch.cat([moved.to(streams.dtype), streams[:, -1:]], dim=1)


@dataclass
class _Moments:
    """Weighted sums over tokens of products of inputs and targets, by layer, in double precision."""

    inputs: Float[Tensor, "layer d_and_1 d_and_1"]
    targets: Float[Tensor, "layer d_and_1 d_model"]

    def add(self, layer: int, x: Float[Tensor, "token d_and_1"], y: Float[Tensor, "token d_model"]) -> None:
        self.inputs[layer] += (x.T @ x).double().cpu()
        self.targets[layer] += (x.T @ y).double().cpu()


@torch.no_grad()
def fit_translators(
    model: HookedModel,
    contexts: Contexts,
    chosen: Int[np.ndarray, " context"],
    progress: Callable[..., None] = lambda fraction: None,
) -> Translators:
    """Least squares of the final stream on each layer's, over the positions that count of some contexts.

    One pass of sums and one solution a layer; no activation is kept. Source: Din et al. 2023, section 3.
    """
    d = model.shape.d_model
    zeros = [torch.zeros(model.n_layers, d + 1, columns, dtype=torch.float64) for columns in (d + 1, d)]
    moments = _Moments(*zeros)
    mean = torch.zeros(d, dtype=torch.float64)
    batches = np.array_split(chosen, max(1, len(chosen) // CONTEXTS_AT_ONCE))
    for done, batch in enumerate(batches):
        streams, counted = layer_streams(model, contexts, batch)
        final = streams[-1][counted].float()
        # Weighted least squares: a row divided by |h_L| counts by its direction, not by its length.
        scale = 1 / final.norm(dim=-1, keepdim=True)
        mean += (final * scale).sum(dim=0).double().cpu()
        for layer, stream in enumerate(streams[:-1]):
            x = stream[counted].float()
            with_one = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
            moments.add(layer, with_one * scale, final * scale)
        progress((done + 1) / len(batches))
    weight, bias = (part.to(model.device) for part in solved(moments.inputs, moments.targets))
    # The length of the mean is of no effect: the final norm follows.
    return Translators(weight, bias, mean.float().to(model.device))


def solved(
    inputs: Float[Tensor, "layer d_and_1 d_and_1"], targets: Float[Tensor, "layer d_and_1 d_model"]
) -> tuple[Float[Tensor, "layer d_model d_model"], Float[Tensor, "layer d_model"]]:
    """Weights and biases of the least squares whose moments these are; the last input is the constant 1."""
    # Normal equations, (X'X + r) [A; b] = X'Y, the ridge relative to the size of the inputs.
    size = inputs.diagonal(dim1=1, dim2=2).mean(dim=1)
    ridge = RIDGE * size[:, None, None] * torch.eye(inputs.shape[1], dtype=inputs.dtype)
    both = torch.linalg.solve(inputs + ridge, targets).float()
    return both[:, :-1], both[:, -1]


def layer_streams(
    model: HookedModel, contexts: Contexts, chosen: Int[np.ndarray, " context"]
) -> tuple[list[Float[Tensor, "context pos d_model"]], Tensor]:
    """The residual stream before block 0 and after every block, and which positions count."""
    run = model.forward(contexts.inputs(chosen).to(model.device), read=model.sites(RESID_PRE))
    return [*run.by_layer(RESID_PRE), run.resid], contexts.counted(chosen).to(model.device)


@torch.no_grad()
def divergences(
    model: HookedModel,
    contexts: Contexts,
    chosen: Int[np.ndarray, " context"],
    translators: Translators,
    generator: np.random.Generator,
    progress: Callable[..., None] = lambda fraction: None,
) -> dict[str, Float[np.ndarray, "context layer"]]:
    """KL in nats from the output to each lens, at one position of each context, drawn at random.

    Lenses: `plain`, `tuned`, and `constant`, which reads the mean final stream at every layer.
    KL(output || lens), as in Belrose et al. 2023, section 2.
    """
    found: dict[str, list[Tensor]] = {"plain": [], "tuned": [], "constant": []}
    for done, context in enumerate(chosen):
        streams, counted = layer_streams(model, contexts, np.array([context]))
        at = generator.choice(np.flatnonzero(counted[0].cpu().numpy()))
        rows = torch.stack([stream[0, at] for stream in streams])[None]
        output = model.unembed(rows[0, -1:]).float().log_softmax(-1)
        constant = translators.mean.expand_as(rows[0])
        lenses = {"plain": rows[0], "tuned": translators(rows)[0], "constant": constant}
        for name, streams_of in lenses.items():
            logprobs = model.unembed(streams_of).float().log_softmax(-1)
            found[name].append((output.exp() * (output - logprobs)).sum(-1))
        progress((done + 1) / len(chosen))
    return {name: torch.stack(rows).cpu().numpy() for name, rows in found.items()}
