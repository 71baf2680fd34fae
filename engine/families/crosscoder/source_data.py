"""What a crosscoder is trained and measured on, and the same with its sources shuffled against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.families.crosscoder.sources import AlignedSources
from engine.lab.sparse.crosscoder import Batch
from engine.lab.sparse.widths import Widths
from engine.spec.family_params import HarvestParams, TrainingParams

HELD_ROWS = 4096
"""Rows measured at once."""

Rows = Iterator[tuple[Batch, Tensor]]
"""Held-out rows, and the context of each."""


@dataclass(frozen=True)
class SourceData:
    """Training batches and held-out rows with their contexts, anew at each call; names and widths of sources.

    `one_basis` says whether a direction means the same in all of them; the next two count the rows that were
    left out for their norm. `documents` are those of the held-out contexts, where they come in documents.
    """

    train: Callable[[], Iterator[Batch]]
    held: Callable[[], Rows]
    n_steps: int
    n_contexts: int
    sources: list[str]
    widths: Widths
    one_basis: bool = True
    massive_training: int = 0
    massive_held_out: int = 0
    documents: tuple[str, ...] | None = None

    def misaligned(self, seed: int) -> SourceData:
        """The same with each source but the first in a random order of its own within each batch."""

        def held() -> Rows:
            # Read twice, once for contexts and once for rows: each generator can be consumed only once.
            contexts = (context for _, context in self.held())
            # Another seed than in training, so that the two do not repeat one order of rows.
            rows = misaligned((rows for rows, _ in self.held()), self.widths, seed + 1)
            return zip(rows, contexts, strict=True)

        return replace(self, train=lambda: misaligned(self.train(), self.widths, seed), held=held)


def source_data(aligned: AlignedSources, reading: HarvestParams, params: TrainingParams) -> SourceData:
    """Activations to train on, in an order drawn by the seed, and those held out; massive ones in neither."""
    sides = aligned.split(reading.held_out)
    # By the medians of the training rows: nothing is learned from what is held out.
    limits = sides[0].norm_limits(reading.max_norm)
    train_part, test_part = (side.within(limits) for side in sides)
    massive_training = sides[0].n_tokens - train_part.n_tokens
    massive_held_out = sides[1].n_tokens - test_part.n_tokens
    context = torch.from_numpy(test_part.context).long()

    def held() -> Rows:
        for index in torch.arange(len(context)).split(HELD_ROWS):
            yield test_part.rows(index), context[index]

    return SourceData(
        train=lambda: train_part.batches(params.batch_size, params.seed, params.epochs),
        held=held,
        n_steps=train_part.n_tokens // params.batch_size * params.epochs,
        n_contexts=test_part.n_contexts,
        sources=aligned.names,
        widths=aligned.widths,
        one_basis=aligned.one_basis,
        massive_training=massive_training,
        massive_held_out=massive_held_out,
        documents=tuple(f"document {number}" for number in test_part.documents.tolist()),
    )


def misaligned(batches: Iterator[Batch], widths: Widths, seed: int) -> Iterator[Batch]:
    """Each source but the first in a random order of its own: a row's sources are of different tokens."""
    generator = torch.Generator().manual_seed(seed)
    for batch in batches:
        # The first stays where it is: only the order relative to it matters, and a row keeps one context.
        first, *rest = batch.split(widths, dim=1)
        # Within the batch: each source keeps its own rows, and only the pairing is lost.
        orders = [torch.randperm(len(batch), generator=generator) for _ in rest]
        yield torch.cat([first, *(part[order] for part, order in zip(rest, orders, strict=True))], dim=1)
