"""A model the instruments can work on: plain blocks, a TransformerBridge and a Hugging Face model in one.

The plain path (`embed`, `layers`, `unembed` and the halves of a block) has no hook overhead, may start at any
layer and any position, and equals the Hugging Face forward. `bridge`, `hf` and `tokenizer` are built when
first asked for, around the same parameters.

Padding is on the right everywhere. What a pad position holds is meaningless; no real position sees it.
Positions count from 0. Parameters never require gradients; activations may.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from engine.errors import ModelError
from engine.models.anatomy import Anatomy
from engine.models.blocks import Decoder, Resid, Span, decoder
from engine.models.known import ModelShape

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformer_lens.model_bridge import TransformerBridge

SITES = ("resid_pre", "z", "attn_out", "mlp_out")


@dataclass(frozen=True)
class KVPrefix:
    """Every layer's keys and values of a base run, so that a patched run recomputes only later positions.

    Each entry is "batch key_value_head pos d_head", positions already applied. Batch 1 serves any batch.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    def rows(self, index: Int[Tensor, " row"] | Sequence[int]) -> KVPrefix:
        """The prefix of a batch whose row r continues prompt index[r]."""
        return KVPrefix(tuple(k[index] for k in self.keys), tuple(v[index] for v in self.values))

    def before(self, position: int) -> KVPrefix:
        """Only the positions before `position` (views, no copy)."""
        return KVPrefix(
            tuple(k[:, :, :position] for k in self.keys), tuple(v[:, :, :position] for v in self.values)
        )


@dataclass(frozen=True)
class Trace:
    """One forward kept whole; entry L of each list is layer L.

    resid_pre has one entry more: the last is the residual stream after the final block.
    resid_pre, attn_out, mlp_out "batch pos d_model"; z "batch pos head d_head"; lists not kept are empty.
    """

    prefix: KVPrefix
    resid_pre: list[Tensor]
    z: list[Tensor]
    attn_out: list[Tensor]
    mlp_out: list[Tensor]

    @property
    def resid_final(self) -> Tensor:
        return self.resid_pre[-1]


@dataclass(frozen=True)
class FrozenNorm:
    """The final norm as the linear map it is once its scale is frozen: norm(x) = apply(x) + bias.

    `scale` is "batch pos 1"; LayerNorm also subtracts the mean, which is linear.
    """

    scale: Tensor
    weight: Tensor
    bias: Tensor
    centred: bool

    def apply(self, component: Float[Tensor, "*extra batch pos d_model"]) -> Tensor:
        """What a component of the residual stream becomes; components add up, the bias comes once."""
        if self.centred:
            component = component - component.mean(-1, keepdim=True)
        return component * self.scale * self.weight


@dataclass(frozen=True, eq=False)
class HookedModel:
    """A loaded model.

    `parity` is the largest absolute logit difference of the plain path and of the bridge from the Hugging
    Face forward, over a short probe text. `config` is the Hugging Face configuration as a dictionary.
    """

    name: str
    hash: str
    quantisation: str
    dtype: str
    device: str
    anatomy: Anatomy = field(repr=False)
    config: Mapping[str, Any] = field(repr=False)
    weights: Mapping[str, Tensor] = field(repr=False)
    text: Tokenizer = field(repr=False)
    folder: Path | None = None
    parity: float = float("nan")

    @property
    def shape(self) -> ModelShape:
        return self.anatomy.shape

    @property
    def n_layers(self) -> int:
        return self.shape.n_layers

    @cached_property
    def decoder(self) -> Decoder:
        """The plain path's parts."""
        return decoder(self.weights, self.anatomy)

    @cached_property
    def hf(self) -> Any:
        """The Hugging Face model over the same parameters (seconds, the first time)."""
        from engine.models.huggingface import build

        return build(self.config, self.weights)

    @cached_property
    def bridge(self) -> TransformerBridge:
        """The hooked model over the same parameters (seconds, the first time). Give it prepend_bos=False."""
        from engine.models.huggingface import boot, build

        return boot(build(self.config, self.weights, "eager"), self.tokenizer, self.name)

    @cached_property
    def tokenizer(self) -> Any:
        """The Hugging Face tokenizer, for chat templates (seconds, the first time)."""
        from engine.models.huggingface import wrap_tokenizer

        return wrap_tokenizer(self.text, self.folder)

    def token_ids(self, texts: Sequence[str], *, special_tokens: bool = True) -> list[list[int]]:
        """Token ids by the tokenizer's own convention; no BOS unless the tokenizer adds one itself."""
        batch = self.text.encode_batch(list(texts), add_special_tokens=special_tokens)
        return [encoding.ids for encoding in batch]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some token ids, special tokens included."""
        return self.text.decode(list(ids), skip_special_tokens=False)

    def token_strings(self, ids: Sequence[int]) -> list[str]:
        """Each token's own text, for labels: " Paris"."""
        return [self.decode([i]) for i in ids]

    def pad(
        self, ids: Sequence[Sequence[int]]
    ) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"], Int[Tensor, " batch"]]:
        """Right-padded input ids, their attention mask, and the index of each last real position."""
        lengths = torch.tensor([len(row) for row in ids])
        padded = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], batch_first=True)
        mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long()
        return padded.to(self.device), mask.to(self.device), (lengths - 1).to(self.device)

    def embed(self, input_ids: Int[Tensor, "batch pos"]) -> Resid:
        """The residual stream before block 0, learned positions included."""
        if input_ids.shape[1] > self.anatomy.context_tokens:
            raise ModelError(
                f"a text is longer than {self.name} can read",
                expected=f"at most {self.anatomy.context_tokens} tokens",
                seen=str(input_ids.shape[1]),
            )
        return self.decoder.embed(input_ids)

    def logits(
        self, input_ids: Int[Tensor, "batch pos"], attention_mask: Int[Tensor, "batch pos"] | None = None
    ) -> Float[Tensor, "batch pos vocab"]:
        """The whole forward, along the plain path."""
        return self.unembed(self.layers(self.embed(input_ids), attention_mask=attention_mask))

    def span(
        self, resid: Resid, attention_mask: Int[Tensor, "batch key"] | None = None, first_position: int = 0
    ) -> Span:
        """What `resid`'s positions may attend to; make it once, use it for every layer.

        The mask spans all positions from 0, those of a prefix included; its batch may be 1.
        """
        return self.decoder.span(resid, attention_mask, first_position)

    def z(self, layer: int, resid_pre: Resid, span: Span, prefix: KVPrefix | None = None) -> Tensor:
        """Attention-weighted values of each head, before W_O: "batch pos head d_head"."""
        return self._attention(layer, resid_pre, span, prefix)[0]

    def _attention(
        self, layer: int, resid_pre: Tensor, span: Span, prefix: KVPrefix | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        block = self.decoder.blocks[layer]
        query, key, value = block.query_key_value(resid_pre, span)
        if span.first_position:
            key = _continue(prefix.keys[layer] if prefix else None, key, span)
            value = _continue(prefix.values[layer] if prefix else None, value, span)
        return block.attend(query, key, value, span), key, value

    def attn_out(self, layer: int, z: Float[Tensor, "batch pos head d_head"]) -> Resid:
        """What attention adds to the residual stream."""
        return self.decoder.blocks[layer].attn_out(z)

    def mlp_out(self, layer: int, resid_mid: Resid) -> Resid:
        """What the MLP adds to the residual stream, given it with attention already added."""
        return self.decoder.blocks[layer].mlp_out(resid_mid)

    def block(self, layer: int, resid_pre: Resid, span: Span, prefix: KVPrefix | None = None) -> Resid:
        """One whole block: the residual stream after it."""
        resid_mid = resid_pre + self.attn_out(layer, self.z(layer, resid_pre, span, prefix))
        return resid_mid + self.mlp_out(layer, resid_mid)

    def layers(
        self,
        resid: Resid,
        start: int = 0,
        stop: int | None = None,
        *,
        attention_mask: Int[Tensor, "batch key"] | None = None,
        first_position: int = 0,
        prefix: KVPrefix | None = None,
    ) -> Resid:
        """Blocks start..stop-1 over the positions first_position.. that `resid` holds.

        With first_position > 0, `prefix` supplies the keys and values of all earlier positions.
        """
        span = self.span(resid, attention_mask, first_position)
        for layer in range(start, self.n_layers if stop is None else stop):
            resid = self.block(layer, resid, span, prefix)
        return resid

    def trace(
        self,
        input_ids: Int[Tensor, "batch pos"],
        attention_mask: Int[Tensor, "batch pos"] | None = None,
        keep: Collection[str] = SITES,
    ) -> Trace:
        """One forward that keeps the sites asked for, and every layer's keys and values."""
        resid = self.embed(input_ids)
        span = self.span(resid, attention_mask)
        kept: dict[str, list[Tensor]] = {site: [] for site in SITES}
        keys, values = [], []
        for layer in range(self.n_layers):
            z, key, value = self._attention(layer, resid, span, None)
            attn_out = self.attn_out(layer, z)
            resid_mid = resid + attn_out
            mlp_out = self.mlp_out(layer, resid_mid)
            here = {"resid_pre": resid, "z": z, "attn_out": attn_out, "mlp_out": mlp_out}
            for site in keep:
                kept[site].append(here[site])
            keys.append(key)
            values.append(value)
            resid = resid_mid + mlp_out
        kept["resid_pre"].append(resid)
        return Trace(KVPrefix(tuple(keys), tuple(values)), **kept)

    def prefix_cache(
        self, input_ids: Int[Tensor, "batch pos"], attention_mask: Int[Tensor, "batch pos"] | None = None
    ) -> KVPrefix:
        """Every layer's keys and values of a base run over `input_ids`."""
        return self.trace(input_ids, attention_mask, keep=()).prefix

    def final_norm(self, resid: Resid) -> Resid:
        return self.decoder.final_norm(resid)

    def frozen_norm(self, resid: Resid) -> FrozenNorm:
        """The final norm frozen at the scale that `resid` gives it (Elhage et al. 2021, on attribution)."""
        weight, bias, epsilon = self.decoder.final_norm
        x = resid if bias is None else resid - resid.mean(-1, keepdim=True)
        scale = (x.pow(2).mean(-1, keepdim=True) + epsilon).rsqrt()
        centred = bias is not None
        return FrozenNorm(scale, weight, bias if centred else torch.zeros_like(weight), centred)

    def unembed(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        """Logits of a residual stream, the final norm included."""
        return self.decoder.unembedding(self.final_norm(resid))

    @property
    def W_U(self) -> Float[Tensor, "d_model vocab"]:
        return self.decoder.unembedding.weight.T

    def W_O(self, layer: int) -> Float[Tensor, "head d_head d_model"]:
        return self.decoder.blocks[layer].W_O

    def b_O(self, layer: int) -> Float[Tensor, " d_model"]:
        """Attention's output bias, which belongs to no head; zeros where the architecture has none."""
        return self.decoder.blocks[layer].b_O

    def head_outputs(
        self, layer: int, z: Float[Tensor, "batch pos head d_head"]
    ) -> Float[Tensor, "batch pos head d_model"]:
        """What each head alone writes to the residual stream; their sum plus b_O is attn_out."""
        return torch.einsum("bphd,hdm->bphm", z, self.W_O(layer))


def _continue(earlier: Tensor | None, later: Tensor, span: Span) -> Tensor:
    if earlier is None or earlier.shape[2] < span.first_position:
        raise ModelError(
            "a run that starts at a later position needs the earlier ones",
            expected=f"a prefix of at least {span.first_position} positions",
            seen="none" if earlier is None else str(earlier.shape[2]),
        )
    earlier = earlier[:, :, : span.first_position].expand(len(later), -1, -1, -1)
    return torch.cat((earlier, later), dim=2)
