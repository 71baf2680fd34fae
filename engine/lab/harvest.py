"""Activation harvest: what a model has at some hook sites over a corpus, kept on the disk and shared.

1. The corpus is cut into contexts (see `engine.lab.contexts`); a fixed number of them is a shard.
2. Each shard is computed along the plain path, stopped at the last site, in batches of contexts of like
   length.
3. It is written whole: beside its place, pushed to the disk, renamed. A killed harvest goes on after the
   last whole shard, and what it then holds equals what an undisturbed one does, byte for byte.
4. The folder's name is a hash over everything the numbers depend on, so that every run that asks for the same
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
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from engine.data.corpora import Corpus
from engine.errors import SpecError, StoreError
from engine.lab.activation_cache import ABOUT, FOLDER, lock_of
from engine.lab.activations import Activations
from engine.lab.contexts import Contexts, cut
from engine.lab.lab import Lab
from engine.lab.site_vectors import activations_at, readable_site, run_with_replacement, width
from engine.models.hooked import HookedModel
from engine.spec.family_params import HarvestParams

__all__ = ["Activations", "harvest", "run_with_replacement"]

SHARD_TOKENS = 16_384
"""Tokens of a shard: what a killed harvest loses at most, and what is read at once."""
BATCH_TOKENS = 4_096
"""Tokens of a forward pass."""
MAPPED_SHARDS = 64
"""Files that are held mapped at a time."""
FORMAT = 1
"""Of the files; another number is another folder."""
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
    # Looked at without the lock: a folder that is whole stays so until somebody frees it.
    if not job.is_whole(place):
        job.write(place, job.about(corpus))
    with suppress(OSError):
        os.utime(place / ABOUT)  # when it was last of use
    # A mapped file takes addresses rather than memory; which was used longest ago is let go first.
    return job.activations(lru_cache(MAPPED_SHARDS)(lambda shard: _read(_file(place, shard))))


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

    def is_whole(self, place: Path) -> bool:
        return (place / ABOUT).is_file() and not self.missing(place)

    def missing(self, place: Path) -> list[int]:
        """The shards that are not there."""
        # Only whole shards have such a name: half-written ones are still called `.new-...`.
        there = {path.name for path in place.glob("[0-9]*.safetensors")}
        return [shard for shard in range(self.n_shards) if _file(place, shard).name not in there]

    def write(self, place: Path, about: Mapping[str, Any]) -> None:
        """Write the shards that are missing, this process alone; waits for another that is at it."""
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            # The lock lies beside the folder, so that freeing the folder does not pull it from under a
            # writer.
            with self._locked(lock_of(place)):
                place.mkdir(exist_ok=True)
                # Nobody else writes now: what is half-written was left by a process that was killed.
                for left_over in place.glob(".new-*"):
                    left_over.unlink()
                missing = self.missing(place)  # again, for another may have been at it while we waited
                self.require_room(place, missing)
                # First of all, so that a half-done harvest says which model and corpus it is of.
                if not (place / ABOUT).is_file():
                    _put(place / ABOUT, json.dumps(dict(about), indent=2).encode())
                self._write_shards(place, missing)
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

    def shard_with_progress(self, shard: int) -> dict[str, Tensor]:
        """The same, with a word on how far this is."""
        computed = self.shard(shard)
        total = len(self.contexts.ids)
        done = int(self.contexts.lengths[: (shard + 1) * self.contexts_per_shard].sum())
        self.progress(done / total, f"activations of {done:,} of {total:,} tokens")
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

    def _write_shards(self, place: Path, missing: Sequence[int]) -> None:
        for shard in missing:
            _put(_file(place, shard), save(self.shard_with_progress(shard)))

    def _locked(self, path: Path) -> AbstractContextManager:
        lock = FileLock(path)
        try:
            # Tried without waiting first, so that whoever has to wait is told why.
            return lock.acquire(timeout=0)
        except Timeout:
            self.progress(0.0, "waiting for another process that harvests the same activations")
            return lock.acquire()


def _file(place: Path, shard: int) -> Path:
    return place / f"{shard:06}.safetensors"


def _put(file: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    # In the same folder: a rename across file systems would be a copy, and no longer atomic.
    scratch = file.with_name(f".new-{os.getpid()}-{file.name}")
    try:
        with scratch.open("wb") as out:
            out.write(content)
            out.flush()
            # The bytes must be on the disk before the name is: after a power cut a file system may have kept
            # the rename and lost what was written.
            os.fsync(out.fileno())
        scratch.rename(file)  # atomic within a folder; readers see all of it or nothing
    except OSError:
        with suppress(OSError):
            scratch.unlink()
        raise


def _read(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as problem:
        hint = f"remove {file}; it is then harvested again"
        raise StoreError(
            "harvested activations are damaged", where=str(file), seen=str(problem), hint=hint
        ) from problem


def _unwritable(place: Path, problem: OSError) -> StoreError:
    # EDQUOT too: a full quota of the user looks to them like a full disk.
    full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
    what = "the disk is full" if full else "activations cannot be written"
    hint = "make room; the harvest goes on after the last whole shard" if full else ""
    return StoreError(what, where=str(place), seen=str(problem), hint=hint)


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
