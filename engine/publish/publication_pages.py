"""Publications on the site: a page each, and a page that lists them.

A paper's page is `publications/<slug>/index.md`, a thread's `publications/<slug>/thread.md`; what they show
lies beside them. A page is kept in `.engine/publications` by a hash of all that it is made from.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from engine.publish.files import Content
from engine.publish.markdown import page
from engine.publish.publications import FOLDER, Publication, PublicationKind
from engine.report.escape import for_site
from engine.report.json_cache import JsonCache
from engine.report.lint import Concern
from engine.report.report_cache import engine_hash

PAGES: dict[PublicationKind, str] = {"paper": "index.md", "thread": "thread.md"}
KINDS: dict[PublicationKind, str] = {"paper": "Paper", "thread": "Thread"}
ABOUT = "Papers and threads that are written from the investigations, with the evidence behind their numbers."


@dataclass(frozen=True)
class PublicationEntry:
    """What is said of a publication where all of them are listed."""

    slug: str
    kind: PublicationKind
    title: str
    about: str  # a sentence or an abstract, as plain text
    is_draft: bool
    n_broken: int = 0  # sentences that the evidence contradicts
    refused: str = ""  # why it could not be printed

    @property
    def place(self) -> str:
        """The page's path under site/."""
        return f"{FOLDER}/{self.slug}/{PAGES[self.kind]}"


@dataclass(frozen=True)
class PublicationPage:
    """A publication on the site: its entry, its files by path under site/, what of it needs a person."""

    entry: PublicationEntry
    files: Mapping[str, Content]
    concerns: tuple[Concern, ...] = ()


@dataclass
class PublicationCache:
    """Pages of publications in a project's `.engine` folder; without one, nothing is kept."""

    folder: Path | None = None
    kept: JsonCache = field(init=False)

    def __post_init__(self) -> None:
        self.kept = JsonCache(self.folder and self.folder / "publications")

    def get(self, key: str) -> PublicationPage | None:
        """The page under a key; None where there is none."""
        found = self.kept.get(key)
        if not found:
            return None
        files = {name: _decoded(content) for name, content in found["files"].items()}
        concerns = tuple(Concern(**concern) for concern in found["concerns"])
        return PublicationPage(PublicationEntry(**found["entry"]), files, concerns)

    def put(self, key: str, made: PublicationPage) -> None:
        """Keep a page; one that could not be printed is told again each time."""
        if made.entry.refused:
            return
        files = {name: _encoded(content) for name, content in made.files.items()}
        concerns = [asdict(concern) for concern in made.concerns]
        self.kept.put(key, {"entry": asdict(made.entry), "files": files, "concerns": concerns})


def _encoded(content: Content) -> dict[str, str]:
    return {"text": content} if isinstance(content, str) else {"bytes": base64.b64encode(content).decode()}


def _decoded(content: Mapping[str, str]) -> Content:
    return content["text"] if "text" in content else base64.b64decode(content["bytes"])


def publication_key(publication: Publication, *made_from: str) -> str:
    """A hash over the engine, a publication's folder, and what else its page is made from."""
    digest = hashlib.sha256("\0".join([engine_hash(), publication.kind, *made_from]).encode())
    for path in sorted(publication.folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(publication.folder).as_posix()
            digest.update(f"\0{name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def refused_page(publication: Publication, error: Exception) -> PublicationPage:
    """What stands in the place of a publication that cannot be printed: the error."""
    entry = PublicationEntry(
        publication.slug, publication.kind, publication.title, "", publication.is_draft, refused=str(error)
    )
    told = f"<pre><code>{for_site(str(error)).replace('⏎', chr(10))}</code></pre>"
    body = f"This {publication.kind} cannot be printed.\n\n{told}"
    where = getattr(error, "where", "") or str(publication.path)
    concern = Concern("broken-template", where, getattr(error, "problem", str(error)))
    about = f"A {publication.kind} that cannot be printed."
    return PublicationPage(entry, {entry.place: page(publication.title, body, about=about)}, (concern,))


def publications_page(entries: Sequence[PublicationEntry]) -> str:
    """Every publication with its kind, whether it is a draft, and what it is about."""
    parts = [ABOUT]
    for entry in sorted(entries, key=lambda entry: (entry.slug, entry.kind)):
        address = f"{entry.slug}/" + ("" if entry.kind == "paper" else f"{entry.kind}/")
        marks = [KINDS[entry.kind], *(["draft"] if entry.is_draft else [])]
        if entry.n_broken:
            marks.append(f"{entry.n_broken} broken {'sentence' if entry.n_broken == 1 else 'sentences'}")
        if entry.refused:
            marks.append("cannot be printed")
        items = "".join(f"<li>{for_site(mark)}</li>" for mark in marks)
        parts.append(
            f'<section class="mech-panel"><h2><a href="{address}">{for_site(entry.title)}</a></h2>\n'
            f'<ul class="mech-masthead">{items}</ul>\n<p>{for_site(entry.about)}</p></section>'
        )
    if not entries:
        parts.append("There is no publication yet; `engine paper new --from SLUG` drafts one.")
    return page("Publications", "\n\n".join(parts), about=ABOUT, hide="toc")


def listed(pages: Sequence[PublicationPage]) -> dict[str, Content]:
    """The files of all publications, and of the page that lists them; none where there is no publication."""
    if not pages:
        return {}
    files: dict[str, Content] = {f"{FOLDER}/index.md": publications_page([made.entry for made in pages])}
    for made in pages:
        files |= made.files
    return files
