"""A decoder in plain torch: the parts an intervention needs, and nothing hooked.

One Block serves every architecture of the table in `weight_layouts.py`: which parts it has, and what is done
in them, is data, so the rest of the engine never asks which one it has. Weights are used where they lie: the
Hugging Face model and the bridge share them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.models.anatomy import ActivationName, Anatomy
from engine.models.propagation import GRADIENT, Propagation, halved, linearised
from engine.models.weight_layouts import LAYOUTS, Joint, WeightLayout

Resid = Float[Tensor, "batch pos d_model"]
Heads = Float[Tensor, "batch head pos d_head"]
KeyValueHeads = Float[Tensor, "batch key_value_head key d_head"]
Mask = Bool[Tensor, "rows 1 query key"]
Rotary = tuple[Tensor, Tensor]
ACTIVATIONS: Mapping[ActivationName, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
}
WIDE_NORMS = ("wide rms", "rms around 1")


@dataclass(frozen=True)
class Span:
    """The positions one call computes and what they may attend to; the same for every layer of a kind.

    `mask` is "rows 1 query key" (True: may attend; one row serves any batch), or None where plain causal
    attention says it all.
    `rotary` is (cos, sin) of "pos rotated", or "batch 1 1 rotated" where each row is at a position of its
    own; None where positions were added to the embedding. `windows` has the masks of layers that read a
    window, by its length; `local_rotary` is theirs where they have one.
    """

    first_position: int
    mask: Mask | None
    rotary: Rotary | None
    windows: Mapping[int, Mask] = field(default_factory=dict)
    local_rotary: Rotary | None = None

    def mask_of(self, window: int) -> Mask | None:
        """What a layer may attend to; `window` is 0 where it reads all."""
        return self.windows.get(window, self.mask)

    def rotary_of(self, window: int) -> Rotary | None:
        """The angles of a layer."""
        return self.local_rotary if window and self.local_rotary is not None else self.rotary


class Linear(NamedTuple):
    """A projection: weight "out in", bias "out" or None."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class HeadLinear(NamedTuple):
    """A projection by head, each of a stream of its own: weight "head d_model d_head", bias "head d_head"."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Float[Tensor, "batch head pos d_model"]) -> Heads:
        # Where more streams are read than there are heads, consecutive ones share a head's weights.
        weight = self.weight.repeat_interleave(x.shape[1] // len(self.weight), dim=0)
        written = torch.einsum("bhpm,hmd->bhpd", x, weight)
        if self.bias is None:
            return written
        return written + self.bias.repeat_interleave(x.shape[1] // len(self.bias), dim=0)[:, None]


class Norm(NamedTuple):
    """RMSNorm, or LayerNorm where there is a bias; computed in fp32 as Hugging Face does.

    `centre` is what is added to an RMSNorm's weight (1 in Gemma). `wide`: the weight is applied in fp32 too.
    `frozen`: a gradient takes its scale for a constant.
    """

    weight: Tensor
    bias: Tensor | None
    epsilon: float
    centre: float = 0.0
    wide: bool = False
    frozen: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        if self.frozen and self.bias is not None:
            # Written out: torch's kernel has one gradient, that of the scale included.
            centred = x - x.mean(-1, keepdim=True)
            return centred * self.scale(centred).detach() * self.weight + self.bias
        if self.bias is not None:
            # LayerNorm: torch's own kernel computes in fp32 whatever the dtype.
            return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)
        # RMSNorm (Zhang & Sennrich 2019): x / sqrt(mean(x^2) + epsilon). In fp32, since a mean of squares in
        # bf16 loses what it is to measure.
        wide = x.float()
        scale = self.scale(wide)
        normed = wide * (scale.detach() if self.frozen else scale)
        if self.wide:
            return (normed * self.gain).to(x.dtype)
        # The weight is applied in the model's dtype, as Hugging Face does.
        return self.weight * normed.to(x.dtype)

    @property
    def gain(self) -> Tensor:
        """What the normed values are multiplied by, in fp32."""
        return self.centre + self.weight.float()

    def scale(self, x: Float[Tensor, "*place d"]) -> Float[Tensor, "*place 1"]:
        """1 / sqrt(mean(x^2) + epsilon): what makes the norm other than linear."""
        return torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon)


@dataclass(frozen=True)
class Block:
    """One decoder block. `projections` is (query, key, value), or one matrix of them that `joint` describes.

    A norm that is None is not there. `window` is how many positions the block reads, 0: all of them.
    `parallel`: the MLP reads what attention reads, and both are added at once (Pythia).
    """

    attention_norm: Norm | None
    projections: tuple[Linear, ...]
    joint: Joint
    output: Linear
    mlp_norm: Norm | None
    gate: Linear | None
    up: Linear
    down: Linear
    activation: ActivationName
    n_key_value_heads: int
    d_head: int
    scale: float
    window: int = 0
    attention_cap: float = 0.0
    query_norm: Norm | None = None
    key_norm: Norm | None = None
    attention_post_norm: Norm | None = None
    mlp_post_norm: Norm | None = None
    parallel: bool = False
    propagation: Propagation = GRADIENT

    def propagating(self, rules: Propagation) -> Block:
        """The same block, whose backward follows some rules."""
        norms = {
            name: _frozen(getattr(self, name), rules)
            for name in (
                "attention_norm",
                "mlp_norm",
                "query_norm",
                "key_norm",
                "attention_post_norm",
                "mlp_post_norm",
            )
        }
        return replace(self, propagation=rules, **norms)

    def query_key_value(self, resid_pre: Resid, span: Span) -> tuple[Heads, KeyValueHeads, KeyValueHeads]:
        """Query, key and value with positions already applied; keys and values per key-value head."""
        x = resid_pre if self.attention_norm is None else self.attention_norm(resid_pre)
        # To "batch head pos d_head". With grouped keys (Ainslie et al. 2023) there are fewer heads of keys
        # and values than of queries; none is repeated here, `attend` shares them.
        query, key, value = (part.transpose(1, 2) for part in self._projected(x))
        rotary = span.rotary_of(self.window)
        if rotary is not None:
            # Only what is compared is rotated: q_i k_j then depends on positions through i - j alone.
            query = _rotate(query, *rotary)
            key = _rotate(key, *rotary)
        return query, key, value

    def query_key_value_apart(
        self,
        queries: Float[Tensor, "batch head pos d_model"],
        keys: Float[Tensor, "batch key_input pos d_model"],
        values: Float[Tensor, "batch key_input pos d_model"],
        span: Span,
    ) -> tuple[Heads, KeyValueHeads, KeyValueHeads]:
        """As `query_key_value`, each head reading a stream of its own.

        Keys and values are read by key-value head, or by query head, then each with its own. A norm over
        several heads at once (OLMo 2) has no such form: see `require_separable`.
        """
        norm = self.attention_norm
        streams = (queries, keys, values) if norm is None else [norm(x) for x in (queries, keys, values)]
        query, key, value = (project(x) for project, x in zip(self.projections_by_head, streams, strict=True))
        query = query if self.query_norm is None else self.query_norm(query)
        key = key if self.key_norm is None else self.key_norm(key)
        rotary = span.rotary_of(self.window)
        if rotary is None:
            return query, key, value
        return _rotate(query, *rotary), _rotate(key, *rotary), value

    def with_positions(
        self, kind: str, projected: Float[Tensor, "*place pos d_head"], span: Span
    ) -> Float[Tensor, "*place pos d_head"]:
        """Queries ("q"), keys ("k") or values ("v") as attention takes them: normed and rotated."""
        norm = {"q": self.query_norm, "k": self.key_norm}.get(kind)
        normed = projected if norm is None else norm(projected)
        rotary = span.rotary_of(self.window)
        # Values are mixed as they are.
        return normed if rotary is None or kind == "v" else _rotate(normed, *rotary)

    @cached_property
    def projections_by_head(self) -> tuple[HeadLinear, HeadLinear, HeadLinear]:
        """Query, key and value by head, however the weights lie."""
        weights = [self._rows_by_head(part.weight) for part in self.projections]
        biases = [None if p.bias is None else self._rows_by_head(p.bias) for p in self.projections]
        if self.joint == "head by head":
            # NeoX's rows are q k v of head 0, then of head 1.
            weights = [weights[0][i::3] for i in range(3)]
            biases = [None if biases[0] is None else biases[0][i::3] for i in range(3)]
        elif self.joint == "side by side":
            n_query = len(weights[0]) - 2 * self.n_key_value_heads
            sizes = [n_query, self.n_key_value_heads, self.n_key_value_heads]
            weights = list(weights[0].split(sizes))
            biases = [None] * 3 if biases[0] is None else list(biases[0].split(sizes))
        query, key, value = (HeadLinear(w.mT, b) for w, b in zip(weights, biases, strict=True))
        return query, key, value

    def _rows_by_head(self, rows: Tensor) -> Tensor:
        return rows.unflatten(0, (-1, self.d_head))

    def _projected(self, x: Resid) -> list[Float[Tensor, "batch pos _head d_head"]]:
        """Queries, keys and values, the first two normed where the architecture does so."""
        parts = [project(x) for project in self.projections]
        if self.joint == "head by head":
            # NeoX's rows are q k v of head 0, then of head 1.
            return list(parts[0].unflatten(-1, (-1, 3, self.d_head)).unbind(-2))
        if self.joint == "side by side":
            # One matrix holds W_Q, W_K and W_V; what is not keys and values is queries.
            width = self.n_key_value_heads * self.d_head
            parts = parts[0].split([parts[0].shape[-1] - 2 * width, width, width], dim=-1)
        query, key, value = parts
        return [
            self._by_head(query, self.query_norm),
            self._by_head(key, self.key_norm),
            self._by_head(value),
        ]

    def _by_head(self, part: Tensor, norm: Norm | None = None) -> Float[Tensor, "batch pos _head d_head"]:
        if norm is None:
            return part.unflatten(-1, (-1, self.d_head))
        if len(norm.weight) == self.d_head:
            # Each head by itself (Qwen 3, Gemma 3),
            return norm(part.unflatten(-1, (-1, self.d_head)))
        # or all heads as one vector (OLMo 2).
        return norm(part).unflatten(-1, (-1, self.d_head))

    def attend(
        self, query: Heads, key: KeyValueHeads, value: KeyValueHeads, span: Span
    ) -> Float[Tensor, "batch pos head d_head"]:
        """The attention-weighted values of each head: z = softmax(q k^T * scale + mask) v."""
        mask = span.mask_of(self.window)
        if self.propagation.frozen_attention:
            # The pattern depends on queries and keys alone.
            query = query.detach()
            key = key.detach()
        if self.attention_cap:
            return _capped_attention(query, key, value, mask, self.scale, self.attention_cap).transpose(1, 2)
        # torch's causal kernel is the fastest, but it takes query 0 to be position 0: a mask says the rest.
        # Consecutive query heads share a key-value head (`enable_gqa`), in Hugging Face's order of heads.
        z = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            is_causal=mask is None,
            scale=self.scale,
            enable_gqa=key.shape[1] != query.shape[1],
        )
        return z.transpose(1, 2)

    def attn_out(self, z: Float[Tensor, "batch pos head d_head"]) -> Resid:
        """What attention adds to the residual stream, its output bias included, after its post-norm."""
        written = self.output(z.flatten(-2))
        return written if self.attention_post_norm is None else self.attention_post_norm(written)

    def mlp_out(self, resid: Resid) -> Resid:
        """What the MLP adds to the stream, given what it reads: resid_mid, or resid_pre if parallel."""
        return self.mlp_written(self.mlp_post(resid))

    def mlp_post(self, resid: Resid) -> Float[Tensor, "batch pos d_mlp"]:
        """The activations of the MLP's neurons, given what it reads: what its output projection takes in."""
        x = resid if self.mlp_norm is None else self.mlp_norm(resid)
        activation = ACTIVATIONS[self.activation]
        if self.propagation.linear_activations:
            activation = partial(linearised, activation)
        if self.gate is None:
            # f(W_in x)
            return activation(self.up(x))
        # The gated MLP (Shazeer 2020): f(W_gate x) * W_up x.
        product = activation(self.gate(x)) * self.up(x)
        return halved(product) if self.propagation.halved_products else product

    def mlp_written(self, post: Float[Tensor, "batch pos d_mlp"]) -> Resid:
        """What the MLP adds to the stream, given its neurons: W_out post, after the post-norm if any."""
        written = self.down(post)
        return written if self.mlp_post_norm is None else self.mlp_post_norm(written)

    def head_changes(
        self, z: Float[Tensor, "batch head d_head"], change: Float[Tensor, "batch head d_head"]
    ) -> Float[Tensor, "batch head d_model"]:
        """How attn_out changes where one head's z changes and the others' stay, for each head by itself."""
        # A head writes z_h W_O^h, so that its change of what is written is (change of z_h) W_O^h.
        by_head = torch.einsum("bhd,hdm->bhm", change, self.W_O)
        norm = self.attention_post_norm
        if norm is None:
            return by_head
        # A post-norm reads all heads at once: each change is made in the whole.
        written = self.output(z.flatten(-2))[:, None]
        return norm(written + by_head) - norm(written)

    @property
    def W_O(self) -> Float[Tensor, "head d_head d_model"]:
        """The output projection by head: sum_h z_h W_O^h + b_O is attn_out, before a post-norm if any."""
        return self.output.weight.T.unflatten(0, (-1, self.d_head))

    @property
    def b_O(self) -> Float[Tensor, " d_model"]:
        """The output projection's bias, which belongs to no head; zeros where there is none."""
        if self.output.bias is not None:
            return self.output.bias
        return self.output.weight.new_zeros(len(self.output.weight))


@dataclass(frozen=True)
class Decoder:
    """All blocks and what lies before and after them. `embedding_scale` multiplies token embeddings."""

    blocks: tuple[Block, ...]
    token_embedding: Float[Tensor, "vocab d_model"]
    position_embedding: Float[Tensor, "pos d_model"] | None
    rotary_frequencies: Float[Tensor, " pair"] | None
    rotary_scaling: float
    final_norm: Norm
    unembedding: Linear
    embedding_scale: Float[Tensor, ""] | None = None
    local_rotary_frequencies: Float[Tensor, " pair"] | None = None
    local_rotary_scaling: float = 1.0
    wide_rotary: bool = False
    logit_cap: float = 0.0

    def propagating(self, rules: Propagation) -> Decoder:
        """The same decoder, whose backward follows some rules: forwards are the same."""
        blocks = tuple(block.propagating(rules) for block in self.blocks)
        return replace(self, blocks=blocks, final_norm=self.final_norm._replace(frozen=rules.frozen_norms))

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    def W_O(self, layer: int) -> Float[Tensor, "head d_head d_model"]:
        """The output projection of a block, by head."""
        return self.blocks[layer].W_O

    def b_O(self, layer: int) -> Float[Tensor, " d_model"]:
        """The output projection's bias of a block; zeros where there is none."""
        return self.blocks[layer].b_O

    @property
    def parallel(self) -> bool:
        """Whether attention and MLP read the same stream, so that there is none between them."""
        return any(block.parallel for block in self.blocks)

    def embed(
        self, input_ids: Int[Tensor, "batch pos"], positions: Int[Tensor, "batch pos"] | None = None
    ) -> Resid:
        """The residual stream before block 0, learned positions included; they count from 0 unless given."""
        tokens = F.embedding(input_ids, self.token_embedding)
        if self.embedding_scale is not None:
            tokens = tokens * self.embedding_scale
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
        # A window that reaches back to position 0 hides nothing.
        windows = [window for window in self._windows if window < last]
        causal = attention_mask is None and first_position == 0
        if causal and not windows:
            return self._spanned(positions, resid.dtype, first_position, None, {})
        # Causal: query i sees keys 0..i, those before `first_position` included.
        distance = positions[:, None] - torch.arange(last, device=resid.device)
        mask = (distance >= 0)[None, None]
        if attention_mask is not None:
            # Padding is hidden as a key; what a pad position computes as a query is never read.
            mask = mask & attention_mask[:, None, None, :last].bool()
        masks = _windowed(mask, distance, windows)
        # No mask tensor where plain causal attention says it all.
        return self._spanned(positions, resid.dtype, first_position, None if causal else mask, masks)

    def next_span(self, resid: Resid, positions: Int[Tensor, " batch"]) -> Span:
        """One new position a row, each row's own: it sees its row's positions up to itself."""
        # Texts of unequal length are continued together: row r writes and rotates at positions[r].
        last = int(positions.max())
        distance = (positions[:, None] - torch.arange(last + 1, device=resid.device))[:, None, None]
        mask = distance >= 0
        masks = _windowed(mask, distance, [window for window in self._windows if window <= last])
        span = self._spanned(positions, resid.dtype, last, mask, masks)
        return replace(span, rotary=_by_row(span.rotary), local_rotary=_by_row(span.local_rotary))

    def _spanned(
        self,
        positions: Int[Tensor, " pos"],
        dtype: torch.dtype,
        first_position: int,
        mask: Mask | None,
        windows: Mapping[int, Mask],
    ) -> Span:
        """The span with its angles."""
        everywhere = self._rotary(positions, dtype, self.rotary_frequencies, self.rotary_scaling)
        local = self._rotary(positions, dtype, self.local_rotary_frequencies, self.local_rotary_scaling)
        return Span(first_position, mask, everywhere, windows, local)

    @cached_property
    def _windows(self) -> frozenset[int]:
        """The lengths of windows that blocks read."""
        return frozenset(block.window for block in self.blocks if block.window)

    def _rotary(
        self, positions: Int[Tensor, " pos"], dtype: torch.dtype, frequencies: Tensor | None, scaling: float
    ) -> Rotary | None:
        if frequencies is None:
            return None
        # Pair j of a head turns by position * frequency_j. The angles stand twice in a row because dimension
        # j is paired with j + rotated/2. In fp32: in bf16 positions 300 and 301 are the same number.
        angles = (positions[:, None].float() * frequencies).repeat(1, 2)
        cos = angles.cos() * scaling
        sin = angles.sin() * scaling
        return (cos, sin) if self.wide_rotary else (cos.to(dtype), sin.to(dtype))


def _frozen(norm: Norm | None, rules: Propagation) -> Norm | None:
    return None if norm is None else norm._replace(frozen=rules.frozen_norms)


def _by_row(rotary: Rotary | None) -> Rotary | None:
    """Angles of one position in each row, "batch 1 1 rotated"."""
    if rotary is None:
        return None
    cos, sin = rotary
    return cos[:, None, None], sin[:, None, None]


def _windowed(
    mask: Mask, distance: Int[Tensor, "*rows query key"], windows: Sequence[int]
) -> dict[int, Mask]:
    """The mask of each window of w positions, the query's own included."""
    # A padded query sees itself, so that no row of scores is hidden whole: some kernels make NaN of those.
    return {window: mask & (distance < window) | (distance == 0) for window in windows}


def _rotate(x: Heads, cos: Tensor, sin: Tensor) -> Heads:
    """Rotary position embedding in the halves convention (Su et al. 2021; as Hugging Face's Llama).

    Where the angles are fewer than a head's dimensions, the rest of them stays as it is (GPT-NeoX, Phi).
    """
    rotated = cos.shape[-1]
    half = rotated // 2
    rest = x[..., rotated:]
    x = x[..., :rotated]
    # (x_j, x_{j+half}) -> (x_j cos - x_{j+half} sin, x_{j+half} cos + x_j sin)
    turned = x * cos + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin
    # Angles in fp32 make a wide product of bf16 queries.
    turned = turned.to(x.dtype)
    return turned if rest.shape[-1] == 0 else torch.cat((turned, rest), dim=-1)


def _capped_attention(
    query: Heads, key: KeyValueHeads, value: KeyValueHeads, mask: Mask | None, scale: float, cap: float
) -> Heads:
    """Attention whose scores s are capped smoothly, c tanh(s / c) (Gemma 2), as Hugging Face computes it.

    torch's kernels take no cap, so that the scores are written out here.
    """
    # "batch key_value_head group query d_head": the query heads that share a key-value head are a group.
    grouped = query.unflatten(1, (key.shape[1], -1))
    scores = cap * torch.tanh(grouped @ key[:, :, None].mT * scale / cap)
    if mask is None:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()[None, None]
    # The least number, and not -inf: a query that sees nothing (padding) would become NaN.
    scores = scores.masked_fill(~mask[:, None], torch.finfo(scores.dtype).min)
    pattern = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return (pattern @ value[:, :, None]).flatten(1, 2)


def decoder(weights: Mapping[str, Tensor], anatomy: Anatomy) -> Decoder:
    """The decoder over weights named as Hugging Face names them."""
    names = LAYOUTS[anatomy.style]
    read = _Reader(weights, names, anatomy)
    embedding = weights[f"{names.embedding}.weight"]
    # As Hugging Face: rounded to the weights' dtype before it multiplies (sqrt(3072) is 55.5 in bf16).
    scale = torch.tensor(anatomy.embedding_scale, dtype=embedding.dtype, device=embedding.device)
    return Decoder(
        blocks=tuple(read.block(layer) for layer in range(anatomy.shape.n_layers)),
        token_embedding=embedding,
        position_embedding=weights[f"{names.positions}.weight"] if names.positions else None,
        rotary_frequencies=_frequencies(anatomy.rotary_frequencies, embedding.device),
        rotary_scaling=anatomy.rotary_scaling,
        final_norm=read.norm_at(names.final_norm),
        unembedding=Linear(weights.get("lm_head.weight", embedding), None),
        embedding_scale=None if anatomy.embedding_scale == 1.0 else scale,
        local_rotary_frequencies=_frequencies(anatomy.local_rotary_frequencies, embedding.device),
        local_rotary_scaling=anatomy.local_rotary_scaling,
        wide_rotary=names.wide_rotary,
        logit_cap=anatomy.logit_cap,
    )


def block(weights: Mapping[str, Tensor], anatomy: Anatomy, layer: int) -> Block:
    """One block of a decoder, over weights named as Hugging Face names them: its own are enough."""
    return _Reader(weights, LAYOUTS[anatomy.style], anatomy).block(layer)


def _frequencies(frequencies: tuple[float, ...], device: torch.device) -> Tensor | None:
    return torch.tensor(frequencies, device=device) if frequencies else None


@dataclass(frozen=True)
class _Reader:
    """Takes blocks out of a checkpoint's weights by an architecture's names."""

    weights: Mapping[str, Tensor]
    names: WeightLayout
    anatomy: Anatomy

    def block(self, layer: int) -> Block:
        names = self.names
        at = f"{names.blocks}.{layer}"
        gate, up = self._gate_and_up(at)
        return Block(
            attention_norm=self._norm(at, names.attention_norm),
            projections=tuple(self._linear(f"{at}.{name}") for name in names.projections),
            joint=names.joint,
            query_norm=self._norm(at, names.query_norm),
            key_norm=self._norm(at, names.key_norm),
            output=self._linear(f"{at}.{names.attention_output}"),
            attention_post_norm=self._norm(at, names.attention_post_norm),
            mlp_norm=self._norm(at, names.mlp_norm),
            gate=gate,
            up=up,
            down=self._linear(f"{at}.{names.down}"),
            mlp_post_norm=self._norm(at, names.mlp_post_norm),
            activation=self.anatomy.activation,
            n_key_value_heads=self.anatomy.shape.n_key_value_heads,
            d_head=self.anatomy.shape.d_head,
            scale=self.anatomy.attention_scales[layer],
            window=self.anatomy.windows[layer] if self.anatomy.windows else 0,
            attention_cap=self.anatomy.attention_cap,
            parallel=self.anatomy.parallel,
        )

    def norm_at(self, name: str) -> Norm:
        weight = self.weights[f"{name}.weight"]
        # An RMSNorm has no bias among the weights.
        bias = self.weights[f"{name}.bias"] if self.names.norm == "layer" else None
        centre = 1.0 if self.names.norm == "rms around 1" else 0.0
        return Norm(weight, bias, self.anatomy.norm_epsilon, centre, self.names.norm in WIDE_NORMS)

    def _norm(self, at: str, name: str) -> Norm | None:
        return self.norm_at(f"{at}.{name}") if name else None

    def _linear(self, name: str) -> Linear:
        weight = self.weights[f"{name}.weight"]
        return Linear(weight.T if self.names.transposed else weight, self.weights.get(f"{name}.bias"))

    def _gate_and_up(self, at: str) -> tuple[Linear | None, Linear]:
        names = self.names
        if names.gate_up:
            # Rows of one matrix, the gate's first: views, no copies.
            gate, up = self._linear(f"{at}.{names.gate_up}").weight.chunk(2)
            return Linear(gate, None), Linear(up, None)
        return self._linear(f"{at}.{names.gate}") if names.gate else None, self._linear(f"{at}.{names.up}")
