"""A model the instruments can work on: plain blocks, a TransformerBridge and a Hugging Face model in one.

The plain path (`embed`, `forward` or `layers`, `unembed`) has no hook overhead, reads and edits at sites, may
start at any layer and any position, and equals the Hugging Face forward. `bridge`, `hf` and `tokenizer` are
built when first asked for, around the same parameters.

Padding is on the right everywhere. What a pad position holds is meaningless; no real position sees it.
Positions count from 0. Parameters never require gradients; activations may.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from engine.errors import ModelError
from engine.models.anatomy import Anatomy
from engine.models.blocks import Decoder, Norm, Resid, Span, decoder
from engine.models.bridged import BridgedBlocks, bridged_blocks
from engine.models.forward import NO_EDITS, Edit, Extent, ForwardPass, KVPrefix, forward
from engine.models.huggingface import boot, build, wrap_tokenizer
from engine.models.known import ModelShape
from engine.models.propagation import GRADIENT, Propagation
from engine.models.sites import Site
from engine.models.weight_layouts import known_classes
from engine.spec.sites import READABLE_SITES, RESID_MID, SiteKind

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True)
class FrozenNorm:
    """A norm as the linear map it is once its scale is frozen: norm(x) = apply(x) + bias.

    `scale` is "batch pos 1"; LayerNorm also subtracts the mean, which is linear.
    """

    scale: Tensor
    weight: Tensor
    bias: Tensor
    centred: bool

    @classmethod
    def of(cls, norm: Norm, x: Float[Tensor, "*place d_model"]) -> FrozenNorm:
        """A norm at the scale that `x` gives it."""
        if norm.bias is None:
            # RMSNorm: norm(x) = x / rms(x) * weight
            weight = norm.gain if norm.wide else norm.weight
            return cls(norm.scale(x), weight, torch.zeros_like(weight), centred=False)
        # LayerNorm: the same of x - mean(x), which is linear in x, plus the bias
        centred = x - x.mean(-1, keepdim=True)
        return cls(norm.scale(centred), norm.weight, norm.bias, centred=True)

    def apply(self, component: Float[Tensor, "*place d_model"]) -> Tensor:
        """What a component of the residual stream becomes; components add up, the bias comes once."""
        if self.centred:
            # Centring is linear, so that each component may be centred by itself.
            component = component - component.mean(-1, keepdim=True)
        # Without the bias, which belongs to no component and is added once.
        return component * self.scale * self.weight


@dataclass(frozen=True, eq=False)
class HookedModel:
    """A loaded model.

    `parity` is the largest absolute logit difference of the plain path and of the bridge from the Hugging
    Face forward, over a short probe text; `device_gap` that of the device from the CPU, 0 on a CPU. `config`
    is the Hugging Face configuration as a dictionary.
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
    device_gap: float = 0.0
    propagation: Propagation = GRADIENT

    def propagating(self, rules: Propagation) -> HookedModel:
        """The same model, whose backward follows some rules (see `engine.models.propagation`)."""
        model = replace(self, propagation=rules)
        # Over the same tensors: weights that lie otherwise than in the checkpoint are not made again.
        vars(model)["decoder"] = self.decoder.propagating(rules)
        return model

    @property
    def shape(self) -> ModelShape:
        return self.anatomy.shape

    @property
    def n_layers(self) -> int:
        return self.shape.n_layers

    @property
    def is_plain(self) -> bool:
        """Whether the engine's own blocks compute this model, and not a bridge's."""
        return self.anatomy.style != "bridge"

    @cached_property
    def decoder(self) -> Decoder:
        """The plain path's parts; ModelError for a model that is read through a bridge."""
        if not self.is_plain:
            raise ModelError(
                f"this needs the parts of {self.name}'s blocks, which it has through a bridge alone",
                expected=", ".join(known_classes()),
                seen=str((self.config.get("architectures") or ["another architecture"])[0]),
            )
        return decoder(self.weights, self.anatomy).propagating(self.propagation)

    @cached_property
    def path(self) -> Decoder | BridgedBlocks:
        """What `engine.models.forward` runs: the plain blocks, or a bridge's where the engine has none."""
        if self.is_plain:
            return self.decoder
        return bridged_blocks(self.bridge, self.hf)

    @cached_property
    def hf(self) -> Any:
        """The Hugging Face model over the same parameters (seconds, the first time)."""
        return build(self.config, self.weights)

    @cached_property
    def bridge(self) -> TransformerBridge:
        """The hooked model over the same parameters (seconds, the first time). Give it prepend_bos=False."""
        # A module tree of its own, since the bridge replaces submodules; eager attention, since it hooks the
        # scores.
        return boot(build(self.config, self.weights, "eager"), self.tokenizer, self.name)

    @cached_property
    def tokenizer(self) -> Any:
        """The Hugging Face tokenizer, for chat templates (seconds, the first time)."""
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
        # One by one: a joint decode would not say where a token ends.
        return [self.decode([i]) for i in ids]

    def pad(
        self, ids: Sequence[Sequence[int]]
    ) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"], Int[Tensor, " batch"]]:
        """Right-padded input ids, their attention mask, and the index of each last real position."""
        lengths = torch.tensor([len(row) for row in ids])
        # Padded with 0, on the right: what id stands there does not matter, no real position sees it.
        padded = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], batch_first=True)
        mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long()
        return padded.to(self.device), mask.to(self.device), (lengths - 1).to(self.device)

    def embed(self, input_ids: Int[Tensor, "batch pos"]) -> Resid:
        """The residual stream before block 0, learned positions included."""
        # Learned positions end there, and rotary ones were never trained beyond: the second would fail
        # silently.
        if input_ids.shape[1] > self.anatomy.context_tokens:
            raise ModelError(
                f"a text is longer than {self.name} can read",
                expected=f"at most {self.anatomy.context_tokens} tokens",
                seen=str(input_ids.shape[1]),
            )
        return self.path.embed(input_ids)

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

    def mlp_out(self, layer: int, resid_mid: Resid) -> Resid:
        """What the MLP adds to the residual stream, given it with attention already added."""
        return self.decoder.blocks[layer].mlp_out(resid_mid)

    def forward(
        self,
        input_ids: Int[Tensor, "batch pos"],
        *,
        read: Collection[Site] = (),
        edit: Mapping[Site, Edit] = NO_EDITS,
        attention_mask: Int[Tensor, "batch pos"] | None = None,
        keep_prefix: bool = False,
    ) -> ForwardPass:
        """All blocks over some tokens, read and edited at sites (see `engine.models.forward`)."""
        extent = Extent(attention_mask=attention_mask)
        resid = self.embed(input_ids)
        return forward(self.path, resid, read=read, edit=edit, extent=extent, keep_prefix=keep_prefix)

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
        extent = Extent(start, stop, attention_mask, first_position, prefix)
        return forward(self.path, resid, extent=extent).resid

    def sites(self, *kinds: SiteKind) -> list[Site]:
        """The sites of these kinds, in order of computation within each kind."""
        return [Site(layer, kind) for kind in kinds for layer in range(self.n_layers)]

    @property
    def site_kinds(self) -> list[SiteKind]:
        """The kinds of site that this model has: all readable ones, or fewer (see `absent_sites`)."""
        return [kind for kind in READABLE_SITES if kind not in self.absent_sites]

    @property
    def absent_sites(self) -> Mapping[SiteKind, str]:
        """By kind of site that this model does not have, why not."""
        path = self.path
        if isinstance(path, BridgedBlocks):
            return path.absent
        return {RESID_MID: "attention and MLP read one stream"} if path.parallel else {}

    def final_norm(self, resid: Float[Tensor, "*place d_model"]) -> Float[Tensor, "*place d_model"]:
        return self.path.final_norm(resid)

    def frozen_norm(self, resid: Float[Tensor, "*place d_model"]) -> FrozenNorm:
        """The final norm frozen at the scale that `resid` gives it (Elhage et al. 2021, on attribution)."""
        return FrozenNorm.of(self.path.final_norm, resid)

    def unembed(self, resid: Float[Tensor, "*place d_model"]) -> Float[Tensor, "*place vocab"]:
        """Logits of a residual stream, the final norm included."""
        return self.capped(self.path.unembedding(self.final_norm(resid)))

    @property
    def logit_cap(self) -> float:
        """What logits are capped at, smoothly (Gemma 2); 0 where they are not."""
        return self.path.logit_cap

    def capped(self, logits: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """c tanh(logit / c), or the logits themselves where the model has no cap."""
        cap = self.logit_cap
        return torch.tanh(logits / cap) * cap if cap else logits

    @property
    def W_U(self) -> Float[Tensor, "d_model vocab"]:
        # Stored "vocab d_model", as a linear layer has it.
        return self.path.unembedding.weight.T

    def W_O(self, layer: int) -> Float[Tensor, "head d_head d_model"]:
        return self.path.W_O(layer)

    def b_O(self, layer: int) -> Float[Tensor, " d_model"]:
        """Attention's output bias, which belongs to no head; zeros where the architecture has none."""
        return self.path.b_O(layer)

    def head_outputs(
        self, layer: int, z: Float[Tensor, "batch pos head d_head"]
    ) -> Float[Tensor, "batch pos head d_model"]:
        """What each head alone writes to the residual stream; their sum plus `bias_output` is attn_out.

        A post-norm, which reads all heads at once, is frozen at the scale of this run, as the final norm is.
        """
        by_head = torch.einsum("bphd,hdm->bphm", z, self.W_O(layer))
        norm = self._frozen_post_norm(layer, z)
        return by_head if norm is None else norm.apply(by_head)

    def bias_output(
        self, layer: int, z: Float[Tensor, "batch pos head d_head"]
    ) -> Float[Tensor, "batch pos d_model"]:
        """What attention writes that belongs to no head: its output bias, after the frozen post-norm."""
        bias = self.b_O(layer).expand(*z.shape[:2], -1)
        norm = self._frozen_post_norm(layer, z)
        return bias if norm is None else norm.apply(bias[:, :, None])[:, :, 0] + norm.bias

    def _frozen_post_norm(self, layer: int, z: Float[Tensor, "batch pos head d_head"]) -> FrozenNorm | None:
        if not self.is_plain:
            return None  # a bridge that has one refuses W_O
        block = self.decoder.blocks[layer]
        norm = block.attention_post_norm
        # With an axis for heads, which are normed by one scale.
        return None if norm is None else FrozenNorm.of(norm, block.output(z.flatten(-2))[:, :, None].float())
