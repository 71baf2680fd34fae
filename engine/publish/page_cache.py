"""What a site that is built again and again keeps of its pages, so that an edit costs the page it touches.

mkdocs converts and indexes every page at every build. Here a page that says what it said keeps its HTML,
its contents and its anchors; its frame and navigation are made anew. Indexing is a fifth of an edit's time,
so the search goes on finding each page by what it said at the first build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from material.plugins.search.plugin import SearchIndex
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

MADE = ("content", "toc", "_title_from_render", "present_anchor_ids")


@dataclass
class PageCache:
    """By page: what it was last made from and what came of it, and its first entries in the search."""

    pages: dict[str, tuple[Any, dict[str, Any]]] = field(default_factory=dict)
    entries: dict[str, list[dict]] = field(default_factory=dict)
    listed: list[str] = field(default_factory=list)  # the theme's files

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Let a build take what is kept; one that fails keeps nothing, so that the next complains again."""
        from material.plugins.search.plugin import SearchIndex
        from mkdocs.structure.pages import Page

        render, add = self._render(Page.render), self._add(SearchIndex.add_entry_from_context)
        try:
            with patch.object(Page, "render", render), patch.object(SearchIndex, add.__name__, add):
                yield
        except BaseException:
            self.clear()
            raise

    def clear(self) -> None:
        """Forget all pages."""
        self.pages.clear()
        self.entries.clear()
        self.listed.clear()

    def keep_listing(self, loader: Any) -> None:
        """Let a theme's loader take the list of its files, thousands of icons, from the first build."""
        self.listed = self.listed or loader.list_templates()
        loader.list_templates = lambda: self.listed

    def _render(self, convert: Callable) -> Callable:
        """In place of `Page.render`. Links depend on which files there are."""

        def render(page: Page, config: Any, files: Files) -> None:
            place, source = page.file.src_uri, (page.markdown, *files.src_uris)
            if place not in self.pages or self.pages[place][0] != source:
                convert(page, config, files)
                links = {file.src_uri: anchors for file, anchors in (page.links_to_anchors or {}).items()}
                self.pages[place] = source, {name: getattr(page, name) for name in MADE} | {"links": links}
            made = self.pages[place][1]
            for name in MADE:
                setattr(page, name, made[name])
            page.links_to_anchors = {files.src_uris[uri]: anchors for uri, anchors in made["links"].items()}

        return render

    def _add(self, add: Callable) -> Callable:
        """In place of `SearchIndex.add_entry_from_context`."""

        def add_entry_from_context(index: SearchIndex, page: Page) -> None:
            if page.url in self.entries:
                index.entries += self.entries[page.url]
            else:
                before = len(index.entries)
                add(index, page)
                self.entries[page.url] = index.entries[before:]

        return add_entry_from_context
