"""Publications on disk, their headers, and how their text is printed: papers and threads alike.

`publications/<slug>/` holds `paper.qmd`, `thread.md` or both, and `references.bib`. Each of the two files
begins with a YAML header, as Quarto has it:

    ---
    title: Do two sparse autoencoders find the same features?
    author: [{name: A. Person, affiliation: Somewhere}]
    abstract: |
      Seeds agree to {{ sae-seed-stability.seeds_mid.pw_mcc }} ...
    draft: true                         # what is no draft says `draft: false`
    investigations: [sae-seed-stability]  # those that the text names are found without it
    ---

How a command uses it:

    publication = find_publication(root, slug, "thread")
    with current_plan(root, investigations_of(publication, spec_paths(root))) as (store, plan):
        library = assemble_library(plan, store)          # every slug with its ledger
    printed = print_publication(publication, library, MyPrinter())
    broken = [c for c in printed.concerns if c.kind == "broken-sentence"]

The text is in the report's grammar, with the slug before each name (`slug.experiment.number`). The printer
(`engine.report.printers.printer.Printer`) says how numbers, claims, charts and tables are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from engine.errors import TemplateError, nearest
from engine.report.lint import Concern
from engine.report.printers.printer import Printer
from engine.report.render import render
from engine.report.template_source import unix_lines
from engine.runs.library import Library, named_slugs
from engine.spec.document import Document, document_in

PublicationKind = Literal["paper", "thread"]
FILES: dict[PublicationKind, str] = {"paper": "paper.qmd", "thread": "thread.md"}
FOLDER = "publications"
FENCE = "---"
TEXTS = ("title", "subtitle", "abstract", "description")
"""The keys of a header whose values are templates too."""


@dataclass(frozen=True)
class Author:
    """One of those who wrote it."""

    name: str
    affiliation: str = ""
    email: str = ""


@dataclass(frozen=True)
class Publication:
    """A paper or thread as it is written: its header as data, and its text with the header left out.

    `text` keeps the header's lines as empty ones, so that a line of it is that line of the file.
    """

    slug: str
    kind: PublicationKind
    path: Path
    text: str
    header: Document

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def title(self) -> str:
        return str(self.header.value.get("title") or self.slug)

    @property
    def is_draft(self) -> bool:
        """Until the header says otherwise."""
        return self.header.value.get("draft") is not False

    @property
    def authors(self) -> tuple[Author, ...]:
        """In the order of the header; each a name, or a mapping with `name`."""
        written = self.header.value.get("author") or self.header.value.get("authors") or []
        people = written if isinstance(written, list) else [written]
        return tuple(_author(person) for person in people)

    @property
    def written(self) -> str:
        """All of it in which an investigation can be named."""
        return "\n".join([self.text, *(text for text, _ in self.header_texts().values())])

    def header_texts(self) -> dict[str, tuple[str, int]]:
        """(template, line of the file that it begins on) of each text in the header, by key."""
        found: dict[str, tuple[str, int]] = {}
        lines = self.path.read_text(encoding="utf-8-sig").splitlines() if self.path.is_file() else []
        for key in TEXTS:
            value = self.header.value.get(key)
            if isinstance(value, str):
                line = self.header.place((key,)).line
                # What a `|` or `>` announces begins on the line below it.
                is_block = line <= len(lines) and lines[line - 1].rstrip(" +-0123456789")[-1:] in ("|", ">")
                found[key] = value, line + is_block
        return found


@dataclass(frozen=True)
class PrintedPublication:
    """A publication printed: its text, the texts of its header by key, and what is shown in it.

    `charts` are Vega-Lite specs and `tables` CSV, both as text by the ids that the printer was given.
    `concerns` holds broken and undecided sentences and what lint finds, with file and line.
    """

    publication: Publication
    text: str
    header: Mapping[str, str]
    charts: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)
    concerns: tuple[Concern, ...] = ()


def find_publications(root: Path, kind: PublicationKind | None = None) -> list[Publication]:
    """Every publication of a project (of one kind), by slug. Raises as `read_publication` does."""
    kinds: list[PublicationKind] = [kind] if kind else list(FILES)
    folders = sorted((root / FOLDER).glob("*"))
    return [
        read_publication(folder / FILES[kind], kind)
        for folder in folders
        for kind in kinds
        if (folder / FILES[kind]).is_file()
    ]


def find_publication(root: Path, slug: str, kind: PublicationKind) -> Publication:
    """One publication; TemplateError with the nearest slugs that have one of its kind."""
    path = root / FOLDER / slug / FILES[kind]
    if path.is_file():
        return read_publication(path, kind)
    known = [file.parent.name for file in sorted((root / FOLDER).glob(f"*/{FILES[kind]}"))]
    raise TemplateError(
        f"no {kind} {slug!r}",
        where=str(root / FOLDER),
        expected="one of " + ", ".join(known) if known else f"{FOLDER}/{slug}/{FILES[kind]}",
        near=nearest(slug, known),
        hint=f"engine {kind} new --from SLUG drafts one",
    )


def read_publication(path: Path, kind: PublicationKind) -> Publication:
    """The publication in a file. TemplateError or SpecError with its line where it has no sound header."""
    try:
        text = unix_lines(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(f"this {kind} cannot be read", where=str(path), seen=str(error)) from error
    return publication_in(text, path, kind)


def publication_in(text: str, path: Path, kind: PublicationKind) -> Publication:
    """The publication that a text is, at the path where it lies or will lie. Raises as `read_publication`."""
    lines = text.split("\n")
    has_header = lines[0].rstrip() == FENCE
    if not has_header:
        raise TemplateError(
            f"this {kind} has no header", where=f"{path}:1", expected="---, then `title: ...`, then ---"
        )
    ends = [at for at, line in enumerate(lines[1:], start=1) if line.rstrip() in (FENCE, "...")]
    if not ends:
        raise TemplateError("the header is never closed", where=f"{path}:1", expected="a line of ---")
    above = "\n".join(["", *lines[1 : ends[0]]])  # an empty first line keeps the line numbers
    header = document_in(above, str(path))
    if header is None or not isinstance(header.value, dict):
        raise TemplateError("the header says nothing", where=f"{path}:1", expected="`title: ...`")
    body = "\n" * (ends[0] + 1) + "\n".join(lines[ends[0] + 1 :])
    publication = Publication(path.parent.name, kind, path, body, header)
    _refuse_wrong_types(publication)
    return publication


def investigations_of(publication: Publication, known: Iterable[str]) -> list[str]:
    """The investigations that a publication draws on: those of its header, and those that its text names.

    TemplateError with the nearest of the `known` slugs for one in the header that is not there.
    """
    known = list(known)
    listed = publication.header.value.get("investigations") or []
    for at, slug in enumerate(listed):
        if slug not in known:
            raise TemplateError(
                f"no investigation {slug!r}",
                where=publication.header.where(("investigations", at)),
                expected="one of " + ", ".join(known),
                near=nearest(slug, known),
            )
    named = named_slugs(known, [publication.written])
    return list(dict.fromkeys([*listed, *sorted(named)]))


def print_publication(
    publication: Publication,
    library: Library,
    printer: Printer,
    *,
    cite: bool = True,
) -> PrintedPublication:
    """Print a publication from the ledgers of its investigations.

    One `printer` prints the text and the header's texts, so that it can count across them; without `cite`,
    `[@key]` stays as it is written, for pandoc. Raises as `engine.report.render.render` does.
    """
    charts: dict[str, str] = {}
    tables: dict[str, str] = {}
    concerns: list[Concern] = []

    def printed(text: str, line: int = 1) -> str:
        padded = "\n" * (line - 1) + text  # so that a message names the line of the file
        page = render(library, padded, publication.path, printer=printer, cite=cite)
        charts.update(page.charts)
        tables.update(page.tables)
        concerns.extend(page.concerns)
        return page.markdown.strip("\n")

    header = {key: printed(text, line) for key, (text, line) in publication.header_texts().items()}
    body = printed(publication.text) + "\n"
    return PrintedPublication(publication, body, header, charts, tables, tuple(concerns))


def _author(person: Any) -> Author:
    if not isinstance(person, dict):
        return Author(str(person))
    affiliation = person.get("affiliation") or person.get("affiliations") or ""
    several = affiliation if isinstance(affiliation, list) else [affiliation]
    names = [str(each.get("name", "")) if isinstance(each, dict) else str(each) for each in several]
    return Author(str(person.get("name", "")), ", ".join(filter(None, names)), str(person.get("email", "")))


def _refuse_wrong_types(publication: Publication) -> None:
    """TemplateError for a header in which a text is no text, or a list none."""
    header = publication.header
    for key in TEXTS:
        if not isinstance(header.value.get(key, ""), str):
            raise TemplateError(f"{key} is no text", where=header.where((key,)), expected=f"{key}: words")
    if not isinstance(header.value.get("draft", True), bool):
        where = header.where(("draft",))
        raise TemplateError("draft is yes or no", where=where, expected="draft: true or draft: false")
    slugs = header.value.get("investigations") or []
    if not isinstance(slugs, list) or not all(isinstance(slug, str) for slug in slugs):
        where = header.where(("investigations",))
        raise TemplateError("investigations is no list of slugs", where=where, expected="[SLUG, ...]")
    for author in publication.authors:
        if not author.name:
            where = header.where(("author",) if "author" in header.value else ("authors",))
            raise TemplateError("an author without a name", where=where, expected="author: [{name: ...}]")
