"""The blocks of an architecture that has no entry in `weight_layouts.py`, by a TransformerBridge's hooks.

The numbers are those of the bridge, slower: every call computes all blocks from the first one, and keeps no
keys and values. Which sites there are is found out by a forward when the bridge is booted: one whose hook
does not fire exactly once in each block, or does not hold what its name says, is refused with the reason.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.errors import ModelError
from engine.models.blocks import Linear, Norm, Resid
from engine.models.forward import Edit, Extent, ForwardPass, edited, require_reached
from engine.models.sites import Site
from engine.spec.sites import (
    ATTN_OUT,
    MLP_OUT,
    MLP_POST,
    READABLE_SITES,
    RESID_MID,
    RESID_POST,
    RESID_PRE,
    SiteKind,
    Z,
)

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

PROBE_POSITIONS = 6
TOLERANCE = 1e-3
"""Of a stream, what rounding may leave where its parts are summed; a factor of one of them leaves more."""
SILENT = "its hook does not fire once in every block"
NOT_ADDED = "what it holds is not what is added to the stream"
NOT_NEURONS = "it holds what experts write, or has another width from block to block"
MLP_INPUT_ALONE = "TransformerLens's hook there changes what the MLP reads, and not the stream"


@dataclass(frozen=True, eq=False)
class BridgedBlocks:
    """What `forward` needs of a decoder, and what lies after the blocks.

    `absent` says by kind why there is no such site, `heads_unknown` why what single heads write is not known.
    Calls take turns: hooks are set on modules that all threads share.
    """

    bridge: TransformerBridge
    n_layers: int
    final_norm: Norm
    unembedding: Linear
    logit_cap: float
    absent: Mapping[SiteKind, str] = field(default_factory=dict)
    heads_unknown: str = ""
    turn: threading.Lock = field(default_factory=threading.Lock, repr=False)

    position_embedding: None = None
    """Where positions are learned they come with the embedding: the bridge does not give them apart."""

    @property
    def parallel(self) -> bool:
        """Whether there is no stream between attention and MLP."""
        return RESID_MID in self.absent

    def embed(self, input_ids: Int[Tensor, "batch pos"]) -> Resid:
        """The residual stream before block 0."""
        with self.turn:
            return self.bridge.run_with_hooks(input_ids, stop_at_layer=0, prepend_bos=False)

    def forward(
        self,
        resid: Resid,
        read: Collection[Site],
        edit: Mapping[Site, Edit],
        extent: Extent,
        keep_prefix: bool = False,
    ) -> ForwardPass:
        """As `engine.models.forward.forward`; ModelError for what the bridge does not give."""
        self._require_sites(read, edit)
        continues = extent.first_position or extent.store is not None or extent.next_positions is not None
        if continues or keep_prefix:
            raise ModelError(
                "this model is read through a TransformerBridge, which keeps no keys and values",
                expected="whole texts, from their first position",
                seen="a forward that goes on from an earlier one, or is to be gone on from",
            )
        stop = self.n_layers if extent.stop is None else extent.stop
        if extent.start >= stop:
            require_reached([*read, *edit], (), self)
            return ForwardPass(resid)
        found: dict[Site, Tensor] = {}
        # The stream comes in place of that of the tokens, whatever they are.
        hooks: list[Any] = [(str(Site(extent.start, RESID_PRE)), lambda value, hook: resid)]
        within = [s for s in dict.fromkeys([*read, *edit]) if extent.start <= s.layer < stop]
        hooks += [(str(site), partial(_visit, found, edit, site)) for site in within]
        last = Site(stop - 1, RESID_POST)
        if last not in within:
            hooks.append((str(last), partial(_visit, found, edit, last)))
        self._run(resid, hooks, extent.attention_mask, stop)
        require_reached([*read, *edit], found, self)
        # In the order of computation, as the plain path reads them.
        order = sorted(
            (s for s in found if s in set(read)), key=lambda s: (s.layer, READABLE_SITES.index(s.kind))
        )
        return ForwardPass(found[last], {site: found[site] for site in order})

    def _run(
        self, resid: Resid, hooks: list[Any], attention_mask: Int[Tensor, "rows key"] | None, stop: int
    ) -> None:
        ids = torch.zeros(resid.shape[:2], dtype=torch.long, device=resid.device)
        # Always given: the bridge would take tokens that happen to be padding for padding.
        mask = torch.ones_like(ids) if attention_mask is None else attention_mask.expand(len(ids), -1)
        with self.turn:
            # Hooks of the block at which it stops are not set, so that the last one of all runs to the end.
            self.bridge.run_with_hooks(
                ids,
                fwd_hooks=hooks,
                prepend_bos=False,
                attention_mask=mask,
                stop_at_layer=stop if stop < self.n_layers else None,
            )

    def _require_sites(self, read: Collection[Site], edit: Mapping[Site, Edit]) -> None:
        refused = {site: self.absent[site.kind] for site in [*read, *edit] if site.kind in self.absent}
        refused |= {site: MLP_INPUT_ALONE for site in edit if site.kind == RESID_MID and site not in refused}
        if refused:
            raise ModelError(
                "this architecture's bridge has no such site: " + next(iter(refused.values())),
                expected="one of "
                + ", ".join(kind.name for kind in READABLE_SITES if kind not in self.absent),
                seen=", ".join(map(str, refused)),
            )

    def W_O(self, layer: int) -> Float[Tensor, "head d_head d_model"]:
        """The output projection by head; ModelError where heads write otherwise than by z W_O."""
        if self.heads_unknown:
            raise ModelError(
                "what single heads write is not known through this architecture's bridge",
                expected="attn_out = sum_h z_h W_O^h + b_O, at sites that hold what is added",
                seen=self.heads_unknown,
            )
        return self.bridge.blocks[layer].attn.W_O

    def b_O(self, layer: int) -> Float[Tensor, " d_model"]:
        """The output projection's bias; zeros where there is none."""
        bias = getattr(self.bridge.blocks[layer].attn.o, "bias", None)
        return self.unembedding.weight.new_zeros(self.unembedding.weight.shape[1]) if bias is None else bias


def _visit(
    found: dict[Site, Tensor], edit: Mapping[Site, Edit], site: Site, value: Tensor, hook: object
) -> Tensor:
    """What goes on from a site, noted; ModelError where its hook fires again."""
    if site in found:
        raise ModelError("a hook fires more than once in a forward", seen=str(site))
    # Given back even where nothing is edited: the tensor that is noted is then the one that goes on, and a
    # gradient reaches it.
    found[site] = edited(edit, site, value)
    return found[site]


def bridged_blocks(bridge: TransformerBridge, hf: Any) -> BridgedBlocks:
    """The blocks behind a bridge, with the sites that it has; ModelError where its end is not known.

    `hf` is a Hugging Face model over the same parameters that no bridge has touched.
    """
    head = hf.get_output_embeddings()
    scale = _logit_scale(hf.config)
    weight = head.weight if scale == 1.0 else head.weight * scale
    bias = getattr(head, "bias", None)
    blocks = BridgedBlocks(
        bridge,
        len(bridge.blocks),
        _final_norm(hf, bridge),
        Linear(weight, bias if bias is None or scale == 1.0 else bias * scale),
        float(getattr(hf.config, "final_logit_softcapping", None) or 0.0),
    )
    held, fired = _probe(blocks)
    absent = _absent(blocks.n_layers, held, fired)
    return replace(blocks, absent=absent, heads_unknown=_heads_unknown(blocks, held, absent))


def _logit_scale(config: Any) -> float:
    """What logits are multiplied by: Cohere says it so, Granite what they are divided by."""
    return float(
        getattr(config, "logit_scale", None) or 1.0 / (getattr(config, "logits_scaling", None) or 1.0)
    )


def _final_norm(hf: Any, bridge: TransformerBridge) -> Norm:
    """The norm after the last block as one of ours: the one that gives what the module gives."""
    name = str(getattr(getattr(bridge, "ln_final", None), "name", ""))
    module: Any = hf.get_submodule(name) if name else None
    if module is None:
        raise _unknown_end("no final norm")
    given = next(hf.parameters())
    # OLMo's norm has no weight: it only takes mean and size away.
    plain = torch.ones(hf.config.hidden_size, dtype=given.dtype, device=given.device)
    weight = getattr(module, "weight", None)
    weight = plain if weight is None else weight
    epsilon = next((getattr(module, n) for n in ("eps", "variance_epsilon") if hasattr(module, n)), 1e-5)
    bias = getattr(module, "bias", None)
    # A LayerNorm without a bias (Cohere) centres all the same.
    bias = torch.zeros_like(weight) if bias is None else bias
    candidates = (
        Norm(weight, bias, epsilon),
        Norm(1 + weight, bias, epsilon),  # Nemotron
        Norm(weight, None, epsilon),
        Norm(weight, None, epsilon, wide=True),
        Norm(weight, None, epsilon, 1.0, wide=True),
    )
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, len(weight), generator=generator).to(weight)
    # Two roundings of a value in the model's dtype; the candidates differ by whole units.
    near = max(1e-5, 2 * torch.finfo(x.dtype).eps)
    with torch.no_grad():
        expected = module(x)
        for norm in candidates:
            if torch.allclose(norm(x), expected, atol=near, rtol=near):
                return norm
    raise _unknown_end(type(module).__name__)


def _unknown_end(seen: str) -> ModelError:
    return ModelError(
        "what lies between the last block and the logits is not known to the engine",
        expected="LayerNorm or RMSNorm, then an unembedding",
        seen=seen,
    )


def _probe(blocks: BridgedBlocks) -> tuple[dict[Site, Tensor], Counter[Site]]:
    """What a forward of a few tokens has at every site that there is, and how often its hook fired."""
    fired: Counter[Site] = Counter()
    held: dict[Site, Tensor] = {}

    def note(site: Site, value: Tensor, hook: object) -> None:
        fired[site] += 1
        held[site] = value

    bridge = blocks.bridge
    sites = [Site(layer, kind) for layer in range(blocks.n_layers) for kind in READABLE_SITES]
    there = [site for site in sites if bridge.get_hook_point(str(site)) is not None]
    hooks: list[Any] = [(str(site), partial(note, site)) for site in there]
    weight = blocks.unembedding.weight
    # Spread over the vocabulary, so that no two positions are alike.
    ids = torch.linspace(1, len(weight) - 1, PROBE_POSITIONS).long()[None].to(weight.device)
    with torch.no_grad():
        bridge.run_with_hooks(ids, fwd_hooks=hooks, prepend_bos=False, attention_mask=torch.ones_like(ids))
    return held, fired


def _absent(n_layers: int, held: Mapping[Site, Tensor], fired: Counter[Site]) -> dict[SiteKind, str]:
    """By kind of site that cannot be had, why not."""
    layers = range(n_layers)
    absent = {k: SILENT for k in READABLE_SITES if any(fired[Site(layer, k)] != 1 for layer in layers)}
    if any(site.kind == Z and value.ndim != 4 for site, value in held.items()):
        absent[Z] = "its heads are not apart"
    if MLP_POST not in absent and not _holds_neurons(n_layers, held):
        absent[MLP_POST] = NOT_NEURONS
    for kind in (RESID_PRE, RESID_POST):
        if kind in absent:
            raise ModelError("a bridge has no residual stream to read", seen=f"{kind.name}: {SILENT}")
    if not _adds_up(n_layers, held, absent):
        absent |= {ATTN_OUT: NOT_ADDED, MLP_OUT: NOT_ADDED}
    return absent


def _holds_neurons(n_layers: int, held: Mapping[Site, Tensor]) -> bool:
    """Whether hook_post has an MLP's neurons: as many in each block, and before its output projection."""
    posts = [held[Site(layer, MLP_POST)] for layer in range(n_layers)]
    if len({post.shape[-1] for post in posts}) > 1:
        return False
    # Of a mixture of experts the bridge calls the output itself so: their neurons have no one site.
    outs = [held.get(Site(layer, MLP_OUT)) for layer in range(n_layers)]
    return not any(out is not None and torch.equal(post, out) for post, out in zip(posts, outs, strict=True))


def _heads_unknown(blocks: BridgedBlocks, held: Mapping[Site, Tensor], absent: Mapping[SiteKind, str]) -> str:
    """Why what single heads write is not known: no such site, or something between z W_O and the stream."""
    for kind in (Z, ATTN_OUT, MLP_OUT):
        if kind in absent:
            return f"{kind.name}: {absent[kind]}"
    for layer in range(blocks.n_layers):
        try:
            heads = torch.einsum("bphd,hdm->bpm", held[Site(layer, Z)], blocks.W_O(layer))
        # The bridge has no such parameter, or one of another shape.
        except (AttributeError, RuntimeError, NotImplementedError) as problem:
            return f"no W_O by head ({type(problem).__name__})"
        if not _alike(heads + blocks.b_O(layer), held[Site(layer, ATTN_OUT)]):
            return "hook_attn_out is not the sum of z W_O: a norm or a factor comes after it"
    return ""


def _alike(seen: Tensor, expected: Tensor) -> bool:
    """Whether two tensors differ by no more than rounding leaves."""
    # bf16 has three digits less: there values are compared by what it can tell.
    coarse = 30 * TOLERANCE if expected.dtype == torch.bfloat16 else TOLERANCE
    return bool((seen.float() - expected.float()).abs().max() <= coarse * expected.float().abs().max())


def _adds_up(n_layers: int, held: Mapping[Site, Tensor], absent: Mapping[SiteKind, str]) -> bool:
    """Whether each block's stream grows by what attention and MLP are said to write."""
    if ATTN_OUT in absent or MLP_OUT in absent:
        return True
    for layer in range(n_layers):
        before, attn_out, mlp_out = (held[Site(layer, k)].float() for k in (RESID_PRE, ATTN_OUT, MLP_OUT))
        after = held[Site(layer, RESID_POST)]
        if not _alike(before + attn_out + mlp_out, after):
            return False
    return True
