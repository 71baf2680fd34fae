"""Mistakes that a forward over a padded batch is prone to, planted one at a time; a receipt must see each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from jaxtyping import Int
from torch import Tensor

from engine.models.blocks import Decoder, Resid, Span

Mask = Int[Tensor, "batch key"]


def later_positions(decoder: Decoder, span: Span, mask: Mask) -> Span:
    """Every position but the first is counted one too far."""
    if span.rotary is None:
        return span  # learned positions: see `planted`
    positions = torch.arange(mask.shape[1], device=mask.device)
    later = positions + (positions > 0)
    constants = (decoder.rotary_frequencies, decoder.rotary_scaling)
    return replace(span, rotary=decoder._rotary(later, span.rotary[0].dtype, *constants))


def sees_padding(decoder: Decoder, span: Span, mask: Mask) -> Span:
    """Every position sees all keys, padding included."""
    assert span.mask is not None
    return replace(span, mask=torch.ones_like(span.mask))


def sees_one_key_more(decoder: Decoder, span: Span, mask: Mask) -> Span:
    """Position i sees key i + 1 too, which after the last token is padding."""
    assert span.mask is not None
    n_keys = span.mask.shape[-1]
    return replace(span, mask=torch.ones_like(span.mask).tril(1)[..., :n_keys])


def hides_last_key(decoder: Decoder, span: Span, mask: Mask) -> Span:
    """The last token of each prompt counts as padding."""
    assert span.mask is not None
    shorter = torch.cat((mask[:, 1:], mask[:, :1] * 0), dim=1)
    # The first key stays: a position that sees nothing has no attention at all.
    shorter[:, 0] = 1
    return replace(span, mask=span.mask & shorter[:, None, None].bool())


FAULTS: dict[str, Callable[[Decoder, Span, Mask], Span]] = {
    fault.__name__: fault for fault in (later_positions, sees_padding, sees_one_key_more, hides_last_key)
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Every masked forward has this fault; what is computed without a mask stays right."""
    span = Decoder.span
    embed = Decoder.embed

    def wrong_span(decoder: Decoder, resid: Resid, attention_mask: Mask | None, first_position: int) -> Span:
        right = span(decoder, resid, attention_mask, first_position)
        return right if attention_mask is None else FAULTS[name](decoder, right, attention_mask)

    def wrong_embed(decoder: Decoder, input_ids: Int[Tensor, "batch pos"]) -> Resid:
        right = embed(decoder, input_ids)
        learned = decoder.position_embedding
        # A prompt alone is a batch of one: only the padded batch is wrong.
        if name != "later_positions" or learned is None or len(input_ids) == 1:
            return right
        length = input_ids.shape[1]
        return torch.cat((right[:, :1], right[:, 1:] - learned[1:length] + learned[2 : length + 1]), dim=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Decoder, "span", wrong_span)
        patch.setattr(Decoder, "embed", wrong_embed)
        yield
