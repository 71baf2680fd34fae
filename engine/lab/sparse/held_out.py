"""Activations that no coder was trained on, row by row and context by context."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.errors import DataError
from engine.lab.activations import Activations
from engine.lab.lab import Lab
from engine.lab.massive_activations import massive_rows, norm_limit
from engine.lab.receipts import base_receipts_of_contexts
from engine.lab.sparse.coder import Coder
from engine.lab.sparse.codes import Codes, joined
from engine.lab.sparse.metrics import Reconstruct
from engine.spec.family_params import HarvestParams

RECEIPT_CONTEXTS = 8


def hold_out(
    lab: Lab, acts: Activations, params: HarvestParams
) -> tuple[Activations, HeldOutActivations, MassiveTokens]:
    """The rows to train on, and those of other contexts to measure on; of several sites, the first.

    Massive activations are in neither, and are counted. The lab is given the receipts that every run over a
    corpus owes, of some contexts held out.
    """
    training_rows, rest = acts.split(params.held_out)
    # By the median of the training rows alone: nothing is learned from what is held out.
    limit = norm_limit(training_rows, acts.site, params.max_norm)
    massive = [massive_rows(side, acts.site, limit) for side in (training_rows, rest)]
    held = HeldOutActivations.of(rest.without(massive[1]), acts.site, limit)
    # On held-out contexts, which are what the run reports about.
    texts, _ = held.texts(RECEIPT_CONTEXTS)
    lab.receipts += base_receipts_of_contexts(lab.model, texts)
    return training_rows.without(massive[0]), held, MassiveTokens(*map(len, massive))


@dataclass(frozen=True)
class MassiveTokens:
    """How many tokens were left out for their norm, of training and of what is measured on."""

    training: int
    held_out: int


@dataclass(frozen=True)
class HeldOutActivations:
    """Rows of activations with their token and context; `rows` fetches some of them by position.

    `context` numbers the contexts from 0; `names` are their labels, the units of sampling, and `documents`
    their clusters. `inputs` gives what the model reads of some contexts; its positions before
    `first_position` (a BOS) have no row, nor have massive activations, which are longer than `norm_limit`.
    `lengths` are those of the contexts with them.
    """

    site: str
    rows: Callable[[Int[Tensor, " row"]], Float[Tensor, "row d"]]
    inputs: Callable[[Int[np.ndarray, " context"]], Int[Tensor, "context pos"]]
    first_position: int
    ids: Int[np.ndarray, " row"]
    context: Int[np.ndarray, " row"]
    names: list[str]
    documents: list[str]
    lengths: Int[np.ndarray, " context"]
    norm_limit: float = inf

    @classmethod
    def of(cls, acts: Activations, site: str, norm_limit: float = inf) -> HeldOutActivations:
        """One site of harvested activations; a context's name is where it begins in the corpus."""
        return cls(
            site=site,
            rows=lambda index: acts.rows(site, index),
            inputs=lambda contexts: acts.inputs(contexts)[0],
            # Rows have no BOS, but the model reads it: a splice leaves that position alone.
            first_position=acts.contexts.first_position,
            ids=acts.ids,
            context=acts.context.astype(np.int64),
            # Where a context begins identifies it whatever else was harvested or held out.
            names=[f"token {start}" for start in acts.contexts.starts[acts.chosen].tolist()],
            documents=[f"document {i}" for i in acts.contexts.documents[acts.chosen].tolist()],
            lengths=acts.contexts.rows[acts.chosen].astype(np.int64),
            norm_limit=norm_limit,
        )

    def batches(self, size: int = 4096) -> Iterator[tuple[Float[Tensor, "row d"], Int[Tensor, " row"]]]:
        """All rows in order, with the context of each."""
        context = torch.from_numpy(self.context)
        for start in range(0, len(self.ids), size):
            index = torch.arange(start, min(start + size, len(self.ids)))
            yield self.rows(index), context[index]

    def codes(self, coder: Coder) -> Codes:
        """The active latents of every row."""
        # Batch by batch: only active latents are kept, dense codes of all rows would not fit.
        return joined(coder.codes(x) for x, _ in self.batches())

    def texts(self, limit: int) -> tuple[Int[Tensor, "context pos"], list[str]]:
        """What the model reads of the first contexts of full length, and their names.

        Raises DataError where the longest context has no next token.
        """
        # Of one length, so that losses are means over equally many tokens and batches need no padding.
        lengths = self.lengths
        if lengths.max() < 2:
            raise DataError("no held-out context has a next token", expected="2 tokens or more", seen="1")
        full = np.flatnonzero(lengths == lengths.max())[:limit]
        return self.inputs(full), [self.names[i] for i in full]

    def sparing(self, reconstruct: Reconstruct) -> Reconstruct:
        """A reconstruction that leaves massive activations as they are, for splicing into the model."""
        if self.norm_limit == inf:
            return reconstruct
        # The dictionary never saw them, and attention breaks down without them: what is to be judged is what
        # it makes of all other tokens.
        return lambda x: torch.where(x.norm(dim=-1, keepdim=True) > self.norm_limit, x, reconstruct(x))
