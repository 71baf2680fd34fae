"""Corpora of the Hugging Face hub, streamed through `datasets` at one commit and kept in the cache folder.

Which commit was meant by a name is asked once and remembered beside the text, so that the same experiment
reads the same text later, without the network where it was read before.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import DataError, DataUnavailable, nearest
from engine.models.cards import cache_folder
from engine.models.hub import ASK_SECONDS

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
OUT_OF_REACH_SECONDS = 600
Tokenise = Callable[..., tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class HubCorpus:
    """One split of a dataset; `revision` is its commit, empty until the hub was asked."""

    name: str
    repository: str
    configuration: str | None = None
    split: str = "train"
    column: str = "text"
    revision: str = ""

    @property
    def hash(self) -> str:
        """A hash over what says which text this is."""
        # The commit is among the fields: another commit is another text.
        return hashlib.sha256(json.dumps(vars(self), sort_keys=True).encode()).hexdigest()

    @property
    def folder(self) -> Path:
        """Where its commit and its tokens are kept."""
        return cache_folder() / "corpora" / self.name.replace("/", "--")

    def resolved(self) -> HubCorpus:
        """The corpus at the commit recorded at its first use; DataUnavailable where it cannot be asked."""
        record = self.folder / "revision.json"
        with suppress(OSError, ValueError, KeyError):
            return replace(self, revision=str(json.loads(record.read_text())["revision"]))
        found = replace(self, revision=self._ask())
        _keep(record, json.dumps({"repository": self.repository, "revision": found.revision}).encode())
        return found

    def tokens(self, model: HookedModel, limit: int, tokenise: Tokenise) -> tuple[np.ndarray, np.ndarray]:
        """The first `limit` tokens, as kept from an earlier time or streamed now."""
        # The tokenizer as a whole, rules of splitting included: they cut the same text into other tokens.
        text = hashlib.sha256(model.text.to_str().encode()).hexdigest()[:12]
        file = self.folder / f"{self.hash[:12]}-{text}-{limit}.npz"
        if file.is_file():
            with np.load(file) as kept:
                return kept["ids"], kept["starts"]
        ids, starts = tokenise(self.texts(), model.text, limit)
        # Written beside and moved: two runs may stream the same text at once.
        scratch = file.with_name(f".{os.getpid()}-{file.name}")
        np.savez(scratch, ids=ids, starts=starts)
        scratch.replace(file)
        return ids, starts

    def texts(self) -> Iterator[str]:
        """The documents, streamed in the dataset's own order."""
        try:
            import datasets

            datasets.disable_progress_bars()
            rows = datasets.load_dataset(
                self.repository,
                self.configuration,
                split=self.split,
                revision=self.revision,
                streaming=True,
            )
            for row in rows:
                yield self._text(dict(row))
        except DataError:
            raise
        except Exception as problem:  # httpx, fsspec and the hub's own errors have no common base
            raise self._out_of_reach(problem) from problem

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

    def _ask(self) -> str:
        """The commit that the dataset's main branch is at now."""
        tried = self.folder / "out-of-reach"
        with suppress(OSError):
            # Asked again only after a while: a plan of many runs would wait for each of them.
            if time.time() - tried.stat().st_mtime < OUT_OF_REACH_SECONDS:
                raise self._out_of_reach(tried.read_text())
        from huggingface_hub import HfApi
        from huggingface_hub.errors import RepositoryNotFoundError

        from engine.models.hub import within

        api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
        try:
            ask = lambda: api.dataset_info(self.repository, timeout=ASK_SECONDS)  # noqa: E731
            return within(2 * ASK_SECONDS, ask).sha or ""
        except RepositoryNotFoundError as problem:
            hint = "check the spelling; a private dataset needs a token (hf auth login)"
            raise DataError(f"the hub has no dataset {self.repository}", hint=hint) from problem
        except Exception as problem:
            refusal = self._out_of_reach(problem)
            _keep(tried, refusal.seen.encode())
            raise refusal from problem

    def _out_of_reach(self, problem: object) -> DataUnavailable:
        kind = f"{type(problem).__name__}: " if isinstance(problem, BaseException) else ""
        return DataUnavailable(
            f"the corpus {self.name} cannot be had from the Hugging Face hub",
            where=self.repository,
            seen=f"{kind}{problem}".splitlines()[0],
            hint="smollm2-samples is packaged; a local .txt, .jsonl or .parquet file works too",
        )


KNOWN = (
    HubCorpus("openwebtext-100", "Elriggs/openwebtext-100k"),
    HubCorpus("openwebtext", "Skylion007/openwebtext"),
    HubCorpus("pile-10k", "NeelNanda/pile-10k"),
    HubCorpus("pile-uncopyrighted", "monology/pile-uncopyrighted"),
    HubCorpus("tinystories", "roneneldan/TinyStories"),
    HubCorpus("fineweb-10bt", "HuggingFaceFW/fineweb", "sample-10BT"),
    HubCorpus("wikitext-103", "Salesforce/wikitext", "wikitext-103-raw-v1"),
)


def hub_names() -> list[str]:
    """The hub corpora that have a short name."""
    return [corpus.name for corpus in KNOWN]


def hub_corpus(name: str) -> HubCorpus | None:
    """A known hub corpus, or the `train` split of any dataset id; None where the name is neither."""
    known = {corpus.name: corpus for corpus in KNOWN}
    return known.get(name) or (HubCorpus(name, name) if ID.fullmatch(name) else None)


def _keep(file: Path, content: bytes) -> None:
    """Write a small file, whole or not at all; a cache that is only lent goes without."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = file.with_name(f".{os.getpid()}-{file.name}")
        scratch.write_bytes(content)
        scratch.replace(file)
