"""Corpora of the Hugging Face hub: one commit each, streamed, and kept in the cache folder as tokens."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from engine.data.hub_datasets import ID, HubDataset
from engine.errors import DataError, nearest

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

Tokenise = Callable[..., tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class HubCorpus(HubDataset):
    """The text of a dataset. `documents` is how many its name speaks of, 0 where it names no number."""

    column: str = "text"
    documents: int = 0

    noun: ClassVar[str] = "corpus"
    shelf: ClassVar[str] = "corpora"
    instead: ClassVar[str] = "smollm2-samples is packaged; a local .txt, .jsonl or .parquet file works too"

    @property
    def hash(self) -> str:
        """A hash over what says which text this is; the commit is part of it, how much is read is not."""
        which = {key: value for key, value in vars(self).items() if key != "documents"}
        return hashlib.sha256(json.dumps(which, sort_keys=True).encode()).hexdigest()

    def tokens(
        self, model: HookedModel, limit: int | None, tokenise: Tokenise
    ) -> tuple[np.ndarray, np.ndarray]:
        """The first `limit` tokens, else those of the documents that the name speaks of: as kept from an
        earlier time, or streamed now."""
        # The tokenizer as a whole, rules of splitting included: they cut the same text into other tokens.
        text = hashlib.sha256(model.text.to_str().encode()).hexdigest()[:12]
        amount = f"{limit}" if limit else f"{self.documents}-documents"
        file = self.folder / f"{self.hash[:12]}-{text}-{amount}.npz"
        if file.is_file():
            with np.load(file) as kept:
                return kept["ids"], kept["starts"]
        documents = self.texts() if limit else itertools.islice(self.texts(), self.documents)
        ids, starts = tokenise(documents, model.text, limit)
        # Written beside and moved: two runs may stream the same text at once.
        scratch = file.with_name(f".{os.getpid()}-{file.name}")
        np.savez(scratch, ids=ids, starts=starts)
        scratch.replace(file)
        return ids, starts

    def texts(self) -> Iterator[str]:
        """The documents, streamed in the dataset's own order."""
        return (self._text(row) for row in self.rows())

    def _text(self, row: dict[str, Any]) -> str:
        if isinstance(row.get(self.column), str):
            return row[self.column]
        raise DataError(
            f"{self.name} has no column {self.column}",
            where=self.repository,
            expected=f"each document's text under the name {self.column}",
            seen=", ".join(row),
            near=nearest(self.column, row),
        )


KNOWN = (
    HubCorpus("openwebtext-100", "Elriggs/openwebtext-100k", documents=100),
    HubCorpus("openwebtext", "Skylion007/openwebtext"),
    HubCorpus("pile-10k", "NeelNanda/pile-10k", documents=10_000),
    HubCorpus("pile-uncopyrighted", "monology/pile-uncopyrighted"),
    HubCorpus("tinystories", "roneneldan/TinyStories"),
    HubCorpus("fineweb-10bt", "HuggingFaceFW/fineweb", "sample-10BT"),
    HubCorpus("wikitext-103", "Salesforce/wikitext", "wikitext-103-raw-v1"),
)
"""Those with a short name. A name that speaks of a number of documents means the first so many, where no
tokens are given: published specs write `corpus: openwebtext-100` and nothing else."""


def hub_names() -> list[str]:
    """The hub corpora that have a short name."""
    return [corpus.name for corpus in KNOWN]


def hub_corpus(name: str) -> HubCorpus | None:
    """A known hub corpus, or the `train` split of any dataset id; None where the name is neither."""
    known = {corpus.name: corpus for corpus in KNOWN}
    return known.get(name) or (HubCorpus(name, name) if ID.fullmatch(name) else None)
