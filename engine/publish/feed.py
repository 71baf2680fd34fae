"""The site's Atom feed: each investigation with what it found, dated by when it was measured (RFC 4287).

An entry's date is that of its published numbers, never that of a build: building the site again tells no
reader of anything, publishing new numbers does.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import NAMESPACE_URL, uuid5

from engine.publish.site_settings import SiteSettings

FEED = "feed.xml"
ATOM = "http://www.w3.org/2005/Atom"
EPOCH = "1970-01-01T00:00:00Z"
"""The date of a feed in which nothing was ever measured: Atom wants one."""

# Characters that no XML document may hold, escaped or not.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class FeedEntry:
    """What the feed says of one page. `updated` is an ISO 8601 instant, `path` is relative to the site."""

    path: str
    title: str
    summary: str
    updated: str
    authors: Sequence[str] = ()
    keywords: Sequence[str] = ()
    content: str = ""  # more of it in words, a paragraph a line


def atom_feed(settings: SiteSettings, entries: Iterable[FeedEntry]) -> str:
    """The feed as XML, the newest entry first; entries without a date are of no publication."""
    dated = sorted((e for e in entries if e.updated), key=lambda e: (e.updated, e.path), reverse=True)
    ET.register_namespace("", ATOM)
    feed = ET.Element(_tag("feed"))
    _text(feed, "id", _id(settings, ""))
    _text(feed, "title", settings.name)
    _text(feed, "updated", _instant(dated[0].updated) if dated else EPOCH)
    ET.SubElement(feed, _tag("link"), rel="self", type="application/atom+xml", href=settings.address + FEED)
    ET.SubElement(feed, _tag("link"), rel="alternate", type="text/html", href=settings.address or "./")
    # Of an entry without authors of its own it is the feed's.
    _authors(feed, [author.name for author in settings.authors] or [settings.name])
    for entry in dated:
        _add(feed, settings, entry)
    ET.indent(feed)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(feed, encoding="unicode")}\n'


def _add(feed: ET.Element, settings: SiteSettings, entry: FeedEntry) -> None:
    added = ET.SubElement(feed, _tag("entry"))
    _text(added, "id", _id(settings, entry.path))
    _text(added, "title", entry.title)
    _text(added, "updated", _instant(entry.updated))
    ET.SubElement(added, _tag("link"), rel="alternate", type="text/html", href=settings.address + entry.path)
    _authors(added, entry.authors)
    for word in entry.keywords:
        ET.SubElement(added, _tag("category"), term=_clean(word))
    _text(added, "summary", entry.summary)
    if entry.content:
        _text(added, "content", entry.content).set("type", "text")


def _authors(parent: ET.Element, names: Iterable[str]) -> None:
    for name in names:
        _text(ET.SubElement(parent, _tag("author")), "name", name)


def _text(parent: ET.Element, name: str, text: str) -> ET.Element:
    element = ET.SubElement(parent, _tag(name))
    element.text = _clean(text)
    return element


def _tag(name: str) -> str:
    return f"{{{ATOM}}}{name}"


def _clean(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)


def _id(settings: SiteSettings, path: str) -> str:
    """The same for a page for ever, as long as the site keeps its address (or, without one, its name)."""
    return f"urn:uuid:{uuid5(NAMESPACE_URL, f'{settings.address or settings.name}#{path}')}"


def _instant(date: str) -> str:
    """An instant of RFC 3339, also from a day alone."""
    return date if "T" in date else f"{date}T00:00:00Z"
