"""A plugin by which mkdocs takes pages from a cache, in the process alone.

mkdocs converts and indexes every page at every build. Here a page that says what it said keeps its HTML,
its contents, its anchors and what the search finds; its frame and navigation are made anew. A page is
known by a hash over its text, the files that it may link to, mkdocs.yml and the versions of what converts
it, in this process and, through the files of a `JsonCache`, in the next.

While a site is served, indexing is a fifth of an edit's time, so there the search goes on finding each page
by what it said at the first build.

mkdocs.yml does not name it, and plain `mkdocs build` gives the same pages.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from material.plugins.search.plugin import SearchIndex, SearchPlugin
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import BasePlugin
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from mkdocs.structure.toc import AnchorLink, TableOfContents

from engine.publish.page_cache import MadePage, PageCache
from engine.publish.up_to_date import builder_versions

PLUGIN = "engine-page-cache"


def join(cache: PageCache, config: MkDocsConfig) -> None:
    """Let the build of this configuration take what is kept, and keep what it makes."""
    config.plugins[PLUGIN] = PageCachePlugin(cache)


class PageCachePlugin(BasePlugin):
    """Gives mkdocs pages and a search index that look into a cache first."""

    def __init__(self, cache: PageCache) -> None:
        self.cache = cache

    def on_files(self, files: Files, *, config: MkDocsConfig) -> Files:
        """mkdocs makes a page only for a file that has none."""
        for file in files.documentation_pages():
            file.page = CachedPage(self.cache, file, config)
        return files

    def on_nav(self, nav: Any, *, config: MkDocsConfig, files: Files) -> Any:
        """After the last file is added and before the first page is converted."""
        self.cache.surroundings = _surroundings(config, files)
        return nav

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
        meta = json.dumps(self.meta, default=repr)
        key = _hash(self.cache.surroundings, place, meta, self.markdown or "")
        if place not in pages or pages[place].key != key:
            pages[place] = self._from_disk(key) or self._anew(key, config, files)
        self._take(pages[place].made, files)

    def _from_disk(self, key: str) -> MadePage | None:
        made = self.cache.disk.get(key)
        return MadePage(key, made, kept=True) if made else None

    def _anew(self, key: str, config: MkDocsConfig, files: Files) -> MadePage:
        super().render(config, files)
        # The files are other objects in each build, so links are kept by the files' paths.
        links = {file.src_uri: anchors for file, anchors in (self.links_to_anchors or {}).items()}
        made = {
            "content": self.content,
            "toc": [_toc_to_json(anchor) for anchor in self.toc],
            "title": self._title_from_render,
            "anchors": sorted(self.present_anchor_ids or ()),
            "links": links,
        }
        return MadePage(key, made)

    def _take(self, made: dict[str, Any], files: Files) -> None:
        self.content = made["content"]
        self.toc = _toc_from_json(made["toc"])
        self._title_from_render = made["title"]
        self.present_anchor_ids = set(made["anchors"])
        self.links_to_anchors = {files.src_uris[uri]: anchors for uri, anchors in made["links"].items()}


class CachedSearchIndex(SearchIndex):
    """An index that takes a page's entries from the build that first made them."""

    def __init__(self, cache: PageCache, **config: Any) -> None:
        super().__init__(**config)
        self.cache = cache

    def add_entry_from_context(self, page: Page) -> None:
        first = self.cache.entries
        if page.url not in first:
            first[page.url] = self._entries(page)
        self.entries += first[page.url]

    def _entries(self, page: Page) -> list[dict]:
        """What the search knows of a page, made now where it was not made from the same text before."""
        cached = self.cache.pages[page.file.src_uri]
        if "search" not in cached.made:
            before = len(self.entries)
            super().add_entry_from_context(page)
            cached.made["search"] = self.entries[before:]
            del self.entries[before:]
            cached.kept = False
        return cached.made["search"]


def _surroundings(config: MkDocsConfig, files: Files) -> str:
    """A hash of what the HTML and the entries of every page depend on, beside its own text."""
    settings = [config.markdown_extensions, config.mdx_configs, config.site_url, config.use_directory_urls]
    yml = Path(config.config_file_path).read_text(encoding="utf-8")
    code = Path(__file__).read_text(encoding="utf-8")
    return _hash(json.dumps(settings, default=repr), yml, code, *builder_versions(), *files.src_uris)


def _hash(*texts: str) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def _toc_to_json(anchor: AnchorLink) -> list[Any]:
    return [anchor.title, anchor.id, anchor.level, [_toc_to_json(child) for child in anchor.children]]


def _toc_from_json(anchors: list[list[Any]]) -> TableOfContents:
    """The contents as mkdocs makes them, where the first of the uppermost headings is the active one."""
    found = TableOfContents([_anchor_from_json(*anchor) for anchor in anchors])
    for first in found.items[:1]:
        first.active = True  # pyright: ignore[reportAttributeAccessIssue]
    return found


def _anchor_from_json(title: str, id: str, level: int, children: list[list[Any]]) -> AnchorLink:
    anchor = AnchorLink(title, id, level)
    anchor.children = [_anchor_from_json(*child) for child in children]
    return anchor
