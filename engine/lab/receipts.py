"""Numerical identities that run with every experiment; where one fails, its numbers are withheld.

Two sets are owed by every family and say nothing of its method: `base_receipts` for prompts and
`base_receipts_of_contexts` for a corpus. The others belong to an instrument.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.data.chat import ChatPrompts
from engine.data.contrasts import TextContrasts
from engine.evidence.result import Check
from engine.lab.attribution import Attribution
from engine.lab.facts import Facts
from engine.lab.lens import LensReading
from engine.lab.split import Labels, hash_order
from engine.lab.threads import side_by_side
from engine.models.forward import visited_sites
from engine.models.rounding import FACTOR, relative_rounding, rounding_limit
from engine.models.sites import Site
from engine.spec.sites import RESID_MID

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

SAMPLED_PROMPTS = 8


@dataclass(frozen=True)
class ForwardDifferences:
    """How far logits at the last position are from those of the prompt alone, and how large they are.

    `hugging_face` is the Hugging Face forward of the same prompt, `padding` the engine's in a padded batch.
    """

    hugging_face: Float[Tensor, " prompt"]
    padding: Float[Tensor, " prompt"]
    largest_logit: Float[Tensor, " prompt"]


@torch.no_grad()
def forward_differences(
    model: HookedModel, input_ids: Int[Tensor, "prompt pos"], last: Int[Tensor, " prompt"]
) -> ForwardDifferences:
    """Each prompt alone, by the engine and by Hugging Face, and the engine over all of them in one batch."""
    # Cut to their own length: no padding, and so no mask that could hide a fault.
    prompts = [input_ids[[row], : int(position) + 1] for row, position in enumerate(last)]
    alone = _last_logits(model, prompts, lambda ids: model.logits(ids))
    # `use_cache=False`: a cache of keys and values would only take memory in one forward.
    theirs = _last_logits(model, prompts, lambda ids: model.hf(ids, use_cache=False).logits)
    return ForwardDifferences(
        hugging_face=(alone - theirs).abs().amax(-1),
        padding=(_padded(model, input_ids, last) - alone).abs().amax(-1),
        largest_logit=theirs.abs().amax(-1),
    )


def base_receipts(
    model: HookedModel, input_ids: Int[Tensor, "prompt pos"], last: Int[Tensor, " prompt"]
) -> list[Check]:
    """What every run on prompts owes, over all the prompts given; `last` is each one's last position.

    Logits against Hugging Face's, each prompt alone against the same in a padded batch, and a hook at every
    readable site. Both computations of a pair say the same, and only round differently: the limit is what
    rounding explains in this dtype, at this depth and width, for logits of this size (`rounding_limit`).
    """
    found = forward_differences(model, input_ids, last)
    limit = rounding_limit(model.dtype, model.shape, float(found.largest_logit.max()))
    n_prompts = len(input_ids)
    return [
        Check(
            "hugging_face_logits",
            float(found.hugging_face.max()),
            limit,
            f"Largest logit difference of the engine's forward from Hugging Face's, {n_prompts} prompts.",
        ),
        Check(
            "padding",
            float(found.padding.max()),
            limit,
            f"Largest logit difference of a prompt alone from it in a padded batch, {n_prompts} prompts.",
        ),
        hooks_receipt(model, input_ids[:1, : int(last[0]) + 1]),
    ]


@torch.no_grad()
def base_receipts_of_contexts(model: HookedModel, input_ids: Int[Tensor, "context pos"]) -> list[Check]:
    """What every run over a corpus owes: logits at every position against Hugging Face's, and the hooks."""
    ids = input_ids.to(model.device)
    ours = model.logits(ids).float()
    theirs = model.hf(ids, use_cache=False).logits.float()
    return [
        Check(
            "hugging_face_logits",
            _largest_difference(ours, theirs),
            rounding_limit(model.dtype, model.shape, float(theirs.abs().max())),
            f"Largest logit difference of the engine's forward from Hugging Face's, {len(ids)} contexts.",
        ),
        hooks_receipt(model, ids[:1]),
    ]


@torch.no_grad()
def hooks_receipt(model: HookedModel, input_ids: Int[Tensor, "batch pos"]) -> Check:
    """Whether a hook at every readable site fires once in a forward, and is read there."""
    calls: Counter[Site] = Counter()

    def counted(site: Site, value: Tensor) -> Tensor:
        calls[site] += 1
        return value

    sites = model.sites(*model.site_kinds)
    # A bridge's hook at the stream between attention and MLP is read, and refused where it is to be edited.
    edits = {site: partial(counted, site) for site in sites if model.is_plain or site.kind != RESID_MID}
    read: set[Site] = set()
    if model.is_plain:
        # `forward` raises where a hook is silent; a receipt counts, so that the numbers are withheld instead.
        read = {site for site, _ in visited_sites(model.decoder, model.embed(input_ids), edits)}
    else:
        # Through a bridge a hook that is silent, or fires twice, has been an error before.
        read = set(model.forward(input_ids, read=sites, edit=edits).activations)
    # More than once is wrong too: a replacement would then be applied to itself.
    silent = [site for site in sites if (site in edits and calls[site] != 1) or site not in read]
    about = f"Hooks that did not fire once in a forward, of one at each of {len(sites)} readable sites."
    return Check("hooks_fired", len(silent), 0, about)


def model_receipts(model: HookedModel, facts: Facts) -> list[Check]:
    """The base receipts of a few of the prompts."""
    return receipts_of_some(model, facts.ids, facts.prompts.clean, facts.prompts.last)


def receipts_of_some(
    model: HookedModel, ids: Labels, input_ids: Int[Tensor, "prompt pos"], last: Int[Tensor, " prompt"]
) -> list[Check]:
    """The base receipts of a few of the prompts that these ids name."""
    # By hash, so that they are not the first of one relation.
    rows = hash_order(ids)[:SAMPLED_PROMPTS]
    return base_receipts(model, input_ids[rows], last[rows])


def chat_receipts(model: HookedModel, chats: ChatPrompts) -> list[Check]:
    """The base receipts of a few of the requests."""
    return receipts_of_some(model, chats.ids, chats.tokens, chats.last)


def contrast_receipts(model: HookedModel, contrasts: TextContrasts) -> list[Check]:
    """The base receipts of a few of the positive texts."""
    return receipts_of_some(model, contrasts.ids, contrasts.positive, contrasts.positive_last)


def attribution_receipt(model: HookedModel, attribution: Attribution) -> Check:
    """Whether contributions add up to the logit differences.

    A sum is as exact as its terms are large: what rounding leaves is measured by the sum of the terms' sizes
    (Higham 2002, equation 4.4), since contributions that cancel leave a small difference with the error of
    large terms. The stream itself was added up in the model's dtype, so that the relative error is that of
    the last residual stream (`relative_rounding`).
    """
    # Where nothing contributes, the difference has to be nothing too: any residue is beyond the limit there.
    sizes = np.abs(attribution.values).sum(-1).clip(min=np.finfo(np.float64).tiny)
    residues = np.abs(attribution.values.sum(-1) - attribution.logit_diff)
    return Check(
        "attributions_sum",
        float((residues / sizes).max()),
        FACTOR * relative_rounding(model.dtype, model.shape),
        "Largest distance of summed contributions from a logit difference, of the sum of their sizes.",
    )


def lens_receipt(model: HookedModel, facts: Facts, reading: LensReading) -> Check:
    """Whether the lens after the last block says what the model says, on a few prompts.

    A log-probability is a logit less the log of a sum over all: either may be off by what a logit may be.
    """
    rows = hash_order(facts.ids)[:SAMPLED_PROMPTS]
    prompts = [facts.prompts.clean[[row], : int(facts.prompts.last[row]) + 1] for row in rows.tolist()]
    logits = _last_logits(model, prompts, lambda ids: model.hf(ids, use_cache=False).logits)
    output = logits.log_softmax(-1).gather(1, facts.prompts.answer[rows][:, None])[:, 0].cpu().numpy()
    return Check(
        "last_lens_row",
        float(np.abs(reading.logprob[rows, -1, 0] - output).max()),
        2 * rounding_limit(model.dtype, model.shape, float(logits.abs().max())),
        f"Largest difference in nats of the lens after the last block from the output, {len(rows)} prompts.",
    )


def _last_logits(
    model: HookedModel, prompts: list[Tensor], logits: Callable[[Tensor], Tensor]
) -> Float[Tensor, "prompt vocab"]:
    """Each prompt's logits at its last position, from a batch of its own."""
    return torch.stack(side_by_side(lambda ids: logits(ids)[0, -1], prompts, model.device)).float()


@torch.no_grad()
def _padded(
    model: HookedModel, input_ids: Int[Tensor, "prompt pos"], last: Int[Tensor, " prompt"]
) -> Float[Tensor, "prompt vocab"]:
    """Last-position logits in one batch that is padded by at least one position for every prompt."""
    # One more, since the longest prompt would have no padding otherwise and its mask not be tested.
    ids = torch.nn.functional.pad(input_ids, (0, 1))
    mask = torch.arange(ids.shape[1])[None].to(ids.device) <= last[:, None]
    resid = model.forward(ids, attention_mask=mask.long()).resid
    return model.unembed(resid[torch.arange(len(ids)), last]).float()


def _largest_difference(seen: Tensor, expected: Tensor) -> float:
    return float((seen - expected).abs().max())
