"""Datasets of the Hugging Face hub, streamed through `datasets` at one commit.

Which commit was meant by a name is asked once and remembered in the cache folder, so that the same experiment
reads the same data later, without the network where it was read before.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from engine.errors import DataError, DataUnavailable
from engine.models.cards import cache_folder
from engine.models.hub import ASK_SECONDS, within

ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
OUT_OF_REACH_SECONDS = 600


@dataclass(frozen=True)
class HubDataset:
    """One split of a dataset; `revision` is its commit, empty until the hub was asked."""

    name: str
    repository: str
    configuration: str | None = None
    split: str = "train"
    revision: str = ""

    noun: ClassVar[str] = "dataset"
    shelf: ClassVar[str] = "datasets"  # the folder of the cache that these are kept in
    instead: ClassVar[str] = ""  # what can be had without the hub

    @property
    def folder(self) -> Path:
        """Where its commit, and what was read of it, are kept."""
        return cache_folder() / self.shelf / self.name.replace("/", "--")

    def commit(self) -> str:
        """The commit recorded at its first use, asked for now where there was none.

        DataUnavailable where the hub does not answer.
        """
        record = self.folder / "revision.json"
        with suppress(OSError, ValueError, KeyError):
            return str(json.loads(record.read_text())["revision"])
        revision = self._ask()
        keep(record, json.dumps({"repository": self.repository, "revision": revision}).encode())
        return revision

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows, streamed in the dataset's own order."""
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
                yield dict(row)
        # What `datasets` says of a split or a configuration that the dataset has not.
        except ValueError as problem:
            hint = "split: and configuration: say which part of it is read"
            seen = str(problem).splitlines()[0]
            raise DataError(
                f"{self.name} cannot be read", where=self.repository, seen=seen, hint=hint
            ) from problem
        except Exception as problem:  # httpx, fsspec and the hub's own errors have no common base
            raise self._out_of_reach(problem) from problem

    def _ask(self) -> str:
        """The commit that the dataset's main branch is at now."""
        tried = self.folder / "out-of-reach"
        with suppress(OSError):
            # Asked again only after a while: a plan of many runs would wait for each of them.
            if time.time() - tried.stat().st_mtime < OUT_OF_REACH_SECONDS:
                raise self._out_of_reach(tried.read_text())
        from huggingface_hub import HfApi
        from huggingface_hub.errors import RepositoryNotFoundError

        api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
        try:
            ask = lambda: api.dataset_info(self.repository, timeout=ASK_SECONDS)  # noqa: E731
            return within(2 * ASK_SECONDS, ask).sha or ""
        except RepositoryNotFoundError as problem:
            hint = "check the spelling; a private dataset needs a token (hf auth login)"
            raise DataError(f"the hub has no dataset {self.repository}", hint=hint) from problem
        except Exception as problem:
            refusal = self._out_of_reach(problem)
            keep(tried, refusal.seen.encode())
            raise refusal from problem

    def _out_of_reach(self, problem: object) -> DataUnavailable:
        kind = f"{type(problem).__name__}: " if isinstance(problem, BaseException) else ""
        return DataUnavailable(
            f"the {self.noun} {self.name} cannot be had from the Hugging Face hub",
            where=self.repository,
            seen=f"{kind}{problem}".splitlines()[0],
            hint=self.instead,
        )


def keep(file: Path, content: bytes) -> None:
    """Write a small file, whole or not at all; a cache that is only lent goes without."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = file.with_name(f".{os.getpid()}-{file.name}")
        scratch.write_bytes(content)
        scratch.replace(file)
