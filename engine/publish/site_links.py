"""Every link of a built site followed, as far as it leads inside: files, pages, and the places on them.

mkdocs checks the links that Markdown knows. Here the pages are read as a browser gets them, so that links in
raw HTML, in cards and tables that the engine made, in popovers, in the theme's templates, in the feed, and
the anchors of numbers and claims are followed, too. What leads to other hosts is listed and never asked for.
"""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from engine.errors import nearest

FEED_LINK = re.compile(r"<(?:link|loc)\b[^>]*?(?:href=\"([^\"]*)\"[^>]*>|>([^<]*)<)")
STYLE_LINK = re.compile(r"url\(\s*['\"]?([^'\")]+?)['\"]?\s*\)")
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
REFRESH = re.compile(r"\s*\d+\s*[;,]\s*(?:url\s*=\s*)?['\"]?([^'\"]+)", re.IGNORECASE)

LINKING = {
    "a": ("href",),
    "area": ("href",),
    "link": ("href",),
    "img": ("src", "srcset"),
    "source": ("src", "srcset"),
    "script": ("src",),
    "iframe": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "audio": ("src",),
    "video": ("src", "poster"),
    "track": ("src",),
    "form": ("action",),
    "use": ("href", "xlink:href"),
    "image": ("href", "xlink:href"),
    "button": ("popovertarget",),
    "label": ("for",),
}
"""The attributes that name another place, by element; of any element also `data-spec`, a chart's data."""

OF_A_PLACE = ("popovertarget", "for", "aria-labelledby", "aria-describedby", "aria-controls")
"""Attributes that name an id of the same page, without #."""

META_ADDRESSES = ("og:url", "og:image", "twitter:image", "citation_public_url", "citation_fulltext_html_url")
META_ADDRESSES += ("citation_pdf_url",)

NOT_FOLLOWED = ("mailto", "tel", "data", "blob", "about", "javascript", "urn", "tag")
TOP = ("", "top")
"""Fragments that lead to the top of any page."""


@dataclass(frozen=True)
class PageLink:
    """A link as it stands on a page: `line` of the file, the attribute, and what it says."""

    page: str  # path of the file, relative to the site
    line: int
    attribute: str
    target: str


@dataclass(frozen=True)
class BrokenLink:
    """A link that leads nowhere, and why; `near` are places that may be meant."""

    link: PageLink
    why: str
    near: tuple[str, ...] = ()


@dataclass(frozen=True)
class SiteLinks:
    """A site's links: how many lead inside, which of them nowhere, and which lead to other hosts."""

    followed: int
    broken: list[BrokenLink]
    external: dict[str, list[PageLink]]  # by address


def follow_links(site: Path, site_url: str = "") -> SiteLinks:
    """Follow every link of the site in a folder; addresses that begin with its `site_url` lead inside."""
    return _Site(site, site_url).follow()


@dataclass
class _PageReader(HTMLParser):
    """The links and the ids of one page."""

    name: str
    links: list[PageLink] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    base: str = ""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if said.get("id"):
            self.ids.add(said["id"])
        if tag == "a" and said.get("name"):
            self.ids.add(said["name"])
        if tag == "base" and said.get("href"):
            self.base = said["href"]
        if tag == "meta":
            self._meta(said)
        for attribute in (*LINKING.get(tag, ()), "data-spec", *OF_A_PLACE[2:]):
            if attribute in said:
                self._add(attribute, said[attribute])
        if "style" in said:
            self._style(said["style"])

    def _meta(self, said: Mapping[str, str]) -> None:
        name = said.get("property") or said.get("name") or ""
        content = said.get("content", "")
        if name in META_ADDRESSES and content:
            self._add(name, content)
        if said.get("http-equiv", "").lower() == "refresh" and (found := REFRESH.match(content)):
            self._add("http-equiv", found[1])

    def _style(self, text: str) -> None:
        for target in STYLE_LINK.findall(text):
            self._add("style", target)

    def _add(self, attribute: str, value: str) -> None:
        line = self.getpos()[0]
        for target in _targets(attribute, value):
            self.links.append(PageLink(self.name, line, attribute, target))


def _targets(attribute: str, value: str) -> list[str]:
    """The single links in an attribute; ids of the same page as fragments."""
    if attribute in OF_A_PLACE:
        return [f"#{id}" for id in value.split()]
    if attribute == "srcset":
        return [candidate.split()[0] for candidate in value.split(",") if candidate.strip()]
    return [value.strip()]


@dataclass
class _Site:
    folder: Path
    site_url: str

    @cached_property
    def files(self) -> set[str]:
        """Every file of the site, by path relative to it."""
        return {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()}

    @cached_property
    def pages(self) -> dict[str, _PageReader]:
        found: dict[str, _PageReader] = {}
        for name in sorted(self.files):
            if name.endswith(".html"):
                found[name] = page = _PageReader(name)
                page.feed((self.folder / name).read_text(encoding="utf-8", errors="replace"))
                page.close()
        return found

    def follow(self) -> SiteLinks:
        broken: list[BrokenLink] = []
        external: dict[str, list[PageLink]] = {}
        followed = 0
        for link in self._links():
            address = self._inside(link)
            if address is None:
                if urlsplit(link.target).scheme not in NOT_FOLLOWED:
                    external.setdefault(link.target, []).append(link)
                continue
            followed += 1
            if fault := self._fault(link, *address):
                broken.append(fault)
        return SiteLinks(followed, broken, dict(sorted(external.items())))

    def _links(self) -> Iterator[PageLink]:
        for page in self.pages.values():
            yield from page.links
        for name in sorted(self.files):
            text_links = {".css": _style_links, ".xml": _feed_links}.get(Path(name).suffix)
            if text_links:
                text = (self.folder / name).read_text(encoding="utf-8", errors="replace")
                yield from (PageLink(name, line, what, to) for line, what, to in text_links(text))

    def _inside(self, link: PageLink) -> tuple[str, str] | None:
        """(path, fragment) of what a link leads to on this site; None where it leads elsewhere."""
        target = link.target
        if self.site_url and target.startswith(self.site_url):
            # As if it were asked of the site's top.
            parts = urlsplit(target[len(self.site_url) :])
            return unquote(parts.path), unquote(parts.fragment)
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            return None
        page = self.pages.get(link.page)
        below = urljoin(_address(link.page), page.base) if page and page.base else _address(link.page)
        path = link.page if not parts.path and not (page and page.base) else unquote(parts.path)
        whole = path if path == link.page else posixpath.join(posixpath.dirname(below), path)
        # A path from the host's top begins with that of the site, where the site has one there.
        whole = whole.removeprefix(urlsplit(self.site_url).path) if whole.startswith("/") else whole
        kept = "/" if whole.endswith("/") else ""
        return posixpath.normpath(whole.lstrip("/")) + kept, unquote(parts.fragment)

    def _fault(self, link: PageLink, path: str, fragment: str) -> BrokenLink | None:
        if path.startswith("../"):
            return BrokenLink(link, "it leads out of the site")
        name = self._file(path)
        if name is None:
            return BrokenLink(link, f"there is no {path}", self._near_files(path))
        page = self.pages.get(name)
        if page is None or fragment in TOP or fragment in page.ids or _is_the_themes(fragment):
            return None
        where = "here" if name == link.page else f"in {name}"
        return BrokenLink(link, f"there is no #{fragment} {where}", _near_ids(fragment, page.ids))

    def _file(self, path: str) -> str | None:
        """The file that a server gives for a path; None where it has none."""
        bare = path.strip("/")
        bare = "" if bare == "." else bare
        for name in (bare, posixpath.join(bare, "index.html") if bare else "index.html"):
            if name in self.files and not (path.endswith("/") and name == bare):
                return name
        return None

    def _near_files(self, path: str) -> tuple[str, ...]:
        known = {_address(name) or "./" for name in self.files if not name.startswith("assets/")}
        return tuple(nearest(path, sorted(known)))


def _near_ids(fragment: str, ids: Iterable[str]) -> tuple[str, ...]:
    # Ids that begin with two underscores are the theme's own.
    known = sorted(id for id in ids if not id.startswith("__"))
    return tuple(f"#{near}" for near in nearest(fragment, known))


def _is_the_themes(fragment: str) -> bool:
    """Whether a script reads it, and no place of the page is meant: `#:~:text=`, `#__search`."""
    return fragment.startswith((":~:", "__"))


def _address(name: str) -> str:
    """A page's address from its file: `guide/` of `guide/index.html`."""
    return name.removesuffix("index.html")


def _style_links(text: str) -> Iterator[tuple[int, str, str]]:
    bare = COMMENT.sub(lambda found: "\n" * found[0].count("\n"), text)
    for found in STYLE_LINK.finditer(bare):
        yield bare.count("\n", 0, found.start()) + 1, "url", found[1].strip()


def _feed_links(text: str) -> Iterator[tuple[int, str, str]]:
    for found in FEED_LINK.finditer(text):
        target = html.unescape(found[1] or found[2] or "").strip()
        yield text.count("\n", 0, found.start()) + 1, "link", target
