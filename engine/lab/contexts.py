"""How a corpus is cut into what a model reads at once.

A context is a piece of one document, never of two, with the model's BOS in front where it declares one. The
BOS makes the first position like no other (it takes the attention that has nowhere to go, and its activations
are tens of times as large), so that its activations are left out unless they are asked for.

Contexts of one document tell of the same things in the same words, so that what is held out is whole
documents. A document is what the corpus says: a line of a JSONL file, a row of a dataset, a sample of the
packaged corpus. Documents of the same tokens throughout are one document, however often the corpus repeats
it: its text is read each time, but it lies on one side of a split and is one unit. Documents that share a
part (a licence's header) stay several. A corpus of a single document (a .txt file) is a stream: there a
document is a stretch of neighbouring contexts, and what runs over the edge of a stretch is not accounted
for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from engine.data.corpora import Corpus, document_numbers
from engine.errors import DataError, ModelError
from engine.models.hooked import HookedModel

STRETCH_CONTEXTS = 16
STRETCHES = 20  # at least so many, where there are as many contexts


@dataclass(frozen=True)
class Contexts:
    """Pieces of documents: context c is ids[starts[c] : starts[c] + lengths[c]], after `bos` if there is one.

    `include_bos` says whether the BOS position counts among a context's rows. `documents` numbers the
    document of each context.
    """

    ids: Int[np.ndarray, " token"]
    starts: Int[np.ndarray, " context"]
    lengths: Int[np.ndarray, " context"]
    bos: int | None
    include_bos: bool
    documents: Int[np.ndarray, " context"]

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def rows(self) -> Int[np.ndarray, " context"]:
        """How many positions of each context count."""
        return self.lengths + int(self.include_bos)

    @property
    def first_position(self) -> int:
        """The first position that counts."""
        return int(self.bos is not None and not self.include_bos)

    def row_ids(self, context: int) -> Int[np.ndarray, " row"]:
        """The tokens at the positions that count."""
        ids = self.ids[self.starts[context] : self.starts[context] + self.lengths[context]]
        # The BOS's own id stands at its row, so that ids and rows stay aligned.
        return np.insert(ids, 0, self.bos or 0) if self.include_bos else ids

    def inputs(self, chosen: Int[np.ndarray, " batch"]) -> Int[Tensor, "batch pos"]:
        """Input ids of some contexts, BOS in front, padded on the right with token 0."""
        lead = int(self.bos is not None)
        # Token 0 is any token: with padding on the right causal attention never shows it to a position that
        # counts.
        padded = torch.zeros(len(chosen), lead + int(self.lengths[chosen].max()), dtype=torch.long)
        if self.bos is not None:
            padded[:, 0] = self.bos
        for row, c in enumerate(chosen.tolist()):
            piece = self.ids[self.starts[c] : self.starts[c] + self.lengths[c]]
            padded[row, lead : lead + len(piece)] = torch.from_numpy(np.asarray(piece, dtype=np.int64))
        return padded

    def counted(self, chosen: Int[np.ndarray, " batch"]) -> Bool[Tensor, "batch pos"]:
        """Which positions of `inputs` count: neither padding nor, unless it is included, BOS."""
        lead = int(self.bos is not None)
        position = torch.arange(lead + int(self.lengths[chosen].max()))
        ends = torch.from_numpy(self.lengths[chosen].astype(np.int64)) + lead
        return (position < ends[:, None]) & (position >= self.first_position)


def cut(
    corpus: Corpus,
    model: HookedModel,
    *,
    context_tokens: int = 128,
    tokens: int | None = None,
    include_bos: bool = False,
) -> Contexts:
    """The first `tokens` tokens of a corpus as contexts of at most `context_tokens` positions, BOS included.

    DataError where the corpus has fewer tokens or a context has no room; ModelError where a BOS is to be
    included and the model declares none.
    """
    bos = bos_of(model)
    if include_bos and bos is None:
        raise ModelError(f"{model.name} declares no BOS token", expected="include_bos: false")
    # The BOS takes one of the positions the model has.
    room = context_tokens - (bos is not None)
    if room < 1 or context_tokens > model.anatomy.context_tokens:
        fits = f"from {1 + (bos is not None)} to {model.anatomy.context_tokens} tokens"
        raise DataError("a context of the wrong length", expected=fits, seen=str(context_tokens))
    total = len(corpus.ids) if tokens is None else tokens
    if len(corpus.ids) < total or total < 1:
        raise DataError(
            f"the corpus {corpus.name} is shorter than what is asked for",
            expected=f"{max(total, 1):,} tokens",
            seen=f"{len(corpus.ids):,}",
        )
    starts = corpus.starts[corpus.starts < total]
    lengths = np.diff(np.append(starts, total))  # the last document may be cut off by `total`
    # Each document in pieces of `room` tokens, the last one shorter. All pieces in one array: a piece's
    # number within its document is its own number less that of the document's first piece.
    pieces = -(-lengths // room)
    first = np.cumsum(pieces) - pieces
    offsets = (np.arange(pieces.sum()) - np.repeat(first, pieces)) * room
    left = np.repeat(lengths, pieces) - offsets
    return Contexts(
        ids=corpus.ids[:total],
        starts=np.repeat(starts, pieces) + offsets,
        lengths=np.minimum(left, room).astype(np.int32),
        bos=bos,
        include_bos=include_bos,
        documents=_documents(corpus.ids[:total], starts, pieces),
    )


def _documents(
    ids: Int[np.ndarray, " token"],
    starts: Int[np.ndarray, " document"],
    pieces: Int[np.ndarray, " document"],
) -> Int[np.ndarray, " context"]:
    """The number of each context's document, documents of the same tokens having one number."""
    if len(starts) == 1:
        contexts = np.arange(pieces.sum())
        # A short text is cut into short stretches, so that a tenth of it can be held out.
        return contexts // max(1, min(STRETCH_CONTEXTS, len(contexts) // STRETCHES))
    return np.repeat(document_numbers(ids, starts), pieces)


def bos_of(model: HookedModel) -> int | None:
    """The token that the model's configuration declares as its BOS."""
    declared = model.config.get("bos_token_id")
    # A configuration may declare none: only one plain id can be put in front.
    return declared if isinstance(declared, int) else None
