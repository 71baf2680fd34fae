"""The feed as its readers take it: sound XML, every element that RFC 4287 wants, dates of measurement."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

from engine.publish.feed import EPOCH, FeedEntry, atom_feed
from engine.publish.site_settings import SiteSettings
from engine.spec.models import Contributor

ATOM = "{http://www.w3.org/2005/Atom}"
SETTINGS = SiteSettings(
    name="A <site> & more", site_url="https://example.org/", authors=(Contributor(name="Somebody"),)
)
FIRST = FeedEntry("investigations/a/", "A?", "Found a.", "2026-01-31T12:40:09Z", ["Ada"], ["facts"], "more")
SECOND = FeedEntry("investigations/b/", "B?", "Found b.", "2026-02-01")
NEVER = FeedEntry("investigations/c/", "C?", "", "")
NASTY = "</title><script>alert(1)</script> ]]> & \x00\x0b\ufffe\ud800 🙂"


def read(text: str) -> ET.Element:
    return ET.fromstring(text.encode("utf-8", "strict"))


def texts(parent: ET.Element, name: str) -> list[str | None]:
    return [found.text for found in parent.findall(f"{ATOM}{name}")]


def test_entries_come_with_the_newest_first_and_only_what_was_measured() -> None:
    feed = read(atom_feed(SETTINGS, [FIRST, SECOND, NEVER]))
    entries = feed.findall(f"{ATOM}entry")
    assert [texts(entry, "title") for entry in entries] == [["B?"], ["A?"]]
    assert texts(feed, "updated") == ["2026-02-01T00:00:00Z"]
    assert texts(entries[1], "updated") == ["2026-01-31T12:40:09Z"]
    assert texts(entries[1], "summary") == ["Found a."]
    assert [link.get("href") for link in entries[1].findall(f"{ATOM}link")] == [
        "https://example.org/investigations/a/"
    ]


def test_everything_that_atom_requires_is_there_once() -> None:
    feed = read(atom_feed(SETTINGS, [FIRST, SECOND]))
    for element in [feed, *feed.findall(f"{ATOM}entry")]:
        for name in ("id", "title", "updated"):
            (text,) = texts(element, name)
            assert text
        (updated,) = texts(element, "updated")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(updated))
        (id,) = texts(element, "id")
        assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", str(id))
    # The feed's author is that of each entry without one.
    assert texts(feed.find(f"{ATOM}author") or feed, "name") == ["Somebody"]
    assert len({texts(element, "id")[0] for element in feed.iter() if element.tag in (f"{ATOM}entry",)}) == 2
    relations = {link.get("rel"): link.get("href") for link in feed.findall(f"{ATOM}link")}
    assert relations == {"self": "https://example.org/feed.xml", "alternate": "https://example.org/"}


def test_the_id_of_an_entry_stays_when_its_findings_change() -> None:
    later = replace(FIRST, title="A!", summary="Found otherwise.", updated="2027-01-01T00:00:00Z")
    before, after = (
        read(atom_feed(SETTINGS, [entry])).find(f"{ATOM}entry/{ATOM}id") for entry in (FIRST, later)
    )
    assert before is not None and after is not None and before.text == after.text


def test_building_again_changes_nothing() -> None:
    assert atom_feed(SETTINGS, [FIRST, SECOND]) == atom_feed(SETTINGS, [SECOND, FIRST])


def test_whatever_a_title_holds_is_text() -> None:
    nasty = FeedEntry("investigations/a/", NASTY, NASTY, "2026-01-31", [NASTY], [NASTY], NASTY)
    feed = read(atom_feed(replace(SETTINGS, name=NASTY), [nasty]))
    expected = re.sub("[\x00\x0b\ufffe\ud800]", "\ufffd", NASTY)
    assert texts(feed, "title") == [expected]
    assert texts(feed.findall(f"{ATOM}entry")[0], "content") == [expected]
    assert not [element for element in feed.iter() if element.tag.endswith("script")]


def test_an_empty_feed_is_a_feed() -> None:
    feed = read(atom_feed(SiteSettings(), [NEVER]))
    assert texts(feed, "updated") == [EPOCH] and not feed.findall(f"{ATOM}entry")
    assert [link.get("href") for link in feed.findall(f"{ATOM}link")] == ["feed.xml", "./"]
