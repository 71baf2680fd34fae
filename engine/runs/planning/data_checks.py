"""Whether the prompts and the text that a run reads can be read, asked before any model is loaded.

Reading a file through takes longer than hashing it, so what was found sound is remembered by the hash of its
bytes (and of the code that reads): an unchanged file is read through once, not at every plan.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import DataError, DataUnavailable, WrongPromptKind
from engine.runs.planning.code_hash import digest
from engine.runs.planning.keys import canonical
from engine.runs.sources import Sources
from engine.spec.document import Loc
from engine.spec.inputs import PromptKind
from engine.spec.models import CorpusChoice, PromptChoice
from engine.spec.points import families_reading, prompt_kind

Place = Callable[[Loc], str]


@dataclass(frozen=True)
class DataFacts:
    """What a plan must know of prompts or a corpus: hash and amount (prompts, or tokens where known).

    `out_of_reach` says why it cannot be had here now; its hash is empty then.
    """

    hash: str
    amount: int = 0
    out_of_reach: str = ""


@dataclass
class DataChecks:
    """Reads what specs choose, each choice once; `cache_file` remembers, by content, what was found sound.

    `reader` is a hash of the code that reads: what an earlier reader accepted is read again by another one.
    """

    sources: Sources
    reader: str = ""
    cache_file: Path | None = None
    sound: dict[str, int] = field(default_factory=dict)
    seen: dict[tuple[str, Path], DataFacts] = field(default_factory=dict)
    grown: bool = False

    def __post_init__(self) -> None:
        with suppress(OSError, ValueError, TypeError):
            # Whatever is wrong with the cache, it is only a cache: files are read through anew.
            entries = json.loads(self.cache_file.read_text(encoding="utf-8")) if self.cache_file else {}
            self.sound = {str(entry): int(amount) for entry, amount in entries.items()}

    def prompts(
        self, choice: PromptChoice, folder: Path, family: str, place: Place, kind: PromptKind | None = None
    ) -> DataFacts:
        """The chosen prompts, as the kind that the family reads or as another one that is given; DataError
        where the family cannot use them, with the line of the data and that of the spec, of which `place`
        knows what stands inside of `prompts:`."""
        kind = kind or prompt_kind(family, self.sources.catalog)
        asked = f"{kind} {choice.model_dump_json()}", folder
        if asked not in self.seen:
            try:
                self.seen[asked] = self._prompts(choice, folder, kind, place)
            except DataError as error:
                raise self._told(error, family, place) from error
        return self.seen[asked]

    def _prompts(self, choice: PromptChoice, folder: Path, kind: PromptKind, place: Place) -> DataFacts:
        try:
            known = self.sources.data_hash(choice, folder)
            entry = self._entry(choice, known, kind)
            if entry not in self.sound:
                self._note(entry, self.sources.check_prompts(choice, folder, kind, place))
        except DataUnavailable as error:
            return DataFacts("", choice.limit or 0, f"{error.problem} ({error.seen})")
        return DataFacts(known, self.sound[entry])

    def _told(self, error: DataError, family: str, place: Place) -> DataError:
        """The error with the place in the spec, and for prompts of another kind with the families that read
        these."""
        spec = place(())
        # What is wrong in the spec itself is told there; what is wrong in the data, in both.
        file = spec.partition(":")[0]
        if not error.where:
            error.where = spec
        elif not error.where.startswith(file):
            error.named_at = spec
        if isinstance(error, WrongPromptKind):
            others = families_reading(error.kinds, self.sources.catalog)
            error.problem = f"{error.problem} by {family}"
            error.hint = f"these prompts are enough for {', '.join(others)}" if others else error.hint
        return error

    def corpus(self, choice: CorpusChoice, folder: Path, where: str) -> DataFacts:
        """The chosen text; DataError where it cannot be read, told at `where` if it names no place itself."""
        asked = f"corpus {choice.model_dump_json()}", folder
        if asked not in self.seen:
            self.seen[asked] = self._corpus(choice, folder, where)
        return self.seen[asked]

    def save(self) -> None:
        """Write the cache, if it grew and has a place; a store that cannot be written goes without."""
        if not self.grown or self.cache_file is None:
            return
        with suppress(OSError):
            handle, partial = tempfile.mkstemp(dir=self.cache_file.parent, prefix=".data-")
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                json.dump(self.sound, out)
            Path(partial).replace(self.cache_file)
            self.grown = False

    def _corpus(self, choice: CorpusChoice, folder: Path, where: str) -> DataFacts:
        try:
            known = self.sources.corpus_hash(choice, folder)
            entry = self._entry(choice, known)
            if entry not in self.sound:
                self._note(entry, self.sources.check_corpus(choice, folder))
        except DataUnavailable as error:
            # Out of reach is no mistake of the spec: the run is not measurable here, and the plan goes on.
            return DataFacts("", choice.tokens or 0, f"{error.problem} ({error.seen})")
        except DataError as error:
            error.where = error.where or where
            raise
        return DataFacts(known, self.sound[entry])

    def _entry(self, choice: PromptChoice | CorpusChoice, known: str, kind: str = "") -> str:
        """What a sound file goes by: its bytes, what is chosen of it as which kind, and who found it sound.

        The name's suffix counts, because the same bytes may be sound text and no JSONL.
        """
        suffix = Path(choice.name or "").suffix
        chosen = choice.model_dump(mode="json", exclude={"name", "rows"})
        return digest(canonical([type(choice).__name__, kind, suffix, chosen, known, self.reader]))

    def _note(self, entry: str, amount: int) -> None:
        self.sound[entry] = amount
        self.grown = True
