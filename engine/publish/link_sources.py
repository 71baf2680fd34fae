"""Where a person wrote the link that a built page has: file and line, as far as it can be told.

A page is made of a text under site/, investigations/ or publications/. What is found in none of them the
engine or the theme wrote; then the built page is named.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from engine.publish.files import generated
from engine.publish.site_links import PageLink

WRITTEN_LINK = re.compile(
    r"\]\(\s*<?([^)\s>]+)|\]:\s*<?([^\s>]+)|\b(?:href|src|srcset|data|action|poster)\s*=\s*[\"']?([^\"'\s>]+)"
)
TEXTS = ("report.md", "paper.qmd", "thread.md", "spec.yaml", "references.bib")
"""What lies in the folder of an investigation or publication and has links in it."""

HOME = "home.md"


def written_at(root: Path, link: PageLink) -> str:
    """`site/guide/models.md:12`, or `public/guide/models/index.html:80` where nobody wrote it by hand."""
    for path in _texts(root, link.page):
        for line, written in _links_in(path):
            if _is_same(written, link.target):
                return f"{path.relative_to(root).as_posix()}:{line}"
    return f"public/{link.page}:{link.line}"


def _texts(root: Path, page: str) -> Iterator[Path]:
    """The hand-written texts that a built page may be made of."""
    address = page.removesuffix("index.html").removesuffix(".html").strip("/")
    room, _, slug = address.partition("/")
    if room in ("investigations", "publications") and slug:
        folder = root / room / slug.partition("/")[0]
        yield from (folder / name for name in TEXTS if (folder / name).is_file())
    made = generated(root / "site")
    names = [f"{address}.md", f"{address}/index.md"] if address else ["index.md", HOME]
    yield from (root / "site" / n for n in names if n not in made and (root / "site" / n).is_file())


@cache
def _links_in(path: Path) -> tuple[tuple[int, str], ...]:
    """(line, target) of every link in a text, in its order."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return tuple(
        (number, next(filter(None, found)))
        for number, line in enumerate(lines, start=1)
        for found in WRITTEN_LINK.findall(line)
    )


def _is_same(written: str, built: str) -> bool:
    """Whether a link of the text became this one: mkdocs writes another path for a page that it found."""
    if written == built:
        return True
    before = urlsplit(written)
    after = urlsplit(built)
    if unquote(before.fragment) != unquote(after.fragment) or not before.path.endswith(".md"):
        return False
    return _stem(before.path.removesuffix(".md")) == _stem(after.path)


def _stem(path: str) -> str:
    """`models` of `../models/`, `models.md` or `models/index.html`."""
    bare = re.sub(r"(^|/)index(\.html)?$", "", path.strip("/"))
    return posixpath.basename(unquote(bare))
