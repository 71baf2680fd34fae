"""The one forward pass: reads, replaces and differentiates activations at hook sites.

`visited_sites` computes block after block and stops at every site; all else here decides what is done there.
`forward` goes to the end, `read_activations` no further than it must, `differentiate` there and back. They
start from a residual stream, which need not be that of block 0, nor begin at position 0.

A site that was asked for and never reached is an error: a hook that does not fire looks like an effect of 0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.errors import ModelError
from engine.models.blocks import Block, Decoder, Heads, KeyValueHeads, Resid, Span
from engine.models.sites import Site
from engine.spec.sites import ATTN_OUT, MLP_OUT, MLP_POST, RESID_MID, RESID_POST, RESID_PRE, SiteKind, Z

Edit = Callable[[Tensor], Tensor]
"""What goes on in place of an activation, in its shape and dtype; it leaves its argument as it was."""
NO_EDITS: Mapping[Site, Edit] = MappingProxyType({})
KeysAndValues = list[tuple[KeyValueHeads, KeyValueHeads]]


@dataclass(frozen=True)
class KVPrefix:
    """Every layer's keys and values of a base run, so that a patched run recomputes only later positions.

    Each entry is "batch key_value_head pos d_head", positions already applied. Batch 1 serves any batch.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    def before(self, position: int) -> KVPrefix:
        """Only the positions before `position` (views, no copy)."""
        return KVPrefix(
            tuple(k[:, :, :position] for k in self.keys), tuple(v[:, :, :position] for v in self.values)
        )


NO_PREFIX = KVPrefix((), ())


@runtime_checkable
class KVStore(Protocol):
    """Keys and values that are held from call to call, so that a text that grows is not computed again."""

    def extended(
        self, layer: int, key: KeyValueHeads, value: KeyValueHeads
    ) -> tuple[KeyValueHeads, KeyValueHeads]:
        """Those of the new positions are put in; what comes back has all positions so far."""
        ...


@dataclass(frozen=True)
class Extent:
    """How much of a forward is computed: blocks start..stop-1, positions `first_position` and later.

    `attention_mask` is "batch key" over all positions from 0, the prefix's included; its batch may be 1.
    `prefix` has the keys and values of all positions before `first_position`, or `store` has them and takes
    the new ones. With `next_positions` each row has one new position, its own; the mask is made from them.
    """

    start: int = 0
    stop: int | None = None
    attention_mask: Int[Tensor, "batch key"] | None = None
    first_position: int = 0
    prefix: KVPrefix | None = None
    store: KVStore | None = None
    next_positions: Int[Tensor, " batch"] | None = None


WHOLE = Extent()


@dataclass(frozen=True)
class ForwardPass:
    """What one forward gave.

    `resid` is the residual stream after its last block; `activations` has what was read, with the axes of its
    site; `prefix` the keys and values of every block, or of none where they were not asked for.
    """

    resid: Resid
    activations: Mapping[Site, Tensor] = field(default_factory=dict, repr=False)
    prefix: KVPrefix = field(default=NO_PREFIX, repr=False)

    def by_layer(self, kind: SiteKind) -> list[Tensor]:
        """What was read at one kind of site, in order of layers."""
        return [value for site, value in self.activations.items() if site.kind == kind]


@dataclass(frozen=True)
class Gradients:
    """One forward and one backward: `objective` "batch", and by site an activation and d objective / d it."""

    objective: Float[Tensor, " batch"]
    activations: Mapping[Site, Tensor] = field(repr=False)
    gradients: Mapping[Site, Tensor] = field(repr=False)


@runtime_checkable
class HookedBlocks(Protocol):
    """Blocks that are read and edited in another way than this module's: through a bridge's hooks."""

    @property
    def n_layers(self) -> int: ...

    @property
    def parallel(self) -> bool: ...

    def forward(
        self,
        resid: Resid,
        read: Collection[Site],
        edit: Mapping[Site, Edit],
        extent: Extent,
        keep_prefix: bool = False,
    ) -> ForwardPass: ...


def forward(
    decoder: Decoder | HookedBlocks,
    resid: Resid,
    *,
    read: Collection[Site] = (),
    edit: Mapping[Site, Edit] = NO_EDITS,
    extent: Extent = WHOLE,
    keep_prefix: bool = False,
) -> ForwardPass:
    """The blocks of `extent` over the residual stream `resid`, read and edited at sites.

    What is read at a site is what goes on from there, its edit applied. Gradients are recorded where torch
    records them at the time of the call. ModelError for a site that is not reached.
    """
    if not isinstance(decoder, Decoder):
        return decoder.forward(resid, read, edit, extent, keep_prefix)
    asked = [*read, *edit]
    wanted = set(read)
    found: dict[Site, Tensor] = {}
    visited: set[Site] = set()
    keys_and_values: KeysAndValues | None = [] if keep_prefix else None
    for site, value in visited_sites(decoder, resid, edit, extent, keys_and_values):
        resid = value  # the last site visited is the stream after the last block
        # Hashed only where somebody asks for a site: it shows in a step of generation, of one position.
        if asked:
            visited.add(site)
        if wanted and site in wanted:
            found[site] = value
    require_reached(asked, visited, decoder)
    return ForwardPass(resid, found, _prefix(keys_and_values or ()))


def read_activations(
    decoder: Decoder | HookedBlocks, resid: Resid, sites: Collection[Site]
) -> dict[Site, Tensor]:
    """What is at some sites, computing nothing beyond the last of them; ModelError for one not reached."""
    left = set(sites)
    if not isinstance(decoder, Decoder):
        last = max((site.layer for site in left), default=-1)
        extent = Extent(stop=min(last + 1, decoder.n_layers))
        return dict(decoder.forward(resid, sites, NO_EDITS, extent).activations)
    found: dict[Site, Tensor] = {}
    # A generator is suspended between sites: leaving the loop leaves the later blocks uncomputed.
    for site, value in visited_sites(decoder, resid) if left else ():
        if site in left:
            found[site] = value
            left.remove(site)
        if not left:
            break
    require_reached(sites, found, decoder)
    return found


def differentiate(
    decoder: Decoder | HookedBlocks,
    resid: Resid,
    sites: Collection[Site],
    objective: Callable[[Resid], Float[Tensor, " batch"]],
) -> Gradients:
    """d objective / d activation at some sites, `objective` being a function of the last residual stream.

    Rows of a batch do not see each other: one backward of the sum over rows gives each row its own gradient.
    """
    with torch.enable_grad():
        # Parameters require no gradient, so that the graph has to begin at the stream itself.
        run = forward(decoder, resid.detach().requires_grad_(), read=sites)
        values = objective(run.resid)
        # `grad` and not `backward`: nothing accumulates in the leaf, and only these sites get a gradient.
        gradients = torch.autograd.grad(values.sum(), list(run.activations.values()))
    # Detached, so that the graph of the whole forward is let go of here.
    activations = {site: activation.detach() for site, activation in run.activations.items()}
    return Gradients(values.detach(), activations, dict(zip(activations, gradients, strict=True)))


def visited_sites(
    decoder: Decoder,
    resid: Resid,
    edit: Mapping[Site, Edit] = NO_EDITS,
    extent: Extent = WHOLE,
    keys_and_values: KeysAndValues | None = None,
) -> Iterator[tuple[Site, Tensor]]:
    """Every site with its activation, edited, in the order of computation; whoever stops asking stops it.

    Each block's keys and values, those of the prefix included, are appended to `keys_and_values`.
    """
    # The same for every block: masks and rotary angles depend on positions alone.
    if extent.next_positions is None:
        span = decoder.span(resid, extent.attention_mask, extent.first_position)
    else:
        span = decoder.next_span(resid, extent.next_positions)
    stop = len(decoder.blocks) if extent.stop is None else extent.stop
    for layer in range(extent.start, stop):
        block = decoder.blocks[layer]
        at = partial(_edited, edit, layer)

        # x_l, what block l reads
        site, resid_pre = at(RESID_PRE, resid)
        yield site, resid_pre

        # z_h = sum_k softmax(q_h k / sqrt(d_head)) v_k, each head's mixture of values
        # An edit of resid_pre reaches queries, keys and values alike, as it does in TransformerLens.
        query, key, value = _query_key_value(block, layer, resid_pre, span, extent)
        if keys_and_values is not None:
            keys_and_values.append((key, value))
        site, z = at(Z, block.attend(query, key, value, span))
        yield site, z

        # a_l = sum_h z_h W_O^h + b_O, and the stream between attention and MLP
        site, attn_out = at(ATTN_OUT, block.attn_out(z))
        yield site, attn_out
        resid_mid = resid_pre
        if not block.parallel:
            site, resid_mid = at(RESID_MID, resid_pre + attn_out)
            yield site, resid_mid

        # h_l, the MLP's neurons
        # (the MLP reads a view, so that all of its gradient is summed before it joins the stream's)
        site, mlp_post = at(MLP_POST, block.mlp_post(resid_mid.view_as(resid_mid)))
        yield site, mlp_post

        # m_l = W_out h_l + b_out, and x_{l+1} = x_l + a_l + m_l
        site, mlp_out = at(MLP_OUT, block.mlp_written(mlp_post))
        yield site, mlp_out
        # In Hugging Face's order of summation: rounding is then the same.
        written = mlp_out + attn_out + resid_pre if block.parallel else resid_mid + mlp_out
        site, resid = at(RESID_POST, written)
        yield site, resid


def _edited(edit: Mapping[Site, Edit], layer: int, kind: SiteKind, value: Tensor) -> tuple[Site, Tensor]:
    """The site, and what goes on from it."""
    site = Site(layer, kind)
    return site, edited(edit, site, value)


def edited(edit: Mapping[Site, Edit], site: Site, value: Tensor) -> Tensor:
    """What goes on from a site; ModelError where an edit gives something of another shape."""
    if not edit or site not in edit:
        return value
    new = edit[site](value)
    if new.shape != value.shape:
        raise ModelError(
            f"an edit at {site} changes the shape",
            expected=f"{site.kind.axes}: {tuple(value.shape)}",
            seen=str(tuple(new.shape)),
        )
    # An edit may compute in fp32; the blocks after it expect the model's dtype.
    return new.to(value.dtype)


def _query_key_value(
    block: Block, layer: int, resid: Resid, span: Span, extent: Extent
) -> tuple[Heads, KeyValueHeads, KeyValueHeads]:
    """The block's own, with the keys and values of earlier positions in front where there are any."""
    query, key, value = block.query_key_value(resid, span)
    if extent.store is not None:
        return query, *extent.store.extended(layer, key, value)
    first = span.first_position
    prefix = extent.prefix
    if first == 0:
        return query, key, value
    if prefix is None or prefix.keys[layer].shape[2] < first:
        raise ModelError(
            "a run that starts at a later position needs the earlier ones",
            expected=f"a prefix of at least {first} positions",
            seen="none" if prefix is None else str(prefix.keys[layer].shape[2]),
        )
    # `expand` copies nothing: one base run's prefix serves a batch of patched runs.
    earlier_keys = prefix.keys[layer][:, :, :first].expand(len(key), -1, -1, -1)
    earlier_values = prefix.values[layer][:, :, :first].expand(len(value), -1, -1, -1)
    # Along the axis of keys: positions 0..first-1 of the base run, then those computed here.
    return query, torch.cat((earlier_keys, key), dim=2), torch.cat((earlier_values, value), dim=2)


def _prefix(keys_and_values: Sequence[tuple[KeyValueHeads, KeyValueHeads]]) -> KVPrefix:
    return KVPrefix(tuple(key for key, _ in keys_and_values), tuple(value for _, value in keys_and_values))


def require_reached(
    asked: Collection[Site], reached: Collection[Site], decoder: Decoder | HookedBlocks
) -> None:
    """ModelError for hooks that never fired."""
    silent = [site for site in asked if site not in reached]
    if not silent:
        return
    between = all(site.kind == RESID_MID and site.layer < decoder.n_layers for site in silent)
    if between and decoder.parallel:
        raise ModelError(
            "there is no stream between attention and MLP where both read the same one (a parallel residual)",
            expected="hook_resid_pre, hook_attn_out, hook_mlp_out or hook_resid_post",
            seen=", ".join(map(str, silent)),
        )
    raise ModelError(
        "a hook was set at a site that this forward does not reach",
        expected=f"readable sites of the blocks that are run, of {decoder.n_layers} in all",
        seen=", ".join(map(str, silent)),
    )
