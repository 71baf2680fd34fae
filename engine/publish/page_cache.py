"""What a site that is built again and again keeps of its pages, so that an edit costs the page it touches.

mkdocs converts and indexes every page at every build. Here a page that says what it said keeps its HTML,
its contents and its anchors; its frame and navigation are made anew. Indexing is a fifth of an edit's time,
so the search goes on finding each page by what it said at the first build.

It is a plugin that lives in the process alone: mkdocs.yml does not name it, and plain `mkdocs build` gives
the same pages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from material.plugins.search.plugin import SearchIndex, SearchPlugin
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import BasePlugin
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

MADE = ("content", "toc", "_title_from_render", "present_anchor_ids")
PLUGIN = "engine-page-cache"


@dataclass
class PageCache:
    """By page: what it was last made from and what came of it, and its first entries in the search."""

    pages: dict[str, tuple[Any, dict[str, Any]]] = field(default_factory=dict)
    entries: dict[str, list[dict]] = field(default_factory=dict)
    listed: list[str] = field(default_factory=list)  # the theme's files

    def clear(self) -> None:
        """Forget all pages."""
        self.pages.clear()
        self.entries.clear()
        self.listed.clear()

    def join(self, config: MkDocsConfig) -> None:
        """Let the build of this configuration take what is kept, and keep what it makes."""
        config.plugins[PLUGIN] = PageCachePlugin(self)

    def keep_listing(self, loader: Any) -> None:
        """Let a theme's loader take the list of its files, thousands of icons, from the first build."""
        self.listed = self.listed or loader.list_templates()
        loader.list_templates = lambda: self.listed


class PageCachePlugin(BasePlugin):
    """Gives mkdocs pages and a search index that look into a cache first."""

    def __init__(self, cache: PageCache) -> None:
        self.cache = cache

    def on_files(self, files: Files, *, config: MkDocsConfig) -> Files:
        """mkdocs makes a page only for a file that has none."""
        for file in files.documentation_pages():
            file.page = CachedPage(self.cache, file, config)
        return files

    def on_env(self, env: Any, *, config: MkDocsConfig, files: Files) -> Any:
        """After every page is converted and before the first is indexed."""
        for plugin in config.plugins.values():
            if isinstance(plugin, SearchPlugin):
                plugin.search_index = CachedSearchIndex(self.cache, **plugin.config)
        return env


class CachedPage(Page):
    """A page that is converted only where its text, or the files that it may link to, changed."""

    def __init__(self, cache: PageCache, file: Any, config: MkDocsConfig) -> None:
        super().__init__(None, file, config)
        self.cache = cache

    def render(self, config: MkDocsConfig, files: Files) -> None:
        pages = self.cache.pages
        place = self.file.src_uri
        source = (self.markdown, *files.src_uris)
        if place not in pages or pages[place][0] != source:
            super().render(config, files)
            links = {file.src_uri: anchors for file, anchors in (self.links_to_anchors or {}).items()}
            pages[place] = source, {name: getattr(self, name) for name in MADE} | {"links": links}
        made = pages[place][1]
        for name in MADE:
            setattr(self, name, made[name])
        # The files are other objects in each build, so links are kept by the files' paths.
        self.links_to_anchors = {files.src_uris[uri]: anchors for uri, anchors in made["links"].items()}


class CachedSearchIndex(SearchIndex):
    """An index that takes a page's entries from the build that first made them."""

    def __init__(self, cache: PageCache, **config: Any) -> None:
        super().__init__(**config)
        self.cache = cache

    def add_entry_from_context(self, page: Page) -> None:
        entries = self.cache.entries
        if page.url in entries:
            self.entries += entries[page.url]
            return
        before = len(self.entries)
        super().add_entry_from_context(page)
        entries[page.url] = self.entries[before:]
