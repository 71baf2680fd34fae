"""A decoder in plain torch: the parts an intervention needs, and nothing hooked.

One Block serves every supported architecture (rotary or learned positions, grouped keys and values, RMSNorm
or LayerNorm, gated MLP or not), so the rest of the engine never asks which one it has. Weights are used where
they lie: the Hugging Face model and the bridge share them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.models.anatomy import Anatomy

Resid = Float[Tensor, "batch pos d_model"]
Heads = Float[Tensor, "batch head pos d_head"]
KeyValueHeads = Float[Tensor, "batch key_value_head key d_head"]


@dataclass(frozen=True)
class Span:
    """The positions one call computes and what they may attend to; the same for every layer.

    `mask` is "batch 1 query key" (True: may attend), or None where plain causal attention says it all.
    `rotary` is (cos, sin) of "pos d_head", or "batch 1 1 d_head" where each row is at a position of its own;
    None where positions were added to the embedding.
    """

    first_position: int
    mask: Bool[Tensor, "batch 1 query key"] | None
    rotary: tuple[Tensor, Tensor] | None


class Linear(NamedTuple):
    """A projection: weight "out in", bias "out" or None."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class Norm(NamedTuple):
    """RMSNorm, or LayerNorm where there is a bias; computed in fp32 as Hugging Face does."""

    weight: Tensor
    bias: Tensor | None
    epsilon: float

    def __call__(self, x: Tensor) -> Tensor:
        if self.bias is not None:
            # LayerNorm: torch's own kernel computes in fp32 whatever the dtype.
            return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)
        # RMSNorm (Zhang & Sennrich 2019): x / sqrt(mean(x^2) + epsilon). In fp32, since a mean of squares in
        # bf16 loses what it is to measure; the weight is applied in the model's dtype, as Hugging Face does.
        wide = x.float()
        normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return self.weight * normed.to(x.dtype)


@dataclass(frozen=True)
class Block:
    """One decoder block. `projections` is (query, key, value), or the one joint projection of GPT-2."""

    attention_norm: Norm
    projections: tuple[Linear, ...]
    output: Linear
    mlp_norm: Norm
    gate: Linear | None
    up: Linear
    down: Linear
    d_head: int
    scale: float

    def query_key_value(self, resid_pre: Resid, span: Span) -> tuple[Heads, KeyValueHeads, KeyValueHeads]:
        """Query, key and value with positions already applied; keys and values per key-value head."""
        x = self.attention_norm(resid_pre)
        parts = [project(x) for project in self.projections]
        if len(parts) == 1:
            # GPT-2's one matrix holds W_Q, W_K and W_V side by side.
            parts = parts[0].chunk(3, dim=-1)
        # "batch pos head*d_head" to "batch head pos d_head". With grouped keys (Ainslie et al. 2023) there
        # are fewer heads of keys and values than of queries; none is repeated here, `attend` shares them.
        query, key, value = (part.unflatten(-1, (-1, self.d_head)).transpose(1, 2) for part in parts)
        if span.rotary is not None:
            # Only what is compared is rotated: q_i k_j then depends on positions through i - j alone.
            query = _rotate(query, *span.rotary)
            key = _rotate(key, *span.rotary)
        return query, key, value

    def attend(
        self, query: Heads, key: KeyValueHeads, value: KeyValueHeads, span: Span
    ) -> Float[Tensor, "batch pos head d_head"]:
        """The attention-weighted values of each head: z = softmax(q k^T * scale + mask) v."""
        # torch's causal kernel is the fastest, but it takes query 0 to be position 0: a mask says the rest.
        # Consecutive query heads share a key-value head (`enable_gqa`), in Hugging Face's order of heads.
        z = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=span.mask,
            is_causal=span.mask is None,
            scale=self.scale,
            enable_gqa=key.shape[1] != query.shape[1],
        )
        return z.transpose(1, 2)

    def attn_out(self, z: Float[Tensor, "batch pos head d_head"]) -> Resid:
        """What attention adds to the residual stream, its output bias included."""
        return self.output(z.flatten(-2))

    def mlp_out(self, resid_mid: Resid) -> Resid:
        """What the MLP adds to the residual stream."""
        x = self.mlp_norm(resid_mid)
        if self.gate is None:
            # GPT-2: W_out gelu(W_in x), with the tanh approximation that it was trained with.
            return self.down(F.gelu(self.up(x), approximate="tanh"))
        # SwiGLU (Shazeer 2020): W_down (silu(W_gate x) * W_up x).
        return self.down(F.silu(self.gate(x)) * self.up(x))

    @property
    def W_O(self) -> Float[Tensor, "head d_head d_model"]:
        """The output projection, one matrix per head: attn_out = sum_h z_h W_O^h + b_O."""
        return self.output.weight.T.unflatten(0, (-1, self.d_head))

    @property
    def b_O(self) -> Float[Tensor, " d_model"]:
        """The output projection's bias, which belongs to no head; zeros where there is none."""
        if self.output.bias is not None:
            return self.output.bias
        return self.output.weight.new_zeros(len(self.output.weight))


@dataclass(frozen=True)
class Decoder:
    """All blocks and what lies before and after them."""

    blocks: tuple[Block, ...]
    token_embedding: Float[Tensor, "vocab d_model"]
    position_embedding: Float[Tensor, "pos d_model"] | None
    rotary_frequencies: Float[Tensor, " pair"] | None
    rotary_scaling: float
    final_norm: Norm
    unembedding: Linear

    def embed(
        self, input_ids: Int[Tensor, "batch pos"], positions: Int[Tensor, "batch pos"] | None = None
    ) -> Resid:
        """The residual stream before block 0, learned positions included; they count from 0 unless given."""
        tokens = F.embedding(input_ids, self.token_embedding)
        if self.position_embedding is None:
            return tokens
        if positions is not None:
            return tokens + F.embedding(positions, self.position_embedding)
        return tokens + self.position_embedding[: input_ids.shape[1]]

    def span(
        self, resid: Resid, attention_mask: Int[Tensor, "batch key"] | None, first_position: int
    ) -> Span:
        """Where `resid` lies, and what its positions see of all positions so far."""
        last = first_position + resid.shape[1]
        positions = torch.arange(first_position, last, device=resid.device)
        rotary = self._rotary(positions, resid.dtype)
        if attention_mask is None and first_position == 0:
            return Span(first_position, None, rotary)  # no mask tensor: plain causal attention
        # Causal: query i sees keys 0..i, those before `first_position` included.
        mask = (torch.arange(last, device=resid.device) <= positions[:, None])[None, None]
        if attention_mask is not None:
            # Padding is hidden as a key; what a pad position computes as a query is never read.
            mask = mask & attention_mask[:, None, None, :last].bool()
        return Span(first_position, mask, rotary)

    def next_span(self, resid: Resid, positions: Int[Tensor, " batch"]) -> Span:
        """One new position a row, each row's own: it sees its row's positions up to itself."""
        # Texts of unequal length are continued together: row r writes and rotates at positions[r].
        rotary = self._rotary(positions, resid.dtype)
        if rotary is not None:
            cos, sin = rotary
            rotary = cos[:, None, None], sin[:, None, None]
        last = int(positions.max())
        mask = torch.arange(last + 1, device=resid.device) <= positions[:, None]
        return Span(last, mask[:, None, None], rotary)

    def _rotary(self, positions: Int[Tensor, " pos"], dtype: torch.dtype) -> tuple[Tensor, Tensor] | None:
        if self.rotary_frequencies is None:
            return None
        # Pair j of a head turns by position * frequency_j. The angles stand twice in a row because dimension
        # j is paired with j + d_head/2. In fp32: in bf16 positions 300 and 301 are the same number.
        angles = (positions[:, None].float() * self.rotary_frequencies).repeat(1, 2)
        cos = (angles.cos() * self.rotary_scaling).to(dtype)
        sin = (angles.sin() * self.rotary_scaling).to(dtype)
        return cos, sin


def _rotate(x: Heads, cos: Tensor, sin: Tensor) -> Heads:
    """Rotary position embedding in the halves convention (Su et al. 2021; as Hugging Face's Llama)."""
    half = x.shape[-1] // 2
    # (x_j, x_{j+half}) -> (x_j cos - x_{j+half} sin, x_{j+half} cos + x_j sin)
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin


def decoder(weights: Mapping[str, Tensor], anatomy: Anatomy) -> Decoder:
    """The decoder over weights named as Hugging Face names them."""
    return (_llama if anatomy.style == "llama" else _gpt2)(weights, anatomy)


def _llama(weights: Mapping[str, Tensor], anatomy: Anatomy) -> Decoder:
    def linear(name: str) -> Linear:
        return Linear(weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    def norm(name: str) -> Norm:
        return Norm(weights[f"{name}.weight"], None, anatomy.norm_epsilon)

    def block(layer: int) -> Block:
        at = f"model.layers.{layer}"
        return Block(
            attention_norm=norm(f"{at}.input_layernorm"),
            projections=tuple(linear(f"{at}.self_attn.{p}_proj") for p in "qkv"),
            output=linear(f"{at}.self_attn.o_proj"),
            mlp_norm=norm(f"{at}.post_attention_layernorm"),
            gate=linear(f"{at}.mlp.gate_proj"),
            up=linear(f"{at}.mlp.up_proj"),
            down=linear(f"{at}.mlp.down_proj"),
            d_head=anatomy.shape.d_head,
            scale=anatomy.attention_scales[layer],
        )

    embedding = weights["model.embed_tokens.weight"]
    return Decoder(
        blocks=tuple(block(layer) for layer in range(anatomy.shape.n_layers)),
        token_embedding=embedding,
        position_embedding=None,
        rotary_frequencies=torch.tensor(anatomy.rotary_frequencies, device=embedding.device),
        rotary_scaling=anatomy.rotary_scaling,
        final_norm=norm("model.norm"),
        unembedding=Linear(weights.get("lm_head.weight", embedding), None),
    )


def _gpt2(weights: Mapping[str, Tensor], anatomy: Anatomy) -> Decoder:
    def linear(name: str) -> Linear:
        return Linear(weights[f"{name}.weight"].T, weights[f"{name}.bias"])  # stored "in out"

    def norm(name: str) -> Norm:
        return Norm(weights[f"{name}.weight"], weights[f"{name}.bias"], anatomy.norm_epsilon)

    def block(layer: int) -> Block:
        at = f"transformer.h.{layer}"
        return Block(
            attention_norm=norm(f"{at}.ln_1"),
            projections=(linear(f"{at}.attn.c_attn"),),
            output=linear(f"{at}.attn.c_proj"),
            mlp_norm=norm(f"{at}.ln_2"),
            gate=None,
            up=linear(f"{at}.mlp.c_fc"),
            down=linear(f"{at}.mlp.c_proj"),
            d_head=anatomy.shape.d_head,
            scale=anatomy.attention_scales[layer],
        )

    embedding = weights["transformer.wte.weight"]
    return Decoder(
        blocks=tuple(block(layer) for layer in range(anatomy.shape.n_layers)),
        token_embedding=embedding,
        position_embedding=weights["transformer.wpe.weight"],
        rotary_frequencies=None,
        rotary_scaling=1.0,
        final_norm=norm("transformer.ln_f"),
        unembedding=Linear(weights.get("lm_head.weight", embedding), None),
    )
