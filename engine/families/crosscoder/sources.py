"""Activations of several sources, aligned: sites of one model, or of two that share a tokenizer.

Row r of every source is the same token of the same context. The two models are in memory one after the other:
each reads the text, its activations stay on the disk, where other runs find them too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.errors import ModelError, SpecError
from engine.evidence.result import Check
from engine.lab.activations import BUFFER_BYTES, Activations, Index
from engine.lab.harvest import harvested
from engine.lab.lab import Lab
from engine.lab.massive_activations import massive_rows, norm_limit
from engine.lab.receipts import base_receipts_of_contexts
from engine.lab.second_model import another_model
from engine.spec.family_params import HarvestParams
from engine.spec.sites import resolve_sites

RECEIPT_CONTEXTS = 8


@dataclass(frozen=True)
class Source:
    """One site of one model."""

    model: str
    site: str
    activations: Activations

    @property
    def width(self) -> int:
        return self.activations.widths[self.site]


@dataclass(frozen=True)
class AlignedSources:
    """Sources whose rows are the same tokens, in the order in which they stand side by side."""

    sources: tuple[Source, ...]

    @property
    def one_model(self) -> bool:
        return len({source.model for source in self.sources}) == 1

    @property
    def one_basis(self) -> bool:
        """Whether a direction means the same in all sources: they are one model's residual stream."""
        # Heads' values z lie in each head's own space, before W_O puts them into the stream.
        return self.one_model and not any(s.site.endswith("attn.hook_z") for s in self.sources)

    @property
    def names(self) -> list[str]:
        """The sites, with their models where there are two."""
        return [s.site if self.one_model else f"{s.model} {s.site}" for s in self.sources]

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(source.width for source in self.sources)

    @property
    def n_tokens(self) -> int:
        return self.sources[0].activations.n_tokens

    @property
    def n_contexts(self) -> int:
        return self.sources[0].activations.n_contexts

    @property
    def context(self) -> Int[np.ndarray, " row"]:
        """Which context each row belongs to."""
        return self.sources[0].activations.context

    @property
    def documents(self) -> Int[np.ndarray, " context"]:
        """The number of each context's document."""
        activations = self.sources[0].activations
        return activations.contexts.documents[activations.chosen]

    def rows(self, index: Index) -> Float[Tensor, "row width"]:
        """Some rows, sources side by side, in fp32."""
        return torch.cat([s.activations.rows(s.site, index) for s in self.sources], dim=1)

    def batches(self, batch_size: int, seed: int, epochs: int = 1) -> Iterator[Float[Tensor, "batch width"]]:
        """Shuffled batches, sources side by side, as `Activations.batches` draws them.

        Each source is shuffled by the same seed over the same groups of shards, so that rows stay together;
        the buffers of all take BUFFER_BYTES.
        """
        # In rows, the same for every source: byte limits of their own would group shards differently, and
        # rows would no longer meet.
        rows = BUFFER_BYTES // (4 * sum(self.widths))
        streams = [
            s.activations.batches(s.site, batch_size, seed, epochs, buffer_bytes=4 * rows * s.width)
            for s in self.sources
        ]
        return (torch.cat(batches, dim=1) for batches in zip(*streams, strict=True))

    def split(self, held_out_fraction: float) -> tuple[AlignedSources, AlignedSources]:
        """Training and held-out rows that share no document; DataError where either would be empty."""
        halves = [s.activations.split(held_out_fraction) for s in self.sources]
        train, held_out = zip(*halves, strict=True)
        return self._with(train), self._with(held_out)

    def norm_limits(self, max_norm: float | None) -> list[float]:
        """The largest norm that counts at each source, a multiple of its median over these rows."""
        return [norm_limit(s.activations, s.site, max_norm) for s in self.sources]

    def within(self, limits: Sequence[float]) -> AlignedSources:
        """The same without the rows that are massive at any source, so that rows stay together."""
        pairs = zip(self.sources, limits, strict=True)
        found = [massive_rows(source.activations, source.site, limit) for source, limit in pairs]
        massive = np.unique(np.concatenate(found))
        return self._with([source.activations.without(massive) for source in self.sources])

    def _with(self, parts: Sequence[Activations]) -> AlignedSources:
        pairs = zip(self.sources, parts, strict=True)
        return AlignedSources(tuple(replace(source, activations=part) for source, part in pairs))


def read_aligned(
    lab: Lab,
    sites: Sequence[str],
    params: HarvestParams,
    *,
    against: str | None = None,
    progress: Callable[..., None] = lambda fraction, message="": None,
) -> AlignedSources:
    """The lab's model at some sites over its text, then the model `against` at the same.

    The lab is given the receipts of both. A relative depth is of each model's own. The second model reads
    first, so that what is wrong with it shows at once. SpecError for a site that a model has not, or twice,
    and for tokenizers that differ; ModelError where the second model cannot be had or cuts the text
    otherwise.
    """
    _resolved(lab, sites)  # what the own model lacks shows before the other one is loaded
    if against is None:
        own, receipts = _read(lab, sites, params, progress)
        lab.receipts += receipts
        return AlignedSources(tuple(own))
    with another_model(lab, against):
        # Each model's reading is half of the progress.
        others, second = _read(lab, sites, params, lambda done, *words: progress(done / 2, *words))
    own, receipts = _read(lab, sites, params, lambda done, *words: progress((1 + done) / 2, *words))
    # Under names of their own: both models owe the same checks.
    lab.receipts += [*receipts, *(replace(check, name=f"second_{check.name}") for check in second)]
    require_aligned(own[0], others[0])
    return AlignedSources((*own, *others))


def require_aligned(first: Source, second: Source) -> None:
    """ModelError where the same row of two harvests is not the same token of the same context."""
    ours = first.activations
    theirs = second.activations
    # Shards of unequal length would be shuffled in other groups even where contexts agree.
    same = ours.contexts_per_shard == theirs.contexts_per_shard
    for name in ("ids", "starts", "lengths", "rows"):
        same = same and np.array_equal(getattr(ours.contexts, name), getattr(theirs.contexts, name))
    if not same:
        raise ModelError(
            f"{first.model} and {second.model} do not cut the text alike",
            expected="two models of which both, or none, declare a BOS token",
            seen=f"{ours.contexts.bos} and {theirs.contexts.bos}",
        )


def _read(
    lab: Lab, sites: Sequence[str], params: HarvestParams, progress: Callable[..., None]
) -> tuple[list[Source], list[Check]]:
    """What the lab's present model has at the sites, and receipts over the first contexts."""
    resolved = _resolved(lab, sites)
    acts = harvested(lab, resolved, params, progress)
    # The first ones, so that both models are checked on the same text.
    texts, _ = acts.inputs(np.arange(min(RECEIPT_CONTEXTS, acts.n_contexts)))
    sources = [Source(lab.model.name, site, acts) for site in resolved]
    return sources, base_receipts_of_contexts(lab.model, texts)


def _resolved(lab: Lab, sites: Sequence[str]) -> list[str]:
    """The sites with the layers that they are in the lab's present model, each once."""
    try:
        return resolve_sites(sites, lab.model.n_layers)
    except SpecError as error:
        # The same name may fit one model and not the other: the error says which.
        error.where = error.where or f"sites, in {lab.model.name}"
        raise
