"""Corpora: running text for a model to read, packaged, out of a wheel, from one's own file, or from the hub.

A corpus is a sequence of documents in the model's own tokens, without BOS or any other special token put in
between. Whatever a document contains is data. Files hold one document (.txt) or one a row (.jsonl with a
field `text`, .parquet with a column `text`). A document that comes again, token for token, is read again,
since how often a text comes is part of a corpus, but it is one document where documents count. A hub corpus
is streamed, its commit is recorded, and what was read of it is kept in the cache folder, so that a run
repeats without the network.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from engine.data.hub_corpora import HubCorpus, hub_corpus, hub_names
from engine.data.packed import read_packed, starts_of
from engine.data.text_files import check_unicode, decoded, read_bytes
from engine.data.wheel_corpora import wheel_corpus, wheel_names
from engine.errors import DataError, nearest
from engine.spec.models import CorpusChoice
from engine.spec.repository_files import inside, with_home

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from engine.models.hooked import HookedModel

PACKAGED = Path(__file__).parent / "corpora"
SUFFIXES = (".txt", ".jsonl", ".parquet")
AT_ONCE = 64  # documents that are tokenised together
TOKENS_PER_WEB_DOCUMENT = 1_100  # of OpenWebText and the Pile, about


@dataclass(frozen=True)
class Corpus:
    """Documents in one model's tokens, one after another; `starts` says where each begins.

    `hash` covers the bytes that the text came from, not how much of it was taken; `source` is for people.
    """

    name: str
    hash: str
    source: str
    ids: Int[np.ndarray, " token"]
    starts: Int[np.ndarray, " document"]

    @property
    def amount(self) -> str:
        """How much text it is, in words."""
        return f"{len(self.ids):,} tokens of {len(self.starts):,} documents"


def corpus_names() -> list[str]:
    """The corpora that go by a name: those that come with the engine, then those of wheels and of the hub."""
    return [*packaged_names(), *wheel_names(), *hub_names()]


def packaged_names() -> list[str]:
    """The corpora that come with the engine."""
    return sorted(p.stem for p in PACKAGED.glob("*.json"))


def corpus_card(name: str) -> dict[str, Any]:
    """How a packaged corpus was made."""
    return json.loads((PACKAGED / f"{name}.json").read_text(encoding="utf-8"))


def corpus_hash(choice: CorpusChoice, base: Path) -> str:
    """SHA-256 of the bytes that `load_corpus` would read, for a run's key; of a hub corpus's id and commit.

    Raises DataError where there is no such corpus, and DataUnavailable where the hub must be asked for the
    commit and does not answer.
    """
    if choice.name in packaged_names():
        return hashlib.sha256(_packed_file(choice.name).read_bytes()).hexdigest()
    if wheel := wheel_corpus(choice.name):
        return wheel.hash
    if path := _own_file(choice.name, base):
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return _from_hub(choice).hash


def count_characters(choice: CorpusChoice, base: Path) -> int:
    """The characters of a person's own file, read through; 0 for a corpus that comes sound by itself.

    DataError with file and line where `load_corpus` would stop.
    """
    if choice.name in (*packaged_names(), *wheel_names()):
        return 0
    path = _own_file(choice.name, base)
    return sum(len(text) for text in _texts(path)) if path else 0


def tokens_by_name(name: str) -> int:
    """About how many tokens go by a name alone, for estimates; 0 where the name says no amount."""
    if name in packaged_names():
        return corpus_card(name)["tokens"]
    if wheel := wheel_corpus(name):
        return wheel.tokens
    found = hub_corpus(name)
    return found.documents * TOKENS_PER_WEB_DOCUMENT if found else 0


def load_corpus(choice: CorpusChoice, base: Path, model: HookedModel) -> Corpus:
    """The chosen text in the model's tokens: `choice.tokens` of them, else all that goes by the name.

    Text that is stored in another model's tokens is read as text and tokenised anew. Raises DataError where
    the text cannot be read, or has fewer tokens than asked for.
    """
    name = choice.name
    limit = choice.tokens
    if name in packaged_names():
        ids, starts = _packaged(name, model, limit)
        source = "packaged with the engine"
    elif wheel := wheel_corpus(name):
        ids, starts = tokenise(wheel.texts(), model.text, limit)
        source = wheel.source
    elif path := _own_file(name, base):
        ids, starts = tokenise(_texts(path), model.text, limit)
        source = f"the file {name}"
        if not len(ids):
            raise DataError("the corpus holds no text", where=str(path), expected="at least one token")
    else:
        hub = _from_hub(choice)
        ids, starts = hub.tokens(model, limit, tokenise)
        source = f"{hub.repository} at {hub.revision}, from the Hugging Face hub"
    if limit is not None and len(ids) < limit:
        raise DataError(
            f"the corpus {name} is shorter than what is asked for",
            expected=f"{limit:,} tokens",
            seen=f"{len(ids):,} in the tokens of {model.name}",
            hint=f"tokens: {len(ids)} takes all of it",
        )
    return Corpus(name, corpus_hash(choice, base), source + _repeats(ids, starts), ids, starts)


def tokenise(
    texts: Iterable[str], text: Tokenizer, limit: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Ids and starts of some documents, no special tokens added; exactly `limit` tokens where there are that
    many. Documents without a token are left out; no more text is read than is needed."""
    documents: list[np.ndarray] = []
    source = iter(texts)
    have = 0
    # Some documents at a time, so that no more of a stream is read than is needed.
    while batch := list(itertools.islice(source, AT_ONCE)):
        for encoding in text.encode_batch(batch, add_special_tokens=False):
            # A document without a token would begin where the next one does.
            if encoding.ids:
                documents.append(np.array(encoding.ids, dtype=np.int32))
                have += len(encoding.ids)
        # After a whole batch; `_cut` takes off what is too much.
        if limit is not None and have >= limit:
            break
    ids = np.concatenate(documents) if documents else np.empty(0, dtype=np.int32)
    return _cut(ids, starts_of(np.array([len(d) for d in documents], dtype=np.int64)), limit)


def document_numbers(
    ids: Int[np.ndarray, " token"], starts: Int[np.ndarray, " document"]
) -> Int[np.ndarray, " document"]:
    """A number for each document; documents of the same tokens have one, that of the first of them."""
    first: dict[bytes, int] = {}
    numbers = np.empty(len(starts), dtype=np.int64)
    for number, document in enumerate(np.split(ids, starts[1:])):
        # Digests and not the documents: a second copy of a large corpus would not fit.
        digest = hashlib.blake2b(np.ascontiguousarray(document).data, digest_size=16).digest()
        numbers[number] = first.setdefault(digest, number)
    return numbers


def tokenizer_hash(text: Tokenizer) -> str:
    """A hash over a tokenizer's tokens and their ids: equal where stored ids mean the same."""
    # By id, since a dictionary's order is the tokenizer's own business.
    vocabulary = sorted(text.get_vocab(with_added_tokens=True).items(), key=lambda pair: pair[1])
    return hashlib.sha256(json.dumps(vocabulary).encode()).hexdigest()


def _repeats(ids: np.ndarray, starts: np.ndarray) -> str:
    """How many documents repeat an earlier one, in words; nothing where none does."""
    repeats = len(starts) - len(np.unique(document_numbers(ids, starts)))
    return f"; {repeats:,} of {len(starts):,} documents repeat another one" if repeats else ""


def _cut(ids: np.ndarray, starts: np.ndarray, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    return (ids, starts) if limit is None else (ids[:limit], starts[starts < limit])


def _packed_file(name: str) -> Path:
    return PACKAGED / f"{name}.xz"


def _packaged(name: str, model: HookedModel, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    packed = read_packed(_packed_file(name))
    # By the tokenizer and not by the model: models that share one share the stored ids.
    if tokenizer_hash(model.text) == corpus_card(name)["tokenizer_hash"]:
        # Stored as 16-bit ids; every other source gives 32 bits.
        return _cut(packed.ids.astype(np.int32), packed.starts, limit)
    return tokenise(packed.texts(), model.text, limit)


def _from_hub(choice: CorpusChoice) -> HubCorpus:
    found = hub_corpus(choice.name)
    if found is None:
        raise DataError(
            f"no corpus {choice.name!r}",
            expected=f"{', '.join(corpus_names())}, a hub dataset's id (org/name), or the path of a "
            f"{', '.join(SUFFIXES)} file",
            near=nearest(choice.name, corpus_names()),
        )
    if choice.tokens is None and not found.documents:
        raise DataError(
            f"how much of {choice.name} to stream is not said",
            expected=f"{{name: {choice.name}, tokens: 1_000_000}}",
            hint=f"by its name alone goes what is packaged, or has a size: {', '.join(_with_a_size())}",
        )
    return replace(found, revision=found.commit())


def _with_a_size() -> list[str]:
    """The names that alone say how much text is meant."""
    return [name for name in corpus_names() if tokens_by_name(name)]


def _own_file(name: str, base: Path) -> Path | None:
    """The person's own file, if the name is a path; DataError where it is the path of something else."""
    path = inside(base / with_home(name), base, DataError, f"corpus of {base}")
    if path.suffix.lower() not in SUFFIXES:
        if not path.exists():
            return None
        expected = f"a {', '.join(SUFFIXES)} file"
        seen = "a folder" if path.is_dir() else path.suffix or "a file without a suffix"
        raise DataError("not a corpus file", where=str(path), expected=expected, seen=seen)
    if not path.is_file():
        read_bytes(path)  # says what is wrong, with the nearest names beside it
    if path.stat().st_size == 0:
        raise DataError("the file is empty", where=str(path), expected="text")
    return path


def _texts(path: Path) -> Iterator[str]:
    return {".txt": _whole_text, ".jsonl": _jsonl, ".parquet": _parquet}[path.suffix.lower()](path)


def _whole_text(path: Path) -> Iterator[str]:
    yield decoded(path.read_bytes(), path)


def _jsonl(path: Path) -> Iterator[str]:
    # In bytes, line by line, so that what is no UTF-8 is told with its line.
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path}:{number}"
            if not (text := decoded(line, path, number)).strip():
                continue
            try:
                row = json.loads(text)
            # Brackets nested thousands deep end in a RecursionError.
            except (ValueError, RecursionError) as fault:
                raise DataError("not valid JSON", where=where, seen=str(fault)) from None
            if not isinstance(row, dict):
                seen = type(row).__name__
                raise DataError("a line is not an object", where=where, expected='{"text": ...}', seen=seen)
            if not isinstance(row.get("text"), str):
                raise _no_text(where, list(map(str, row)), row.get("text"))
            check_unicode(row["text"], "text", where)
            yield row["text"]


def _parquet(path: Path) -> Iterator[str]:
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(path)
        columns = file.schema_arrow.names
        if "text" not in columns:
            raise _no_text(str(path), columns, None)
        # In batches: a parquet file may be larger than the memory.
        for batch in file.iter_batches(batch_size=1024, columns=["text"]):
            for text in batch.column(0).to_pylist():
                if not isinstance(text, str):
                    raise _no_text(str(path), columns, text)
                yield text
    except (pa.ArrowException, OSError) as fault:
        seen = str(fault).splitlines()[0]
        raise DataError("not a readable parquet file", where=str(path), seen=seen) from None


def _no_text(where: str, columns: list[str], seen: object) -> DataError:
    if "text" in columns:
        return DataError("text is not text", where=where, expected="a string", seen=repr(seen)[:80])
    return DataError(
        "no column text",
        where=where,
        expected="each document's text under the name text",
        seen=", ".join(columns) or "no columns",
        near=nearest("text", columns),
    )
