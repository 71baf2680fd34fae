r"""BibTeX and biblatex files as a bibliography: read and formatted by pybtex.

pybtex knows BibTeX's own types and fields; those of biblatex (`@online`, `date`, `journaltitle`) are turned
into these first. Entries are read one after the other, so that one that is broken leaves the others standing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from typing import Any
from urllib.parse import quote

from pybtex.bibtex.utils import split_name_list
from pybtex.database import Entry, InvalidNameString, Person
from pybtex.database.input.bibtex import LowLevelParser, SkipEntry, UndefinedMacro, month_names
from pybtex.richtext import HRef, Protected, String, Symbol, Tag, Text
from pybtex.scanner import PrematureEOF, PybtexSyntaxError
from pybtex.style.formatting import toplevel, unsrt
from pybtex.style.template import (
    FieldIsMissing,
    node,
    optional,
    optional_field,
    sentence,
    tag,
    words,
)
from pybtex.utils import CaseInsensitiveDict

from engine.errors import TemplateError, nearest
from engine.report.addresses import WEB, may_be_followed
from engine.report.bibliography import Bibliography, BibtexSources, Reference, ReferencePart
from engine.report.template_source import unix_lines

PEOPLE = ("author", "editor")
MOST_SUBSTITUTED = 1_000_000
"""Characters that the macros of a file may stand for, all together: each may hold the last one twice."""
ADDRESSES = ("doi", "eprint", "url")
OTHERS = "others"

# biblatex's types and fields, by those of BibTeX.
_TYPES = {
    "electronic": "online",
    "www": "online",
    "report": "techreport",
    "thesis": "phdthesis",
    "mvbook": "book",
    "collection": "book",
    "mvcollection": "book",
    "bookinbook": "incollection",
    "suppbook": "incollection",
    "inreference": "incollection",
    "conference": "inproceedings",
    "mvproceedings": "proceedings",
    "periodical": "misc",
}
_FIELDS = {
    "journaltitle": "journal",
    "location": "address",
    "eprinttype": "archiveprefix",
    "eprintclass": "primaryclass",
    "maintitle": "booktitle",
}
_DATE = re.compile(r"(\d{4})(?:-(\d\d))?(?:-\d\d)?(?:/.*)?")
_ENTRY = re.compile(r"@[ \t]*[\w-]+\s*[{(]")
# After an entry that cannot be read, the next is one that begins a line.
_NEXT_ENTRY = re.compile(r"^[ \t]*@[ \t]*[\w-]+\s*[{(]", re.MULTILINE)
_KEYLESS = re.compile(r"@[ \t]*[\w-]+\s*[{(]\s*(?:[^\s,={}]+\s*=|,)")
_ARXIV = re.compile(r"(?:arxiv:)?(\d{4}\.\d{4,5}(?:v\d+)?|[a-z-]+(?:\.[A-Z]{2})?/\d{7})", re.IGNORECASE)
# Commands that change how their text looks, which a list of references does without.
_FACE = re.compile(
    r"\\(?:emph|enquote|mbox|text(?:it|bf|sc|tt|rm|sf|up|normal)|uppercase|url|path)\s*(?=\{)"
    r"|(?<=\{)\\(?:em|it|bf|sc|tt|rm|sf)\b\s*"
)
_DOTLESS = re.compile(r"(\\[`'^\"~=.uvHr])\s*\{\\([ij])\s*\}")
_RAISED = re.compile(r"\$([_^])\{?(\w+)\}?\$")
_DIGITS = {"_": str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"), "^": str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")}
_TILDE = re.compile(r"\{?\\textasciitilde(?:\{\}|\b\s*)\}?|\\~(?:\{\s*\})?|\$\\sim\$")


@dataclass
class _Work:
    """An entry as it was read: `line` is where it begins, `written` is its text."""

    key: str
    type: str
    fields: dict[str, str]
    line: int
    written: str
    people: dict[str, list[Person]] = field(default_factory=dict)

    @property
    def year(self) -> str:
        return self.fields.get("year", "") or "no date"

    @property
    def names(self) -> str:
        """Family names, as a sentence cites them; where nobody is named, the title."""
        people = next((self.people[role] for role in PEOPLE if self.people.get(role)), [])
        if not people:
            title = self.fields.get("organization") or self.fields.get("title") or self.key
            return _plain(_text(title))
        names = [_family(person) for person in people if not _is_others(person)]
        if len(names) > 2 or len(names) < len(people):
            return f"{names[0] if names else ''} et al.".strip()
        return " and ".join(names)


@lru_cache(maxsize=16)
def read_bibtex(data: bytes, where: str = "references.bib") -> Bibliography:
    """The bibliography in a file: UTF-8, with or without a byte-order mark, or else Latin-1."""
    reader = _Reader(_decoded(data), where)
    reader.read()
    works = reader.works
    # Two works of the same people and year are told apart by a letter.
    shared: dict[tuple[str, str], list[str]] = {}
    for work in works.values():
        shared.setdefault((work.names, work.year), []).append(work.key)
    letters = {
        key: chr(ord("a") + at % 26)
        for (_, year), keys in shared.items()
        if len(keys) > 1 and year != "no date"
        for at, key in enumerate(keys)
    }
    makers = {key: partial(_reference, work, letters.get(key, ""), works) for key, work in works.items()}
    return Bibliography(makers, reader.faults, reader.keyless, where)


@lru_cache(maxsize=16)
def bibtex_sources(data: bytes, where: str = "references.bib") -> BibtexSources:
    """The entries of a file as they are written, for a program that gives up before one it cannot read."""
    reader = _Reader(_decoded(data), where)
    reader.read()
    return BibtexSources(
        tuple(reader.macros_written), {key: work.written for key, work in reader.works.items()}
    )


def _decoded(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Windows' own set of characters is Latin-1 with signs in the place of control characters.
        text = data.decode("cp1252", errors="replace")
    return unix_lines(text)


class _Reader(LowLevelParser):
    """pybtex's parser, which goes on with the next entry where one cannot be read."""

    def __init__(self, text: str, where: str) -> None:
        super().__init__(text, macros=CaseInsensitiveDict(month_names), filename=where)
        self.source = text
        self.where = where
        self.works: dict[str, _Work] = {}
        self.macros_written: list[str] = []
        self.faults: dict[str, TemplateError] = {}
        self.keyless: list[TemplateError] = []
        self.substituted = 0

    def substitute_macro(self, name: str) -> str:
        """What a macro stands for. ValueError where macros of macros make more than one can read."""
        value = str(super().substitute_macro(name))
        self.substituted += len(value)
        if self.substituted > MOST_SUBSTITUTED:
            raise ValueError(f"its @string macros stand for more than {MOST_SUBSTITUTED:,} characters")
        return value

    def read(self) -> None:
        while begins := _ENTRY.search(self.source, self.pos):
            start = begins.start()
            self.pos = start + 1
            self.lineno = self._line(start)
            self.command_start = start
            try:
                kind, body = self._command()
                if kind.lower() == "string":
                    self.macros_written.append(self.source[start : self.pos])
                elif kind.lower() != "preamble":
                    self._keep(kind, body[0], body[1], start)
            except SkipEntry:
                pass
            except PybtexSyntaxError as error:
                self._blame(start, self._told(error, start))
                after = _NEXT_ENTRY.search(self.source, start + 1)
                self.pos = after.start() if after else len(self.source)
            except (InvalidNameString, ValueError) as error:
                fault = TemplateError(f"an entry that cannot be read: {error}", where=self._at(start))
                self._blame(start, fault)

    def _command(self) -> tuple[str, Any]:
        """The kind of what begins here, and what it holds: of an entry its key and its fields."""
        kind, body = self.parse_command()
        return str(kind), body

    def _keep(self, kind: str, key: str, pairs: list[tuple[str, list[str]]], start: int) -> None:
        names = Counter(name.lower() for name, _ in pairs)
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"{key} has two fields called {twice[0]}")
        fields = {name.lower(): " ".join("".join(value).split()) for name, value in pairs}
        if key in self.works or key in self.faults:
            first = self._line_of(key)
            two = f"two references are called {key!r}"
            self.works.pop(key, None)
            self._blame(start, TemplateError(two, where=self._at(start), seen=first))
            return
        written = self.source[start : self.pos]
        work = _Work(key, kind.lower(), _in_bibtex(fields), self._line(start), written)
        for role in PEOPLE:
            if role in fields:
                work.people[role] = [Person(name) for name in split_name_list(fields[role])]
        self.works[key] = work

    def _blame(self, start: int, fault: TemplateError) -> None:
        """Note what is wrong with the entry that begins there, by its key if it has one."""
        if self.current_entry_key and not _KEYLESS.match(self.source, start):
            self.faults.setdefault(self.current_entry_key, fault)
        else:
            self.keyless.append(fault)

    def _told(self, error: PybtexSyntaxError, start: int) -> TemplateError:
        """What is wrong with an entry, and on which line."""
        if _KEYLESS.match(self.source, start):
            return TemplateError(
                "an entry without a key", where=self._at(start), expected="@article{key, ...}"
            )
        named = f"the entry {self.current_entry_key!r}" if self.current_entry_key else "an entry"
        after = self.source[self.pos :].lstrip()
        if isinstance(error, PrematureEOF) or _ENTRY.match(after):
            where = self._at(start)
            return TemplateError(f"{named} is never closed", where=where, expected="a closing brace")
        where = f"{self.where}:{error.lineno}"
        message = str(error.args[0])
        if isinstance(error, UndefinedMacro):
            near = nearest(message, self.macros)
            expected = "@string{...} above it, or the words in braces"
            return TemplateError(
                f"{named}: nothing is called {message!r}", where=where, expected=expected, near=near
            )
        seen = after.partition("\n")[0][:40]
        return TemplateError(f"{named}: {message}", where=where, expected="name = {value}", seen=seen)

    def _line(self, position: int) -> int:
        return self.source.count("\n", 0, position) + 1

    def _at(self, position: int) -> str:
        return f"{self.where}:{self._line(position)}"

    def _line_of(self, key: str) -> str:
        return f"another on line {self.works[key].line}" if key in self.works else "another"


def _in_bibtex(fields: Mapping[str, str]) -> dict[str, str]:
    """The fields by BibTeX's own names."""
    found = {_FIELDS.get(name, name): value for name, value in fields.items()}
    if found.get("subtitle") and found.get("title"):
        found["title"] = f"{found['title']}: {found['subtitle']}"
    if dated := _DATE.fullmatch(found.get("date", "")):
        found.setdefault("year", dated[1])
        if dated[2]:
            found.setdefault("month", dated[2])
    if re.fullmatch(r"0?[1-9]|1[0-2]", found.get("month", "")):
        found["month"] = list(month_names.values())[int(found["month"]) - 1]
    return found


def _reference(work: _Work, letter: str, works: Mapping[str, _Work]) -> Reference:
    year = work.year + letter
    volume = works.get(work.fields.get("crossref", ""))
    inherited = _of_volume(volume.fields) if volume else {}
    fields = {
        name: value if name in ADDRESSES else _simplified(value)
        for name, value in (inherited | work.fields).items()
        if name not in PEOPLE
    }
    if letter:
        fields["year"] = year
    kind = _TYPES.get(work.type, work.type)
    if work.type == "thesis" and "master" in fields.get("type", "").lower():
        kind = "mastersthesis"
    if kind.endswith("thesis") and "institution" in fields:
        fields.setdefault("school", fields["institution"])
    named = tuple((role, tuple(map(str, named))) for role, named in work.people.items())
    parts = _formatted(kind, tuple(fields.items()), named)
    title = _plain(_text(work.fields.get("title", "")))
    return Reference(work.key, work.names, year, parts, title)


def _of_volume(fields: Mapping[str, str]) -> dict[str, str]:
    """What a paper takes over from the volume that it names by `crossref`."""
    taken = {name: value for name, value in fields.items() if name not in ("title", "url", "doi", *PEOPLE)}
    return {"booktitle": fields.get("title", ""), **taken}


@lru_cache(maxsize=1024)
def _formatted(
    kind: str, fields: tuple[tuple[str, str], ...], people: tuple[tuple[str, tuple[str, ...]], ...]
) -> tuple[ReferencePart, ...]:
    """A work as the list of references has it; kept, since the reports of a site cite the same works."""
    style = _style()
    persons = {role: [Person(name) for name in names] for role, names in people}
    entry = Entry(kind, fields=dict(fields), persons=persons)
    template = getattr(style, f"get_{kind}_template", style.get_lenient_template)
    context = {"entry": entry, "style": style, "bib_data": None}
    try:
        text = template(entry).format_data(context)
    except FieldIsMissing:
        text = style.get_lenient_template(entry).format_data(context)
    return tuple(_joined(_parts(text)))


@cache
def _style() -> _Style:
    """The one style: to make one, pybtex looks through the entry points of all that is installed."""
    return _Style()


@node
def people(children, context, role):
    """The names of a role, `et al.` in the place of others."""
    persons = context["entry"].persons.get(role)
    if not persons:
        raise FieldIsMissing(role, context["entry"])
    style = context["style"]
    names = [style.format_name(p, False).format_data(context) for p in persons if not _is_others(p)]
    if len(names) < len(persons):
        return Text(Text(", ").join(names), ", et al")
    if len(names) < 3:
        return Text(" and ").join(names)
    return Text(Text(", ").join(names[:-1]), ", and ", names[-1])


class _Style(unsrt.Style):
    """BibTeX's `unsrt`, with titles as they are typed and addresses as links."""

    def format_names(self, role, as_sentence=True):
        return sentence[people(role)] if as_sentence else people(role)

    def format_title(self, e, which_field, as_sentence=True):
        return sentence[_title(which_field)] if as_sentence else _title(which_field)

    def get_lenient_template(self, e):
        """Whatever there is, of an entry of a type of its own or without what its type requires."""
        return toplevel[
            optional[self._who(e)],
            optional[self.format_title(e, "title")],
            sentence[
                optional[tag("em")[_title("journal")]],
                optional[words["In", tag("em")[_title("booktitle")]]],
                optional_field("howpublished"),
                optional_field("organization"),
                optional_field("institution"),
                optional_field("school"),
                optional_field("publisher"),
                optional_field("address"),
                optional[words[optional_field("month"), _title("year")]],
            ],
            sentence[optional_field("note")],
            self.format_web_refs(e),
        ]

    def _who(self, e):
        role = next((role for role in PEOPLE if e.persons.get(role)), "author")
        return self.format_names(role)

    def get_misc_template(self, e):
        return self.get_lenient_template(e)

    def format_web_refs(self, e):
        links = list(dict.fromkeys(_links(e.fields)))
        return _Literal(Text(" ").join(HRef(address, text) if address else text for text, address in links))


class _Literal:
    """A text in a template of pybtex."""

    def __init__(self, text: Text) -> None:
        self.source = text

    def format_data(self, data):
        return self.source


@node
def _title(children, context, name):
    """A field as it is typed."""
    value = context["entry"].fields.get(name)
    if not value:
        raise FieldIsMissing(name, context["entry"])
    return _text(value)


def _links(fields: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(words, address) of each place where a work is found; what no browser may follow is words alone."""
    doi = re.sub(r"^(?:https?://(?:dx\.)?doi\.org/|doi:\s*)", "", _address(fields.get("doi", "")), flags=re.I)
    if doi:
        yield f"doi:{doi}", f"https://doi.org/{quote(doi, safe='/:;()._-')}"
    eprint = _address(fields.get("eprint", ""))
    archive = fields.get("archiveprefix", "")
    if (found := _ARXIV.fullmatch(eprint)) and archive.lower() in ("", "arxiv"):
        yield f"arXiv:{found[1]}", f"https://arxiv.org/abs/{found[1]}"
    elif eprint:
        yield f"{archive}:{eprint}".lstrip(":"), ""
    url = _address(fields.get("url", ""))
    same = {f"arxiv.org/abs/{eprint}", f"doi.org/{doi}", f"dx.doi.org/{doi}"}
    if url and url.partition("://")[2].removeprefix("www.").lower() not in {each.lower() for each in same}:
        yield url, url if may_be_followed(url, WEB) else ""


def _address(value: str) -> str:
    """An address as a browser takes it: in one, a tilde and two dashes are what they are."""
    value = _TILDE.sub("~", _FACE.sub("", value))
    return re.sub(r"\\([&%$#_{}~^])", r"\1", value).replace("{", "").replace("}", "").replace(" ", "")


def _simplified(value: str) -> str:
    """A value without the TeX that pybtex leaves in it."""
    value = _DOTLESS.sub(r"\1{\2}", _FACE.sub("", value))
    return _RAISED.sub(lambda found: found[2].translate(_DIGITS[found[1]]), value)


def _text(value: str) -> Text:
    return Text.from_latex(_simplified(value))


def _plain(text: Text) -> str:
    return "".join(part.text for part in _joined(_parts(text)))


def _family(person: Person) -> str:
    names = [*person.rich_prelast_names, *person.rich_last_names]
    return " ".join(_plain(name) for name in names)


def _is_others(person: Person) -> bool:
    return str(person) == OTHERS


_SYMBOLS = {"ndash": "–", "nbsp": " ", "newblock": " "}


def _parts(text: object) -> Iterator[ReferencePart]:
    """The pieces of pybtex's rich text, inside out."""
    match text:
        case String():
            yield ReferencePart(str(text).replace("\u00a0", " "))
        case Symbol():
            yield ReferencePart(_SYMBOLS.get(text.name, " "))
        case HRef():
            yield ReferencePart(_plain_text(text), "link", text.url)
        case Tag():
            yield ReferencePart(_plain_text(text), "emphasis")
        case Text() | Protected():
            for part in text.parts:
                yield from _parts(part)


def _plain_text(text: HRef | Tag) -> str:
    return "".join(part.text for each in text.parts for part in _parts(each))


def _joined(parts: Iterator[ReferencePart]) -> Iterator[ReferencePart]:
    """Neighbours of one kind as one piece."""
    last: ReferencePart | None = None
    for part in parts:
        if last and last.kind == part.kind == "plain":
            last = ReferencePart(last.text + part.text)
            continue
        if last and last.text:
            yield last
        last = part
    if last and last.text:
        yield last
