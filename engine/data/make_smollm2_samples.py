"""How the packaged corpus `smollm2-samples` was made: text sampled from SmolLM2-135M-Instruct itself.

1. Documents begin after <|im_start|>, the token that the model's configuration names as its BOS and the one
   that a harvest puts in front of a context. After <|endoftext|>, which separated documents in pretraining,
   more of the texts were broken markup and lists; after <|im_start|> most are prose, with some code and
   dialogue.
2. Each next token is drawn at temperature 1 from the whole distribution, in fp32 with a cache of keys and
   values, until <|im_end|>, <|endoftext|> or <|im_start|> is drawn or the document has 256 tokens. Neither
   the first token nor the one that ended the document is kept. Documents without a token are dropped.
3. A shard is 96 documents with one torch.Generator of its own, so that it comes out the same however the
   other shards went. Shards are files: a killed run goes on, and two processes of one thread each, started
   alike, share the work (twice as fast as one process of two threads where other work contends).
4. `pack` joins the shards in order into one compressed file and writes the corpus's card beside it, from
   which `unpack` gets the shards back: a corpus grows without sampling again what it has.

    python -m engine.data.make_smollm2_samples            # samples what the package lacks, then packs
    python -m engine.data.make_smollm2_samples --anew     # samples everything, to see that it comes out alike
    python -m engine.data.make_smollm2_samples --pack     # packs the shards that are there

Same machine, library versions and thread count: the same tokens. Elsewhere a rounding error may turn a draw.

Its loop is its own although `engine.models.generate` continues prompts, too: the packaged corpus must come
out again as it is. A shard has one random generator, from which each step draws for all documents that go on.
`generate` has one for each text, so that a text does not depend on its batch: other tokens would follow.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from filelock import FileLock, Timeout
from torch import Tensor

from engine.data.corpora import PACKAGED, tokenizer_hash
from engine.data.packed import read_packed, write_packed
from engine.errors import ModelError
from engine.models.load import load

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from engine.models.hooked import HookedModel

MODEL = "smollm2-135m-instruct"
START = "<|im_start|>"
ENDS = ("<|im_end|>", "<|endoftext|>", "<|im_start|>")
TOKENS = 1_000_000  # at least so many in all
DOCUMENTS = 96  # begun together, in one shard
LONGEST = 256  # tokens of a document
SEED = 20261122
FOLDER = Path(".engine/samples")
PACKED = PACKAGED / "smollm2-samples.xz"


class KeyValueCache:
    """Keys and values of the documents being written: by layer "document*key_value_head pos d_head"."""

    def __init__(self, model: HookedModel, n_documents: int, longest: int) -> None:
        self.heads = model.shape.n_key_value_heads
        shape = (n_documents * self.heads, longest, model.shape.d_head)
        self.keys = [torch.empty(shape) for _ in range(model.n_layers)]
        self.values = [torch.empty(shape) for _ in range(model.n_layers)]

    def keep(self, rows: Tensor, n_positions: int) -> None:
        """Only these documents go on; one layer is copied at a time."""
        index = (rows[:, None] * self.heads + torch.arange(self.heads)).flatten()
        for kept in (self.keys, self.values):
            for layer, tensor in enumerate(kept):
                fresh = tensor.new_empty((len(index), *tensor.shape[1:]))
                fresh[:, :n_positions] = tensor[index, :n_positions]
                kept[layer] = fresh


def next_logits(model: HookedModel, cache: KeyValueCache, token: Tensor, position: int) -> Tensor:
    """Logits "document vocab" after one more token of each document, whose keys and values are cached."""
    resid = model.decoder.embed(token[:, None])
    if model.decoder.position_embedding is not None:
        # `embed` takes the first token of a text to be at position 0.
        resid = model.decoder.token_embedding[token][:, None] + model.decoder.position_embedding[position]
    span = model.span(resid, None, position)
    for layer, block in enumerate(model.decoder.blocks):
        query, key, value = block.query_key_value(resid, span)
        keys = cache.keys[layer]
        values = cache.values[layer]
        keys[:, position] = key.flatten(0, 1)[:, 0]
        values[:, position] = value.flatten(0, 1)[:, 0]
        # Grouped-query attention: query heads that share a key head are adjacent, and become the rows of one
        # product with it. Only earlier positions are cached, so that no mask is needed.
        grouped = query.reshape(len(keys), -1, query.shape[-1])
        scores = torch.bmm(grouped, keys[:, : position + 1].mT) * block.scale
        z = torch.bmm(scores.softmax(-1), values[:, : position + 1])
        resid = resid + block.attn_out(z.reshape(len(token), 1, -1, query.shape[-1]))
        resid = resid + block.mlp_out(resid)
    return model.unembed(resid[:, 0])


@torch.no_grad()
def sample_shard(
    model: HookedModel,
    seed: int,
    *,
    start: int,
    ends: Collection[int],
    n_documents: int = DOCUMENTS,
    longest: int = LONGEST,
    spare: float = 0.1,
) -> list[list[int]]:
    """Documents sampled at temperature 1 after the token `start`, none empty, in a fixed order.

    Finished documents leave the batch as soon as they are more than `spare` of it.
    """
    generator = torch.Generator().manual_seed(seed)
    longest = min(longest, model.anatomy.context_tokens)
    cache = KeyValueCache(model, n_documents, longest)
    documents: list[list[int]] = [[] for _ in range(n_documents)]
    rows = torch.arange(n_documents)  # which document each row of the batch writes
    open_ = torch.ones(n_documents, dtype=torch.bool)  # whether a row's document goes on
    token = torch.full((n_documents,), start)
    stops = torch.tensor(sorted(ends))
    for position in range(longest):
        token = draw(next_logits(model, cache, token, position), generator)
        open_ &= ~torch.isin(token, stops)
        # The token that ended a document is not in `open_` any more, and so is never kept.
        for row in open_.nonzero().flatten().tolist():
            documents[rows[row]].append(int(token[row]))
        if not open_.any():
            break
        # Not for every document that ends: the whole cache is copied.
        if open_.float().mean() < 1 - spare:
            live = open_.nonzero().flatten()
            cache.keep(live, position + 1)
            rows = rows[live]
            token = token[live]
            open_ = open_[live]
    return [document for document in documents if document]


def draw(logits: Tensor, generator: torch.Generator, width: int = 256) -> Tensor:
    """One token of each row by inverting its cumulative distribution, over blocks of tokens, then in one.

    Sums are float64, so that rare tokens are not rounded away; blocks spare summing the vocabulary that way.
    """
    vocab = logits.shape[1]
    blocks = F.pad(logits.softmax(-1), (0, -vocab % width)).unflatten(1, (-1, width))
    totals = blocks.sum(-1).double().cumsum(-1)
    # Inversion: the block in which the cumulative sum passes a uniform share of the total ...
    uniform = torch.rand(len(logits), 1, dtype=torch.float64, generator=generator) * totals[:, -1:]
    block = torch.searchsorted(totals, uniform, right=True).clamp(max=totals.shape[1] - 1)
    # ... and the token of that block in which it passes what is left of the share.
    before = F.pad(totals, (1, 0)).gather(1, block)
    within = blocks.gather(1, block[:, :, None].expand(-1, -1, width))[:, 0].double().cumsum(-1)
    # Rounding may leave the share just short of the end: never into the padding behind the last token.
    last = (vocab - 1 - block * width).clamp(max=width - 1)
    place = torch.searchsorted(within, uniform - before, right=True).minimum(last)
    return (block * width + place).flatten()


def sample(folder: Path = FOLDER, tokens: int = TOKENS, seed: int = SEED) -> None:
    """Write shards until they hold enough tokens; other processes may do the same in this folder."""
    model = load(MODEL, device="cpu")
    start, *ends = (token_id(model, token) for token in (START, *ENDS))
    folder.mkdir(parents=True, exist_ok=True)
    shard = 0
    first = written(folder)
    began = time.monotonic()
    while (have := written(folder)) < tokens:
        rate = (have - first) / (time.monotonic() - began)
        left = f"{(tokens - have) / rate / 60:.0f} min left" if rate else ""
        print(f"{have:,} of {tokens:,} tokens, {rate:.0f} tokens/s {left}", flush=True)
        while not write_shard(model, shard_file(folder, shard), seed * 1000 + shard, start, ends):
            shard += 1


def token_id(model: HookedModel, token: str) -> int:
    """The id of a special token; ModelError where the tokenizer has none."""
    found = model.text.token_to_id(token)
    if found is None:
        raise ModelError(f"{model.name} has no token {token}")
    return found


def written(folder: Path) -> int:
    """How many tokens the whole shards hold."""
    return sum(int(np.load(file)["lengths"].sum()) for file in folder.glob("[0-9]*.npz"))


def write_shard(model: HookedModel, file: Path, seed: int, start: int, ends: Collection[int]) -> bool:
    """Sample one shard unless it is there or another process is at it; there whole or not at all."""
    with contextlib.suppress(Timeout), FileLock(file.with_suffix(".lock"), timeout=0):
        # Under the lock: another process may have finished it since it was looked for.
        if file.is_file():
            return False
        put_shard(file, sample_shard(model, seed, start=start, ends=ends))
        return True
    return False


def put_shard(file: Path, documents: Sequence[Sequence[int]]) -> None:
    """Write a shard, whole or not at all."""
    scratch = file.with_name(f".{file.stem}-{os.getpid()}.npz")
    ids = np.array([token for document in documents for token in document], dtype=np.uint16)
    np.savez(scratch, ids=ids, lengths=np.array([len(d) for d in documents], dtype=np.uint16))
    scratch.replace(file)


def unpack(packed: Path, folder: Path) -> None:
    """Write the shards of a packed corpus that the folder lacks; nothing where there is no such corpus."""
    if not packed.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    corpus = read_packed(packed)
    card = json.loads(packed.with_suffix(".json").read_text())
    documents = iter(np.split(corpus.ids, corpus.starts[1:]))
    for shard, n_documents in enumerate(card["documents_per_shard"]):
        part = [document.tolist() for document in itertools.islice(documents, n_documents)]
        file = shard_file(folder, shard)
        if not file.is_file():
            put_shard(file, part)


def shard_file(folder: Path, shard: int) -> Path:
    """Where a shard lies, counted from 0."""
    return folder / f"{shard:04}.npz"


def pack(folder: Path = FOLDER, tokens: int = TOKENS) -> None:
    """Join the shards in order, up to the first that is missing or makes it enough, and write the card."""
    shards = joined(folder, tokens)
    documents = list(itertools.chain.from_iterable(shards))
    n_tokens = sum(map(len, documents))
    model = load(MODEL, device="cpu")
    vocabulary = token_bytes(model.text)
    card = {
        "name": "smollm2-samples",
        "what": "text sampled from SmolLM2-135M-Instruct itself",
        "caveat": "this is the model's own distribution and no natural text: features that only natural text "
        "calls for are rare or missing, and other models meet it as text from elsewhere",
        "tokens": n_tokens,
        "documents": len(documents),
        "longest_document_tokens": LONGEST,
        "temperature": 1.0,
        "seed": SEED,
        "documents_begun_per_shard": DOCUMENTS,
        "documents_per_shard": [len(shard) for shard in shards],
        "starts_after": START,
        "ends_at": list(ENDS),
        "model": MODEL,
        "model_sha256": model.hash,
        "quantisation": model.quantisation,
        "dtype": "float32",
        "torch": torch.__version__.partition("+")[0],
        "tokenizer_hash": tokenizer_hash(model.text),
        "licence": "Apache-2.0, as the model's",
        "made_by": "python -m engine.data.make_smollm2_samples",
    }
    write_packed(PACKED, documents, vocabulary, card)
    print(f"{n_tokens:,} tokens in {len(documents):,} documents of {len(shards)} shards packed", flush=True)


def joined(folder: Path, tokens: int) -> list[list[list[int]]]:
    """The documents of the shards 0, 1, ... until they hold enough tokens or one is missing."""
    shards: list[list[list[int]]] = []
    have = 0
    while have < tokens and (file := shard_file(folder, len(shards))).is_file():
        with np.load(file) as arrays:
            ends = np.cumsum(arrays["lengths"], dtype=np.int64)
            shards.append([part.tolist() for part in np.split(arrays["ids"], ends[:-1])])
            have += len(arrays["ids"])
    return shards


def token_bytes(text: Tokenizer) -> list[bytes]:
    """What each token of a byte-level BPE writes: its characters stand for bytes, as GPT-2's do
    (Radford et al. 2019), except those of added tokens, which stand for themselves."""
    added = {token.content for token in text.get_added_tokens_decoder().values()}
    # GPT-2's table: printable bytes stand for themselves, the 68 others for characters from U+0100 on.
    plain = [b for b in range(256) if chr(b).isprintable() and b not in (0x20, 0xA0, 0xAD)]
    others = [b for b in range(256) if b not in plain]
    byte_of = {chr(b): b for b in plain} | {chr(256 + n): b for n, b in enumerate(others)}
    tokens = [text.id_to_token(i) or "" for i in range(text.get_vocab_size())]
    return [t.encode() if t in added else bytes(byte_of[c] for c in t) for t in tokens]


def main(arguments: list[str]) -> None:
    """Sample what is missing and pack, or only pack."""
    parser = argparse.ArgumentParser(description="Make the corpus smollm2-samples.")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the shards lie")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="how many tokens at least")
    parser.add_argument("--pack", action="store_true", help="pack the shards that are there, sample none")
    parser.add_argument("--anew", action="store_true", help="sample also what the package has")
    options = parser.parse_args(arguments)
    if not options.anew:
        unpack(PACKED, options.folder)
    if not options.pack:
        sample(options.folder, options.tokens)
    pack(options.folder, options.tokens)


if __name__ == "__main__":
    main(sys.argv[1:])
