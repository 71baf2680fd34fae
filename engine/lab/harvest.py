"""Activation harvest: what a model has at some hook sites over a corpus, kept on the disk and shared.

1. The corpus is cut into contexts (see `engine.lab.contexts`); a fixed number of them is a shard.
2. Each shard is computed along the plain path, stopped at the last site, in batches of contexts of like
   length.
3. It is written whole, with a hash: beside its place, pushed to the disk, renamed. A killed harvest goes on
   after the last whole shard, and what it then holds equals what an undisturbed one does, byte for byte.
4. Whoever asks for a harvest has its hashes proved first (see `engine.lab.shards`). A shard that is damaged
   is harvested anew, and that is told; so is the description of the harvest, where that is damaged.
5. The folder's name is a hash over everything the numbers depend on, so that every run that asks for the same
   activations shares them. One process writes; others wait and then read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from engine.data.corpora import Corpus
from engine.errors import SpecError, StoreError
from engine.lab.activation_cache import ABOUT, FOLDER, FORMAT, description, lock_of
from engine.lab.activations import Activations
from engine.lab.contexts import Contexts, cut
from engine.lab.lab import Lab
from engine.lab.shards import MISSING, put, shard_fault, shard_path, shard_reader, write_shard
from engine.lab.site_vectors import activations_at, readable_site, run_with_replacement, width
from engine.models.hooked import HookedModel
from engine.spec.family_params import HarvestParams

__all__ = ["Activations", "harvest", "run_with_replacement"]

SHARD_TOKENS = 16_384
"""Tokens of a shard: what a killed harvest loses at most, and what is read at once."""
BATCH_TOKENS = 4_096
"""Tokens of a forward pass."""
SHOWN_FAULTS = 3
"""Damaged files that are told by name; of more, how many."""
Progress = Callable[..., None]


def _silent(fraction: float, message: str = "") -> None:
    """Progress that nobody watches."""


def harvest(
    model: HookedModel,
    corpus: Corpus,
    sites: Sequence[str],
    *,
    folder: Path | None,
    tokens: int | None = None,
    context_tokens: int = 128,
    include_bos: bool = False,
    progress: Progress = _silent,
) -> Activations:
    """Activations at `sites` over the first `tokens` tokens of `corpus`, from the disk where they are there.

    `folder` is the project's `.engine/`; None keeps them in memory. Values have the model's dtype. Rows are
    the corpus's tokens; the BOS in front of each context is a row only with `include_bos`. Raises DataError
    where the corpus is too short, SpecError for a site that cannot be read, StoreError where the disk is
    too full.
    """
    # In the order asked for, each once, and by number: `50%` and its layer are one site on the disk.
    names = tuple(dict.fromkeys(readable_site(model, site) for site in sites))
    if not names:
        raise SpecError("no site to harvest", expected="at least one hook site", seen="none")
    # Step 1.
    contexts = cut(corpus, model, context_tokens=context_tokens, tokens=tokens, include_bos=include_bos)
    job = HarvestJob(model, names, contexts, max(1, SHARD_TOKENS // context_tokens), progress)
    if folder is None:
        shards = [job.shard_with_progress(shard) for shard in range(job.n_shards)]
        return job.activations(shards.__getitem__)
    place = folder / FOLDER / job.key(corpus)
    about = job.about(corpus)
    # Looked at without the lock, all of it, while there is a model here to make anew what is damaged: what
    # reads the shards later has none.
    if job.faults(place, about):
        job.write(place, about)
    with suppress(OSError):
        os.utime(place / ABOUT)  # when it was last of use
    return job.activations(shard_reader(place))


def harvested(
    lab: Lab, sites: Sequence[str | None], params: HarvestParams, progress: Progress = _silent
) -> Activations:
    """An experiment's own model over its own text, as its parameters say; SpecError for no site."""
    named = [site for site in sites if site]
    if len(named) < len(sites):
        raise SpecError("this family needs a hook site", expected="hook_site: blocks.50%.hook_resid_post")
    return harvest(
        lab.model,
        lab.text(),
        named,
        folder=lab.folder,
        tokens=params.tokens,
        context_tokens=params.context_tokens,
        progress=progress,
    )


def handed_over(lab: Lab, role: str) -> HarvestParams:
    """How the runs that are used under a role read their text and split it; they agree in this."""
    used = next(iter(lab.used_runs(role).values()))
    # Read from what those runs were measured with, so that the rows held out from them stay held out.
    given = used.experiment.get("parameters", {})
    return HarvestParams(**{name: given[name] for name in HarvestParams.model_fields if name in given})


class HarvestJob:
    """One harvest to be done: what the model reads, and where it is cut."""

    def __init__(
        self,
        model: HookedModel,
        sites: tuple[str, ...],
        contexts: Contexts,
        contexts_per_shard: int,
        progress: Progress,
    ) -> None:
        self.model = model
        self.sites = sites
        self.contexts = contexts
        self.contexts_per_shard = contexts_per_shard
        self.progress = progress
        self.widths = {site: width(model, site) for site in sites}
        self.n_shards = -(-len(contexts) // contexts_per_shard)  # rounded up

    def activations(self, shard: Callable[[int], Mapping[str, Tensor]]) -> Activations:
        """The finished harvest, read through `shard`."""
        every = np.arange(len(self.contexts))
        n_bytes = self.n_bytes(range(self.n_shards))
        return Activations(
            self.sites, self.widths, self.contexts, every, self.contexts_per_shard, shard, n_bytes
        )

    def about(self, corpus: Corpus) -> dict[str, Any]:
        """Everything that the numbers depend on, in words and hashes."""
        c = self.contexts
        # In one integer type: the same cuts must give the same bytes whatever type they arrived in.
        cuts = np.concatenate((c.starts, c.lengths)).astype(np.int64).tobytes()
        return {
            "format": FORMAT,
            "model": self.model.name,
            "model_hash": self.model.hash,
            "dtype": self.model.dtype,
            "corpus": corpus.name,
            "corpus_hash": corpus.hash,
            "tokens": int(c.lengths.sum()),
            "ids_hash": hashlib.sha256(c.ids.astype(np.int32).tobytes()).hexdigest(),
            "cuts_hash": hashlib.sha256(cuts).hexdigest(),
            "sites": list(self.sites),
            "bos": c.bos,
            "include_bos": c.include_bos,
            "contexts_per_shard": self.contexts_per_shard,
            "shards": self.n_shards,
        }

    def key(self, corpus: Corpus) -> str:
        """The folder's name; the model's name is no part of it, its bytes are."""
        parts = {name: part for name, part in self.about(corpus).items() if name not in ("model", "corpus")}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]

    def faults(self, place: Path, about: Mapping[str, Any]) -> dict[str, str]:
        """What is wrong with each file of a harvest, by its name, in words; empty where it is whole."""
        found = {} if _describes(place, about) else {ABOUT: "does not say what this harvest is of"}
        found |= {shard_path(place, shard).name: why for shard, why in self.shard_faults(place).items()}
        return found

    def shard_faults(self, place: Path) -> dict[int, str]:
        """What is wrong with each shard, in words: that it is missing, or how it is damaged."""
        # Half-written shards are still called `.new-...`: what has a shard's name was once whole.
        looked_at = {shard: shard_fault(shard_path(place, shard)) for shard in range(self.n_shards)}
        return {shard: fault for shard, fault in looked_at.items() if fault}

    def write(self, place: Path, about: Mapping[str, Any]) -> None:
        """Write what is missing or damaged, this process alone; waits for another that is at it."""
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            # The lock lies beside the folder, so that freeing the folder does not pull it from under a
            # writer.
            with self._locked(lock_of(place)):
                place.mkdir(exist_ok=True)
                # Nobody else writes now: what is half-written was left by a process that was killed.
                for left_over in place.glob(".new-*"):
                    left_over.unlink()
                # Again, for another may have been at it while we waited.
                faults = self.shard_faults(place)
                self.require_room(place, [*faults])
                # First of all, so that a half-done harvest says which model and corpus it is of.
                if not _describes(place, about):
                    self._tell({ABOUT: "is damaged"} if (place / ABOUT).exists() else {})
                    put(place / ABOUT, json.dumps(dict(about), indent=2).encode())
                self._write_shards(place, faults)
        except OSError as problem:
            raise _unwritable(place, problem) from problem

    def require_room(self, place: Path, missing: Sequence[int]) -> None:
        """StoreError where what is missing does not fit the disk."""
        needed = self.n_bytes(missing)
        free = shutil.disk_usage(place).free
        if needed > free:
            raise StoreError(
                "the disk is too full for these activations",
                where=str(place),
                expected=f"{_size(needed)} free",
                seen=f"{_size(free)}",
                hint="engine runs gc --yes frees activations that no run needs; or ask for fewer tokens",
            )

    def n_bytes(self, shards: Sequence[int]) -> int:
        """What some shards take."""
        rows = sum(int(self.contexts.rows[self._in(shard)].sum()) for shard in shards)
        each = 2 if self.model.dtype == "bfloat16" else 4
        return rows * (each * sum(self.widths.values()) + 4)  # and 4 for the token's id

    def shard(self, shard: int) -> dict[str, Tensor]:
        """The activations of one shard, computed: "row d" by site, and `ids`."""
        mine = self._in(shard)
        rows = self.contexts.rows[mine].astype(np.int64)
        # Where each context's rows begin in the shard: the running sum without its own.
        first = np.cumsum(rows) - rows
        dtype = next(iter(self.model.weights.values())).dtype
        out = {site: torch.empty(int(rows.sum()), d, dtype=dtype) for site, d in self.widths.items()}
        # Contexts of like length together, longest first, so that little is computed for padding. Which
        # contexts share a batch depends on the shard alone: a harvest that goes on gives the bytes of an
        # undisturbed one.
        by_length = np.argsort(-rows, kind="stable")
        at_once = max(1, BATCH_TOKENS // (int(rows.max()) + 1))
        for start in range(0, len(mine), at_once):
            batch = by_length[start : start + at_once]
            self._fill(out, mine[batch], first[batch], rows[batch])
        ids = np.concatenate([self.contexts.row_ids(c) for c in mine.tolist()])
        return out | {"ids": torch.from_numpy(ids.astype(np.int32))}

    def shard_with_progress(self, shard: int, why: str = "") -> dict[str, Tensor]:
        """The same, with a word on how far this is, and on why it is done where that is not plain."""
        computed = self.shard(shard)
        total = len(self.contexts.ids)
        done = int(self.contexts.lengths[: (shard + 1) * self.contexts_per_shard].sum())
        self.progress(done / total, f"activations of {done:,} of {total:,} tokens{why}")
        return computed

    def _fill(
        self, out: dict[str, Tensor], contexts: np.ndarray, first: np.ndarray, rows: np.ndarray
    ) -> None:
        """One forward over some contexts, its rows put where they belong."""
        lead = self.contexts.first_position  # past a BOS that is no row; padding is to the right
        found = activations_at(self.model, self.contexts.inputs(contexts).to(self.model.device), self.sites)
        for site, values in found.items():
            for row, (start, n) in enumerate(zip(first.tolist(), rows.tolist(), strict=True)):
                # What is beyond `n` is padding.
                out[site][start : start + n] = values[row, lead : lead + n]

    def _in(self, shard: int) -> np.ndarray:
        first = shard * self.contexts_per_shard
        return np.arange(first, min(first + self.contexts_per_shard, len(self.contexts)))

    def _write_shards(self, place: Path, faults: Mapping[int, str]) -> None:
        """Harvest the shards with a fault; each is replaced by a rename, so that who reads it now goes on."""
        self._tell({shard_path(place, s).name: why for s, why in faults.items() if why != MISSING})
        for shard, why in faults.items():
            file = shard_path(place, shard)
            # Said with each of them too: the word above may come too soon after another to be shown.
            anew = "" if why == MISSING else f"; made anew, since {file.name} {why}"
            write_shard(file, self.shard_with_progress(shard, anew))
            # Read back at once: a disk or memory that spoils what it is given would have us begin for ever.
            if fault := shard_fault(file):
                raise StoreError(
                    "activations that were just written are damaged",
                    where=str(file),
                    seen=fault,
                    hint="examine the disk and the memory of this machine",
                )

    def _tell(self, damaged: Mapping[str, str]) -> None:
        """Say which files of the harvest are made anew, and why."""
        if not damaged:
            return
        named = "; ".join(f"{file} {why}" for file, why in [*damaged.items()][:SHOWN_FAULTS])
        more = len(damaged) - SHOWN_FAULTS
        rest = f"; and {more} more" if more > 0 else ""
        self.progress(0.0, f"harvested activations are damaged and made anew: {named}{rest}")

    def _locked(self, path: Path) -> AbstractContextManager:
        lock = FileLock(path)
        try:
            # Tried without waiting first, so that whoever has to wait is told why.
            return lock.acquire(timeout=0)
        except Timeout:
            self.progress(0.0, "waiting for another process that harvests the same activations")
            return lock.acquire()


def _describes(place: Path, about: Mapping[str, Any]) -> bool:
    """Whether the description on the disk is this harvest's."""
    # Another name for the same bytes shares the harvest, and leaves its description as it is.
    names = {name: about[name] for name in ("model", "corpus")}
    return description(place) | names == about


def _unwritable(place: Path, problem: OSError) -> StoreError:
    # EDQUOT too: a full quota of the user looks to them like a full disk.
    full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
    what = "the disk is full" if full else "activations cannot be written"
    hint = "make room; the harvest goes on after the last whole shard" if full else ""
    return StoreError(what, where=str(place), seen=str(problem), hint=hint)


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
