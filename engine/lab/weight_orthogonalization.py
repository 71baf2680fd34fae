"""Directional ablation written into the weights: a model that cannot write a direction to its stream.

1. The embedding and the output projections of every attention and MLP, biases included, are all that writes
   to the stream. Each becomes orthogonal to the direction: W' = W - r^ r^T W.
2. The unembedding reads the stream and stays as it is. Where it is the embedding's own matrix (tied), it is
   untied first.
3. What the model computes is then what directional ablation at every block's input, attention output and MLP
   output gives. `weights_receipt` compares the two in fp32, whatever the model's dtype.

A model that norms what attention and MLP write (a post-norm, as in Gemma 2 and 3 and OLMo 2) is refused: the
norm's weight turns what it is given, so that orthogonal weights do not make orthogonal writes.

Source: Arditi et al. 2024, "Refusal in Language Models Is Mediated by a Single Direction", 4.1, appendix E.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.errors import ModelError
from engine.evidence.result import Check
from engine.lab.directions import Direction, ablation_edits, require_width, unit
from engine.models.blocks import Block, Decoder, block
from engine.models.forward import NO_EDITS, Edit, Extent, forward
from engine.models.rounding import rounding_limit
from engine.models.sites import Site
from engine.models.weight_layouts import LAYOUTS, WeightLayout

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

HEAD = "lm_head.weight"
LIMIT = 1e-4  # of a logit; more only where rounding in fp32 explains more


def orthogonalized(model: HookedModel, direction: Direction) -> HookedModel:
    """A model whose writing weights are orthogonal to the direction; the others are shared with `model`.

    Computed in fp32 and kept in the model's dtype. ModelError for a direction of another width, for a model
    with post-norms and for one that is read through a bridge.
    """
    require_orthogonalizable(model)
    require_width(model, direction)
    weights = dict(model.weights)
    embedding = f"{LAYOUTS[model.anatomy.style].embedding}.weight"
    # 2. Untied: the unembedding keeps the matrix that the embedding is about to lose.
    weights.setdefault(HEAD, weights[embedding])
    # 1. Everything that writes.
    weights |= _orthogonal(model.weights, model, direction)
    return replace(
        model,
        name=f"{model.name}, weights orthogonalised",
        hash=f"{model.hash}-orthogonalised",
        config={**model.config, "tie_word_embeddings": False},
        weights=weights,
    )


def require_orthogonalizable(model: HookedModel) -> None:
    """ModelError, with the reason, where orthogonal weights would not be directional ablation."""
    if not model.is_plain:
        raise ModelError(
            f"{model.name}'s weights are read through a bridge, which does not say what writes to the stream",
            expected="an architecture that the engine computes itself",
            hint="directional ablation does the same without changing weights",
        )
    if has_post_norms(model):
        raise ModelError(
            f"{model.name} norms what attention and MLP write: orthogonal weights would not be ablation",
            expected="an architecture without post-norms",
            seen=f"post-norms ({model.anatomy.style})",
            hint="directional ablation does the same without changing weights",
        )


def has_post_norms(model: HookedModel) -> bool:
    """Whether what attention and MLP write is normed before it is added to the stream."""
    layout = LAYOUTS[model.anatomy.style]
    return bool(layout.attention_post_norm or layout.mlp_post_norm)


def _orthogonal(weights: Mapping[str, Tensor], model: HookedModel, direction: Direction) -> dict[str, Tensor]:
    """Those of the weights that write to the stream, orthogonal to the direction."""
    layout = LAYOUTS[model.anatomy.style]
    r = unit(direction)
    found = {}
    for name, weight in weights.items():
        axis = _stream_axis(name, layout)
        if axis is not None:
            found[name] = _without(weight, r.to(weight.device), axis)
    return found


def _stream_axis(name: str, layout: WeightLayout) -> int | None:
    """Which axis of a weight is the stream's where it writes to it; None where it does not."""
    # Rows of an embedding are vectors of the stream.
    if name in (f"{layout.embedding}.weight", f"{layout.positions}.weight"):
        return -1
    for part in (layout.attention_output, layout.down):
        if name.endswith(f".{part}.bias"):
            return -1
        if name.endswith(f".{part}.weight"):
            # A projection is stored "out in", or "in out".
            return -1 if layout.transposed else 0
    return None


def _without(weight: Tensor, r: Direction, axis: int) -> Tensor:
    """The weight less its part along r, on the axis that is the stream's."""
    wide = weight.float()
    if axis == 0:
        # W' = W - r^ (r^T W), for W "stream in"
        return (wide - torch.outer(r, r @ wide)).to(weight.dtype)
    # W' = W - (W r^) r^T, for W "in stream", or a bias
    return (wide - (wide @ r)[..., None] * r).to(weight.dtype)


@torch.no_grad()
def weights_receipt(
    model: HookedModel,
    direction: Direction,
    input_ids: Int[Tensor, "prompt pos"],
    mask: Int[Tensor, "prompt pos"],
) -> Check:
    """Orthogonal weights against directional ablation: the largest difference of a logit at a real position.

    Both in fp32, a block at a time, so that a model in bf16 needs the memory of one block and not of a second
    model. `mask` is 0 at pads.
    """
    r = unit(direction)
    decoder = model.decoder
    resid = decoder.embed(input_ids).float()
    by_weights = _without(resid, r.to(resid.device), -1)
    by_ablation = resid
    edits = ablation_edits(model, direction)
    extent = Extent(attention_mask=mask)
    for layer in range(model.n_layers):
        plain, orthogonal = _wide_blocks(model, direction, layer)
        # The one block is layer 0 of a decoder of its own.
        here = {Site(0, site.kind): edit for site, edit in edits.items() if site.layer == layer}
        by_ablation = _through(decoder, plain, by_ablation, here, extent)
        by_weights = _through(decoder, orthogonal, by_weights, NO_EDITS, extent)
    real = mask.bool()
    logits = _wide_logits(model, by_ablation[real])
    difference = (logits - _wide_logits(model, by_weights[real])).abs().max()
    limit = rounding_limit("float32", model.shape, float(logits.abs().max()))
    n = len(input_ids)
    about = f"Largest logit difference of orthogonal weights from directional ablation in fp32, {n} prompts."
    return Check("weights_equal_ablation", float(difference), max(LIMIT, limit), about)


def _wide_blocks(model: HookedModel, direction: Direction, layer: int) -> tuple[Block, Block]:
    """A block in fp32, as it is and with orthogonal weights."""
    start = f"{LAYOUTS[model.anatomy.style].blocks}.{layer}."
    weights = {name: w.float() for name, w in model.weights.items() if name.startswith(start)}
    changed = weights | _orthogonal(weights, model, direction)
    return block(weights, model.anatomy, layer), block(changed, model.anatomy, layer)


def _through(
    decoder: Decoder, one: Block, resid: Tensor, edit: Mapping[Site, Edit], extent: Extent
) -> Float[Tensor, "prompt pos d_model"]:
    return forward(replace(decoder, blocks=(one,)), resid, edit=edit, extent=extent).resid


def _wide_logits(model: HookedModel, resid: Float[Tensor, "row d_model"]) -> Float[Tensor, "row vocab"]:
    """Logits in fp32, whatever the model's dtype."""
    norm = model.decoder.final_norm
    bias = None if norm.bias is None else norm.bias.float()
    normed = norm._replace(weight=norm.weight.float(), bias=bias)(resid)
    return model.capped(normed @ model.W_U.float())
