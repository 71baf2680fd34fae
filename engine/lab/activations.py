"""Harvested activations: rows of sharded files or of memory, gathered, shuffled and split by whole documents.

A shard is a safetensors file with `ids` and one array "row d" per site, mapped from the file rather than
read; it holds the contexts shard * contexts_per_shard and following. Nothing here keeps more in memory than
a buffer and a few integers per context, however many tokens there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.errors import DataError, SpecError, nearest
from engine.lab.contexts import Contexts

BUFFER_BYTES = 256 * 2**20
Index = Int[np.ndarray, " row"] | Int[Tensor, " row"] | Sequence[int]


@dataclass(frozen=True, eq=False)
class Activations:
    """Activations at some sites of one model over one corpus.

    Rows count from 0 in the order of the corpus, over the contexts `chosen`; row r of every site is the same
    token. `contexts` are all that were harvested. `n_bytes` is what they take on the disk or in memory.
    `left_out` are rows that do not count, numbered over the whole harvest, ascending.
    """

    sites: tuple[str, ...]
    widths: Mapping[str, int]
    contexts: Contexts
    chosen: Int[np.ndarray, " context"]
    contexts_per_shard: int
    shard: Callable[[int], Mapping[str, Tensor]]
    n_bytes: int = 0
    left_out: Int[np.ndarray, " row"] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @property
    def site(self) -> str:
        """The site, where there is one; the first of several."""
        return self.sites[0]

    @property
    def d(self) -> int:
        """How long a row at `site` is."""
        return self.widths[self.site]

    @property
    def n_tokens(self) -> int:
        """How many rows there are."""
        return int(self._first_rows[-1]) - len(self._skipped)

    @property
    def n_contexts(self) -> int:
        return len(self.chosen)

    @property
    def ids(self) -> Int[np.ndarray, " row"]:
        """The token id of each row."""
        # Contexts chosen are not consecutive after a split: piece by piece.
        pieces = [self.contexts.row_ids(c) for c in self.chosen.tolist()]
        return np.delete(np.concatenate(pieces), self._skipped) if pieces else np.empty(0, dtype=np.int32)

    @property
    def context(self) -> Int[np.ndarray, " row"]:
        """Which context each row belongs to, counted from 0 among those chosen."""
        every = np.repeat(np.arange(len(self.chosen), dtype=np.int32), self.contexts.rows[self.chosen])
        return np.delete(every, self._skipped)

    def inputs(self, contexts: Index) -> tuple[Int[Tensor, "batch pos"], Tensor]:
        """Input ids of some contexts as the model read them, right-padded, and which positions are rows."""
        chosen = self.chosen[np.asarray(contexts)]
        return self.contexts.inputs(chosen), self.contexts.counted(chosen)

    def rows(self, site: str, index: Index) -> Float[Tensor, "row d"]:
        """Some rows at a site, in fp32, in the order asked for."""
        self._require(site)
        return self._at(site, self._places(index))

    def without(self, rows: Index) -> Activations:
        """The same with some more rows left out."""
        places = self._places(rows)
        context = np.searchsorted(self._first_rows, places, side="right") - 1
        there = self._first_in_harvest[self.chosen[context]] + places - self._first_rows[context]
        return replace(self, left_out=np.union1d(self.left_out, there))

    def _places(self, index: Index) -> Int[np.ndarray, " row"]:
        """Where rows lie among all rows of the chosen contexts, those left out included."""
        wanted = np.asarray(index, dtype=np.int64)
        # Before the i-th row that is left out, at place p, there are p - i rows that count: as many rows are
        # skipped as have no more rows before them than the wanted one.
        skipped = self._skipped
        return wanted + np.searchsorted(skipped - np.arange(len(skipped)), wanted, side="right")

    def _at(self, site: str, wanted: Int[np.ndarray, " row"]) -> Float[Tensor, "row d"]:
        """Rows by their places among all rows of the chosen contexts."""
        # Place -> which chosen context holds it -> that one among all harvested -> its place in its shard.
        context = np.searchsorted(self._first_rows, wanted, side="right") - 1
        there = self.chosen[context]
        place = self._first_in_shard[there] + wanted - self._first_rows[context]
        out = torch.empty(len(wanted), self.widths[site])
        shards = there // self.contexts_per_shard
        # Shard by shard: each is mapped once, and a page of it is read once.
        for shard in np.unique(shards).tolist():
            mine = np.flatnonzero(shards == shard)
            out[torch.from_numpy(mine)] = self.shard(shard)[site][torch.from_numpy(place[mine])].float()
        return out

    def batches(
        self,
        sites: str | Sequence[str],
        batch_size: int,
        seed: int,
        epochs: int = 1,
        *,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> Iterator[Float[Tensor, "batch *source d"]]:
        """Shuffled fp32 batches, every row once an epoch: "batch d", or "batch source d" for several sites.

        What fits `buffer_bytes` is shuffled at once; of more, shards are drawn in random order, as many as
        fit at a time, and shuffled together. The last batch of an epoch may be smaller.
        """
        several = [sites] if isinstance(sites, str) else list(sites)
        for site in several:
            self._require(site)
        if len({self.widths[site] for site in several}) > 1:
            raise SpecError("sites of different widths do not stack", seen=str(dict(self.widths)))
        # One generator for the order of shards and of rows: sources that are read with the same seed over the
        # same shards draw the same orders, so that their rows stay together.
        generator = torch.Generator().manual_seed(seed)
        for _ in range(epochs):
            # Rows that fill no batch wait for the next group of shards, so that only an epoch's last batch is
            # short.
            rest = torch.empty(0, len(several), self.widths[several[0]])
            for group in self._groups(several, buffer_bytes, generator):
                buffer = self._together(several, group, rest)
                order = torch.randperm(len(buffer), generator=generator)
                whole = len(buffer) - len(buffer) % batch_size  # what is left over goes into the next buffer
                for start in range(0, whole, batch_size):
                    yield self._shaped(buffer[order[start : start + batch_size]], sites)
                rest = buffer[order[whole:]]
            if len(rest):
                yield self._shaped(rest, sites)

    def split(self, held_out_fraction: float, seed: int = 0) -> tuple[Activations, Activations]:
        """Training and held-out rows that share no document; the held-out documents are drawn by `seed`.

        `held_out_fraction` is of the contexts, met as nearly as whole documents allow. Raises DataError where
        either side would be empty.
        """
        # By document and not by token or context: tokens of one context see each other, and contexts of one
        # document tell of the same, so that one on either side would leak.
        wanted = round(held_out_fraction * self.n_contexts)
        documents, contexts = np.unique(self.contexts.documents[self.chosen], return_counts=True)
        if not 0 < wanted < self.n_contexts or len(documents) < 2:
            expected = "a document for each side"
            seen = f"{held_out_fraction:g} of {self.n_contexts} contexts in {len(documents)} documents"
            raise DataError("too few documents to hold some out", expected=expected, seen=seen)
        drawn = _drawn(contexts, wanted, np.random.default_rng(seed))
        held_out = np.isin(self.contexts.documents[self.chosen], documents[drawn])
        # In the order of the corpus, which reads files in sequence.
        return replace(self, chosen=self.chosen[~held_out]), replace(self, chosen=self.chosen[held_out])

    @staticmethod
    def _shaped(batch: Tensor, sites: str | Sequence[str]) -> Tensor:
        # The axis of sources is there only for who asked for several.
        return batch[:, 0] if isinstance(sites, str) else batch

    def _groups(self, sites: list[str], buffer_bytes: int, generator: torch.Generator) -> Iterator[list[int]]:
        """The shards in random order, as many together as fit the buffer."""
        shards, counts = np.unique(self.chosen // self.contexts_per_shard, return_counts=True)
        # `chosen` ascends, so that the contexts of one shard stand together and reduceat sums each run of
        # them.
        rows = np.add.reduceat(self.contexts.rows[self.chosen], np.cumsum(counts) - counts)
        of = dict(zip(shards.tolist(), rows.tolist(), strict=True))
        room = buffer_bytes // (4 * len(sites) * self.widths[sites[0]])  # rows of fp32 that fit
        group: list[int] = []
        for at in torch.randperm(len(shards), generator=generator).tolist():
            shard = int(shards[at])
            # A shard larger than the buffer still goes, alone: reading would stop otherwise.
            if group and sum(of[s] for s in group) + of[shard] > room:
                yield group
                group = []
            group.append(shard)
        if group:
            yield group

    def _together(self, sites: list[str], shards: Sequence[int], rest: Tensor) -> Tensor:
        """What was left of the buffer, and the chosen rows of some shards at each site."""
        loaded = [self._of_shards(site, shards)[:, None] for site in sites]
        buffer = loaded[0] if len(loaded) == 1 else torch.cat(loaded, dim=1)
        # No copy of the whole buffer where nothing was left over.
        return torch.cat((rest, buffer)) if len(rest) else buffer

    def _of_shards(self, site: str, shards: Sequence[int]) -> Tensor:
        """The chosen rows of some shards."""
        owner = self.chosen // self.contexts_per_shard
        contexts = [np.flatnonzero(owner == shard) for shard in shards]
        first = self._first_rows.tolist()
        # A shard's chosen contexts are neighbours among those chosen: their rows are one range.
        rows = [np.arange(first[c[0]], first[c[-1] + 1]) for c in contexts]
        places = np.concatenate(rows)
        return self._at(site, places[~np.isin(places, self._skipped, assume_unique=True)])

    def _require(self, site: str) -> None:
        if site not in self.sites:
            near = nearest(site, self.sites)
            known = ", ".join(self.sites)
            raise SpecError(f"{site} was not harvested", expected=f"one of {known}", seen=site, near=near)

    @cached_property
    def _first_rows(self) -> Int[np.ndarray, " context_and_end"]:
        """The place of the first row of each chosen context, and the number of places at the end."""
        # In 64 bits: the counts are 32-bit ones, and their sum over a large corpus need not fit.
        return np.append(0, np.cumsum(self.contexts.rows[self.chosen], dtype=np.int64))

    @cached_property
    def _first_in_harvest(self) -> Int[np.ndarray, " all_contexts_and_end"]:
        """The first row of each context of the harvest, chosen or not."""
        return np.append(0, np.cumsum(self.contexts.rows, dtype=np.int64))

    @cached_property
    def _skipped(self) -> Int[np.ndarray, " row"]:
        """The places of the rows that are left out, ascending."""
        context = np.searchsorted(self._first_in_harvest, self.left_out, side="right") - 1
        mine = np.isin(context, self.chosen)
        # `chosen` ascends: a context's place in it is where it would be inserted.
        chosen = np.searchsorted(self.chosen, context[mine])
        return self._first_rows[chosen] + self.left_out[mine] - self._first_in_harvest[context[mine]]

    @cached_property
    def _first_in_shard(self) -> Int[np.ndarray, " all_contexts"]:
        """Where in its shard each context of the harvest begins."""
        # Over all contexts, chosen or not: a split changes which rows are read, not where they lie in the
        # file.
        first = self._first_in_harvest
        context = np.arange(len(self.contexts))
        return first[context] - first[context - context % self.contexts_per_shard]


def _drawn(sizes: Int[np.ndarray, " document"], wanted: int, rng: np.random.Generator) -> list[int]:
    """Documents in random order without those that would be too much; the smallest where all would be."""
    drawn = []
    room = wanted
    order = rng.permutation(len(sizes)).tolist()
    for document in order:
        if sizes[document] <= room:
            drawn.append(document)
            room -= int(sizes[document])
    return drawn or [int(sizes.argmin())]
