"""Pages as they were made before, so that a build costs what changed and an edit the page it touches.

Importing this loads no mkdocs: a build in which nothing changed does without it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.publish.previous_site import PreviousSite
from engine.report.json_cache import JsonCache


@dataclass
class MadePage:
    """What came of a page's text, as JSON, and the hash of all that it was made from.

    `made` is what other pages and the search know of it. `body`, much larger, is what its own frame is
    put around (HTML and front matter); it is read from the disk where a frame is made anew.
    """

    key: str
    made: dict[str, Any]
    body: dict[str, Any] | None = None
    kept: bool = False  # it lies on disk as it is here


@dataclass
class PageCache:
    """By page: what it was last made from and what came of it, and its first entries in the search."""

    pages: dict[str, MadePage] = field(default_factory=dict)
    entries: dict[str, list[dict]] = field(default_factory=dict)
    listed: list[str] = field(default_factory=list)  # the theme's files
    disk: JsonCache = field(default_factory=JsonCache)
    surroundings: str = ""  # a hash of what all pages of a build have in common
    previous: PreviousSite = field(default_factory=PreviousSite)  # whose pages and assets may be taken over

    def clear(self) -> None:
        """Forget all pages of this process."""
        self.pages.clear()
        self.entries.clear()
        self.listed.clear()

    def keep_listing(self, loader: Any) -> None:
        """Let a theme's loader take the list of its files, thousands of icons, from the first build."""
        self.listed = self.listed or loader.list_templates()
        loader.list_templates = lambda: self.listed

    def save(self) -> None:
        """Keep on disk what was made; only after a build without complaints, so that none is lost."""
        for page in self.pages.values():
            if not page.kept:
                if page.body is not None:
                    self.disk.put(body_key(page.key), page.body)
                self.disk.put(page.key, page.made)
                page.kept = True
            page.body = None
        self.disk.prune()


def body_key(key: str) -> str:
    """Where the larger part of a page lies."""
    return f"{key}-body"
