"""Prompt sets that are datasets of the Hugging Face hub: one commit each, kept as JSON lines in the cache."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass, replace
from typing import ClassVar

from engine.data.hub_datasets import HubDataset, keep
from engine.data.rows import Cells, Row, checked_row
from engine.errors import DataError

MAX_ROWS = 50_000


@dataclass(frozen=True)
class HubPrompts(HubDataset):
    """The rows of one split of a dataset."""

    noun: ClassVar[str] = "prompt set"
    shelf: ClassVar[str] = "prompts"
    instead: ClassVar[str] = "facts is packaged; a local .csv, .jsonl or .parquet file works too"

    @property
    def hash(self) -> str:
        """A hash over what says which rows these are, the commit included."""
        return hashlib.sha256(json.dumps(vars(self), sort_keys=True).encode()).hexdigest()

    def at_commit(self) -> HubPrompts:
        """The same at the commit of its first use; DataUnavailable where the hub does not answer."""
        return replace(self, revision=self.commit())

    def table(self) -> list[Row]:
        """All rows, as kept from an earlier time or streamed now; DataError where they are too many."""
        file = self.folder / f"{self.hash[:16]}.jsonl"
        if file.is_file():
            lines = file.read_text(encoding="utf-8").split("\n")
        else:
            found = list(itertools.islice(self.rows(), MAX_ROWS + 1))
            if not found or len(found) > MAX_ROWS:
                seen = f"more than {MAX_ROWS:,}" if found else "none"
                expected = f"at most {MAX_ROWS:,} rows, of which `limit` may take fewer"
                raise DataError("not a prompt set", where=self.place, expected=expected, seen=seen)
            # A cell that JSON cannot hold (a picture) becomes null, which no prompt may be.
            lines = [json.dumps(row, default=lambda cell: None) for row in found]
            keep(file, "\n".join(lines).encode())
        return [self._row(number, json.loads(line)) for number, line in enumerate(lines, start=1)]

    @property
    def place(self) -> str:
        """`org/name, split train`, for errors."""
        return f"{self.repository}, split {self.split}"

    def _row(self, number: int, cells: Cells) -> Row:
        return checked_row(Row(f"{self.place}: row {number}", cells, f"row {number}"))
