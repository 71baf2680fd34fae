"""The works that a text may cite: a BibTeX file beside it, `references.bib`.

An entry that cannot be read is an error where somebody cites it, and a notice where nobody does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from engine.errors import TemplateError, nearest
from engine.report.lint import Concern


@dataclass(frozen=True)
class ReferencePart:
    """A piece of a reference as it stands in the list: plain, emphasised, or a link to `address`."""

    text: str
    kind: Literal["plain", "emphasis", "link"] = "plain"
    address: str = ""


@dataclass(frozen=True)
class Reference:
    """One work. `names` and `year` are how a sentence cites it (`Meng et al.`, `2022a`)."""

    key: str
    names: str
    year: str
    parts: tuple[ReferencePart, ...]
    title: str = ""

    @property
    def short(self) -> str:
        """`Paulo and Belrose 2025`, as it stands in brackets."""
        return f"{self.names} {self.year}"

    @property
    def long(self) -> str:
        """The whole reference in plain words."""
        return "".join(part.text for part in self.parts)

    @property
    def url(self) -> str:
        """Its first address, if it has any; a browser may follow each of them."""
        return next((part.address for part in self.parts if part.kind == "link"), "")


class Bibliography(Mapping[str, Reference]):
    """The works of a file by key, each formatted when it is first asked for.

    `faults` are the entries that cannot be read, by key, and `keyless` those of which not even that is known.
    """

    def __init__(
        self,
        works: Mapping[str, Callable[[], Reference]] | None = None,
        faults: Mapping[str, TemplateError] | None = None,
        keyless: Collection[TemplateError] = (),
        where: str = "references.bib",
    ) -> None:
        self.works = works or {}
        self.faults = faults or {}
        self.keyless = tuple(keyless)
        self.where = where
        self.formatted: dict[str, Reference] = {}

    def __getitem__(self, key: str) -> Reference:
        if key not in self.formatted:
            self.formatted[key] = self.works[key]()
        return self.formatted[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.works)

    def __len__(self) -> int:
        return len(self.works)

    def cited(self, key: str) -> Reference:
        """The work of a key. TemplateError where its entry cannot be read, or with the nearest keys."""
        if fault := self.faults.get(key):
            raise fault
        if key in self.works:
            return self[key]
        unread = [fault.where for fault in self.keyless]
        raise TemplateError(
            f"no reference {key!r}",
            expected="one of " + ", ".join(self) if self.works else "references.bib beside the text",
            seen=key,
            near=nearest(key, [*self, *self.faults]),
            hint=f"an entry that cannot be read stands at {unread[0]}"
            if unread
            else rf"an @ that cites nothing is written \@{key}",
        )

    def unread(self, cited: Collection[str]) -> list[Concern]:
        """What a person should put right of the entries that nobody cites."""
        faults = [*self.keyless, *(fault for key, fault in self.faults.items() if key not in cited)]
        return [Concern("unread-reference", fault.where, fault.problem) for fault in faults]


@dataclass(frozen=True)
class BibtexSources:
    """The text of each `@string` of a file, in its order, and of each entry that can be read, by key."""

    macros: tuple[str, ...]
    entries: Mapping[str, str]

    @property
    def text(self) -> str:
        return "\n\n".join([*self.macros, *self.entries.values()]) + "\n"
