"""References: a BibTeX file beside the report, cited as `[@key]`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.errors import TemplateError

_ACCENTS = {
    "`": "\u0300",
    "'": "\u0301",
    "^": "\u0302",
    "~": "\u0303",
    '"': "\u0308",
    "=": "\u0304",
    ".": "\u0307",
    "c": "\u0327",
    "v": "\u030c",
    "u": "\u0306",
    "H": "\u030b",
    "r": "\u030a",
    "k": "\u0328",
}
_LETTERS = {"ss": "ß", "o": "ø", "O": "Ø", "l": "ł", "L": "Ł", "ae": "æ", "AE": "Æ", "aa": "å", "i": "ı"}
_ENTRY = re.compile(r"@(\w+)\s*\{")
_FIELD = re.compile(r"\s*,?\s*([\w-]+)\s*=\s*")


@dataclass(frozen=True)
class Reference:
    """One work: `fields` are BibTeX's own, in plain Unicode."""

    key: str
    fields: Mapping[str, str]

    @property
    def authors(self) -> list[str]:
        """Family names first, as the list is sorted: `Paulo, Gonçalo`."""
        names = re.split(r"\s+and\s+", self.fields.get("author", ""))
        return [_family_first(n) for n in names if n]

    @property
    def year(self) -> str:
        return self.fields.get("year") or self.fields.get("date", "")[:4] or "no date"

    @property
    def short(self) -> str:
        """`Paulo and Belrose 2025`, as it stands in the text."""
        families = [a.partition(",")[0] for a in self.authors] or [self.fields.get("title", self.key)]
        names = f"{families[0]} et al." if len(families) > 2 else " and ".join(families)
        return f"{names} {self.year}"

    @property
    def long(self) -> str:
        """Authors, year, title and where it appeared, as it stands in the list."""
        names = "; ".join(self.authors) or self.fields.get("title", self.key)
        venues = ("journal", "booktitle", "publisher", "howpublished", "institution")
        venue = next((self.fields[v] for v in venues if self.fields.get(v)), "")
        title = self.fields.get("title", "")
        return " ".join(f"{part.rstrip('.')}." for part in (f"{names} ({self.year})", title, venue) if part)

    @property
    def url(self) -> str:
        """Its address, if it has one that a browser may follow."""
        doi = self.fields.get("doi")
        eprint = self.fields.get("eprint")
        url = self.fields.get("url") or (f"https://doi.org/{doi}" if doi else "")
        url = url or (f"https://arxiv.org/abs/{eprint}" if eprint else "")
        # A bibliography comes from anywhere, and a `javascript:` address in it would run on the page.
        return url if url.startswith(("https://", "http://")) else ""


def _family_first(name: str) -> str:
    if "," in name or " " not in name:
        return name
    given, _, family = name.rpartition(" ")
    return f"{family}, {given}"


def references_beside(path: Path) -> dict[str, Reference]:
    """The references.bib in the folder of a template; none where there is no such file."""
    bib = path.parent / "references.bib"
    return read_bibtex(bib.read_text(encoding="utf-8"), str(bib)) if bib.is_file() else {}


def read_bibtex(text: str, where: str = "references.bib") -> dict[str, Reference]:
    """References by key. TemplateError with file and line for a broken entry or a key used twice."""
    references: dict[str, Reference] = {}
    at = 0
    while entry := _ENTRY.search(text, at):
        here = f"{where}:{text.count(chr(10), 0, entry.start()) + 1}"
        body, at = _braced(text, entry.end(), here)
        if entry[1].lower() in ("comment", "preamble", "string"):
            continue
        key, _, fields = body.partition(",")
        if not re.fullmatch(r"[^\s,={}\"]+", key.strip()):
            raise TemplateError(
                "an entry without a key", where=here, expected="@article{key, ...}", seen=body[:40]
            )
        if key.strip() in references:
            raise TemplateError(f"two references are called {key.strip()!r}", where=here)
        references[key.strip()] = Reference(key.strip(), _fields(fields, here))
    return references


def _braced(text: str, start: int, where: str) -> tuple[str, int]:
    """The text up to the brace that closes the one before `start`, and where it ends."""
    depth = 1
    for at in range(start, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return text[start:at], at + 1
    raise TemplateError("an entry that is never closed", where=where, expected="a closing brace")


def _fields(text: str, where: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    at = 0
    while name := _FIELD.match(text, at):
        value, at = _value(text, name.end(), where)
        fields[name[1].lower()] = _plain(value)
    if text[at:].strip(" \t\n\r,"):
        raise TemplateError(
            "a field that cannot be read", where=where, expected="name = {value}", seen=text[at:][:40]
        )
    return fields


def _value(text: str, at: int, where: str) -> tuple[str, int]:
    if text[at : at + 1] == "{":
        return _braced(text, at + 1, where)
    if text[at : at + 1] == '"':
        end = text.find('"', at + 1)
        if end < 0:
            raise TemplateError(
                "a field that is never closed", where=where, expected="a closing quotation mark"
            )
        return text[at + 1 : end], end + 1
    bare = re.compile(r"[^,\s}]*").match(text, at)
    return (bare[0], bare.end()) if bare else ("", at)


def _plain(value: str) -> str:
    """BibTeX's TeX as Unicode: accents, dashes and braces."""
    # Accents and letters first, while their braces are still there to be read.
    value = re.sub(r"\\([`'^~\"=.]|[cvuHrk](?![A-Za-z]))\s*\{?\\?([A-Za-z])\}?", _accented, value)
    value = re.sub(r"\\(ss|ae|AE|aa|o|O|l|L|i)(?![A-Za-z])\s*", lambda m: _LETTERS[m[1]], value)
    value = value.replace("---", "—").replace("--", "–").replace("~", " ")
    return " ".join(re.sub(r"\\([&%$#_])", r"\1", value).replace("{", "").replace("}", "").split())


def _accented(match: re.Match[str]) -> str:
    return unicodedata.normalize("NFC", match[2] + _ACCENTS[match[1]])
