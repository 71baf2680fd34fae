"""A page as a work to be cited: who wrote it, when, which version, where; and its entry in BibTeX."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from engine.spec.models import Contributor

# TeX's own characters as TeX writes them. Braces by name: BibTeX counts them even behind a backslash.
_TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\textbraceleft{}",
    "}": r"\textbraceright{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_"},
}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
SHORT_COMMIT = 12


@dataclass(frozen=True)
class CitedWork:
    """An investigation or a publication, as somebody else cites it.

    `name` is its folder's, from which its key is made. `date` is an ISO 8601 day or instant, empty where
    there is none. Addresses are whole, and empty where the site or the repository has none. `kind` is the
    kind of entry in BibTeX.
    """

    name: str
    title: str
    authors: tuple[Contributor, ...]
    site_name: str
    date: str = ""
    version: str = ""
    commit: str = ""
    doi: str = ""
    url: str = ""
    repository: str = ""
    edit_url: str = ""
    keywords: tuple[str, ...] = ()
    kind: str = "misc"

    @property
    def key(self) -> str:
        """The same for ever: neither the date nor the version is in it."""
        return re.sub(r"[^A-Za-z0-9_-]+", "-", self.name).strip("-") or "untitled"

    @property
    def day(self) -> str:
        return self.date[:10]

    @property
    def doi_url(self) -> str:
        return f"https://doi.org/{quote(self.doi, safe='/:;()._-')}" if self.doi else ""


def bibtex(work: CitedWork) -> str:
    """The entry, a field a line; fields of which nothing is known are left out.

    Every text in it is text to TeX, and the title stands in braces of its own, so that no style changes its
    capitals.
    """
    month = MONTHS[int(work.day[5:7]) - 1] if work.day else ""
    fields = {
        "author": " and ".join(map(_bibtex_name, work.authors)) or f"{{{tex(work.site_name)}}}",
        "title": f"{{{tex(work.title)}}}",
        "year": work.day[:4],
        "version": tex(work.version),
        "howpublished": tex(work.site_name),
        "doi": tex(work.doi),
        "url": _bibtex_url(work.url or work.repository),
        "note": f"Commit {work.commit[:SHORT_COMMIT]}" if work.commit else "",
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    # A macro of every style, so that it stands without braces.
    lines += [f"  month = {month},"] if month else []
    return "\n".join([f"@{work.kind}{{{work.key},", *lines, "}", ""])


def tex(text: str) -> str:
    """Text as TeX prints it: on one line, with what is no character to print left out."""
    printable = "".join(c if unicodedata.category(c) not in ("Cc", "Cf", "Cs") else " " for c in text)
    return "".join(_TEX.get(c, c) for c in " ".join(printable.split()))


def _bibtex_name(author: Contributor) -> str:
    """A person as BibTeX reads names; what it would take apart wrongly stands in braces, as one name."""
    name = tex(author.name)
    is_one = author.group or name.count(",") > 1 or re.search(r"\band\b", name) or "\\" in name
    return f"{{{name}}}" if is_one else name


def _bibtex_url(url: str) -> str:
    """An address in which nothing ends the field or is read by TeX before it gets to `\\url`."""
    return quote(url, safe="/:?#[]@!$&'()*+,;=~-._%")


def names_in_words(authors: Sequence[Contributor]) -> str:
    """`Ada Lovelace, Charles Babbage and A team`, given names first."""
    names = [given_first(author) for author in authors]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def given_first(author: Contributor) -> str:
    """`Ada Lovelace`, however it was written."""
    family, comma, given = author.name.partition(",")
    return f"{given.strip()} {family.strip()}" if comma and not author.group else author.name


def family_first(author: Contributor) -> str:
    """`Lovelace, Ada`, as indexes want it; a name without a comma is a given name and the last word."""
    if author.group or "," in author.name or " " not in author.name.strip():
        return author.name
    given, _, family = author.name.strip().rpartition(" ")
    return f"{family}, {given}"


def contributors(people: Iterable[str]) -> tuple[Contributor, ...]:
    """Authors of whom nothing but the name is known."""
    return tuple(Contributor(name=name) for name in people)
