"""The order of the site's pages, each under its title: what most readers come for stands first.

mkdocs orders folders and files by their names, and calls a folder by its own. The engine writes the order
that is meant here from what lies under site/, and mkdocs.yml takes it in by `INHERIT`, so that plain mkdocs
gives the same pages. A page that nothing here names comes last. None is left out but those that are one of
many of a kind, which a page of their own lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from engine.errors import SiteError

FILE = ".engine/navigation.yml"
"""Where it is written; `INHERIT: .engine/navigation.yml` in mkdocs.yml."""

HOME = "index.md"
SECTIONS: dict[str, tuple[str, ...]] = {
    "Investigations": ("investigations", "published-statements", "replication"),
    "Publications": ("publications",),
    "Demo": ("demo.md", "demo"),
    "Getting started": ("getting-started.md", "guide"),
    "How to read": ("reading-the-evidence",),
    "Reference": (
        "reference/commands.md",
        "reference/spec.md",
        "reference/families/",
        "reference/instruments.md",
        "guide/text-to-run-over.md",
        "scale.md",
        "reference",
    ),
}
"""The tabs by their titles, and the pages and folders under each in their order.

A folder that is written with a slash is a section of its tab; of another the pages stand in the tab itself.
"""

LISTED_BY_INDEX = ("replication",)
"""Folders of which the navigation has the index alone. It lists the others, as does each report its own: an
entry for each investigation would be in the sidebar of every page."""

NO_PAGES = ("home.md", "overrides", "stylesheets", "javascripts", "schema")
"""What lies under site/ and is no page: the home page before it is filled in, and what serves pages."""

_TITLE = re.compile(r"\A---\n(?:.*\n)*?title:[ \t]*(.+)\n")
_FRONT_MATTER_BYTES = 2000

Item = str | dict[str, list[Any]]
"""A page by its path, or a section by its title."""


def write_navigation(root: Path) -> None:
    """Write the navigation of the pages that lie under site/ now. SiteError where it cannot be written."""
    written = {
        "nav": navigation(root / "site"),
        # Without it mkdocs would warn of each of them.
        "not_in_nav": "".join(f"/{folder}/*.md\n" for folder in LISTED_BY_INDEX),
    }
    text = yaml.safe_dump(written, sort_keys=False, allow_unicode=True)
    path = root / FILE
    try:
        if not (path.is_file() and path.read_text(encoding="utf-8") == text):
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        problem = "the order of the site's pages cannot be written"
        raise SiteError(problem, where=str(path), seen=str(error)) from error


def navigation(site: Path) -> list[Item]:
    """Every page under `site`, home first, then the sections, then what none of them has."""
    named = {place.rstrip("/") for places in SECTIONS.values() for place in places}
    items: list[Item] = [HOME] if (site / HOME).is_file() else []
    for title, places in SECTIONS.items():
        inside: list[Item] = []
        for place in places:
            # A page that another section or an earlier place names stands there alone.
            inside += _at(site, place, named - {place.rstrip("/")})
        if inside:
            items.append({title: inside})
    return items + _folder(site, site, named | {HOME, *NO_PAGES})


def _at(site: Path, place: str, elsewhere: Iterable[str]) -> list[Item]:
    """The page of this name, or what a folder of this name holds."""
    if place.endswith(".md"):
        return [place] if (site / place).is_file() else []
    if not (site / place).is_dir():
        return []
    folder = site / place
    inside = _section if place.endswith("/") else _folder
    return list(inside(site, folder, elsewhere))


def _folder(site: Path, folder: Path, elsewhere: Iterable[str]) -> list[Item]:
    """The pages and folders in a folder by name, its index first, less those that stand `elsewhere`."""
    if folder.relative_to(site).as_posix() in LISTED_BY_INDEX:
        index = folder / "index.md"
        return [index.relative_to(site).as_posix()] if index.is_file() else []
    items: list[Item] = []
    for path in sorted(folder.iterdir(), key=lambda path: (path.name != "index.md", path.name)):
        place = path.relative_to(site).as_posix()
        if place in elsewhere or path.name.startswith("."):
            continue
        if path.is_dir():
            items += _section(site, path, elsewhere)
        elif path.suffix == ".md":
            items.append(place)
    return items


def _section(site: Path, folder: Path, elsewhere: Iterable[str]) -> Sequence[Item]:
    """A folder as a section under the title of its index; one with a single page is that page."""
    inside = _folder(site, folder, elsewhere)
    if len(inside) < 2:
        return inside
    return [{_title(folder): inside}]


def _title(folder: Path) -> str:
    """The title of a folder's index, or else the folder's name in words."""
    index = folder / "index.md"
    if index.is_file():
        with index.open(encoding="utf-8", errors="replace") as opened:
            found = _TITLE.match(opened.read(_FRONT_MATTER_BYTES))
        if found:
            return str(yaml.safe_load(found[1]))
    return folder.name.replace("-", " ").replace("_", " ").capitalize()
