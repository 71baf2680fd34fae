"""A plugin by which mkdocs takes pages from earlier builds, in the process alone.

mkdocs converts, frames and indexes every page at every build, and copies every asset. Here

1. a page that says what it said keeps its HTML, its contents, its anchors and what the search finds. It is
   known by a hash over its file, mkdocs.yml with the variables that it names, the code and versions of what
   converts it, and counts only while each file that it asked mkdocs for is there or missing as it was;
2. a page whose frame would come out the same, too, is taken over from the last site as a file. What a frame
   shows beside the page is in the hash that it is known by: the theme's templates, those of the project in
   their place, and the navigation with the titles and front matter of all pages;
3. so is an asset that did not change.

Where many pages are to be converted, as in a first build, other processes convert some of them.

While a site is served, indexing is a fifth of an edit's time, so there the search goes on finding each page
by what it said at the first build.

mkdocs.yml does not name it, and plain `mkdocs build` gives the same pages. Where pages may depend on what is
not in those hashes (foreign plugins and hooks, extensions that read files, a `nav` by hand), it is left out;
so is step 2 where a template of the project looks at other pages: then mkdocs builds as it always does.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from material.plugins.search.plugin import SearchIndex, SearchPlugin
from mkdocs.config import load_config
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import BasePlugin
from mkdocs.structure.files import Files, InclusionLevel, get_files
from mkdocs.structure.nav import get_navigation
from mkdocs.structure.pages import Page
from mkdocs.structure.toc import AnchorLink, TableOfContents

from engine.publish.markdown import HEAD_TAGS, POPOVERS
from engine.publish.navigation import FILE as NAVIGATION
from engine.publish.page_cache import MadePage, PageCache, body_key
from engine.publish.previous_site import PreviousSite
from engine.publish.up_to_date import file_state, settings_hash
from engine.report.grammar import add_template
from engine.report.process_share import Processes, ProcessShare

PLUGIN = "engine-page-cache"
TAKEN_OVER = "engine-taken-over.html"
"""An empty template: mkdocs writes no page that comes out empty."""

OWN_FRAME = (POPOVERS, HEAD_TAGS, "description")
"""Front matter that no frame but the page's own shows; it is in the hash of the page."""

PAGES_BEFORE_SHARING = 8
"""An edit changes its own page and the few that list it."""

PAGES_WORTH_A_PROCESS = 12
"""Fewer are converted before another process has loaded mkdocs and the theme."""

_MARKDOWN = (
    "abbr admonition attr_list codehilite def_list extra fenced_code footnotes legacy_attrs legacy_em "
    "md_in_html meta nl2br sane_lists smarty tables toc wikilinks"
)
_PYMDOWNX = (
    "arithmatex betterem caret critic details escapeall extra highlight inlinehilite keys magiclink mark "
    "progressbar smartsymbols striphtml superfences tabbed tasklist tilde"
)
# Extensions of Markdown that read a page's text and their own settings, and no other file.
_READ_TEXT_ALONE = frozenset(
    [
        *_MARKDOWN.split(),
        *(f"markdown.extensions.{name}" for name in _MARKDOWN.split()),
        *(f"pymdownx.{name}" for name in _PYMDOWNX.split()),
    ]
)
_OWN_NAVIGATION = re.compile(rf"^INHERIT: {re.escape(NAVIGATION)}$", re.MULTILINE)
_NAVIGATION = re.compile(r"^nav\s*:", re.MULTILINE)
_JINJA = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)
# By these a template reaches more of other pages than their place, title and front matter, or the time.
_OF_OTHER_PAGES = re.compile(
    r"\b(pages|nav|children|parent|ancestors|previous_page|next_page|homepage|build_date_utc|include|import)\b"
)


def join(
    cache: PageCache, config: MkDocsConfig, closing: ExitStack, processes: Processes | None = None
) -> None:
    """Let the build of this configuration take what is kept, and keep what it makes, where that is safe.

    Many pages are shared among `processes`, until `closing`.
    """
    if _is_known(config):
        conversion = SharedConversion(config, closing, processes or Processes(jobs=1))
        config.plugins[PLUGIN] = PageCachePlugin(cache, conversion)


def _is_known(config: MkDocsConfig) -> bool:
    """Whether nothing takes part in the build that could read what the hashes of pages do not cover."""
    yml = Path(config.config_file_path).read_text(encoding="utf-8")
    # What the engine itself writes there holds the navigation alone, without titles of pages.
    own_navigation = _OWN_NAVIGATION.search(yml) is not None and not _NAVIGATION.search(yml)
    yml = _OWN_NAVIGATION.sub("", yml)
    # Another file's settings, or functions of other modules.
    elsewhere = re.search(r"^\s*INHERIT\s*:|!!python/(?!name:(pymdownx|material)\.)", yml, re.MULTILINE)
    foreign = [plugin for plugin in config.plugins.values() if type(plugin) is not SearchPlugin]
    extensions = set(config.markdown_extensions) <= _READ_TEXT_ALONE
    # mkdocs gives a page its title from `nav` only where it makes the page itself.
    titled = config.nav and not own_navigation
    return extensions and not (elsewhere or foreign or config.hooks or titled or config.extra_templates)


class PageCachePlugin(BasePlugin):
    """Gives mkdocs pages, assets and a search index that look into a cache first."""

    def __init__(self, cache: PageCache, shared: SharedConversion) -> None:
        self.cache = cache
        self.shared = shared

    def on_files(self, files: Files, *, config: MkDocsConfig) -> Files:
        """mkdocs makes a page only for a file that has none."""
        self.cache.surroundings = settings_hash(Path(config.config_file_path))
        known = KnownFiles(files, self.cache.previous)
        for file in known.documentation_pages():
            file.page = CachedPage(self.cache, known, file, config, self.shared)
            self.shared.pages.append(file.page)
        return known

    def on_env(self, env: Any, *, config: MkDocsConfig, files: Files) -> Any:
        """After every page is converted, before the first is framed and indexed."""
        self.shared.closing.close()
        for plugin in config.plugins.values():
            if isinstance(plugin, SearchPlugin):
                plugin.search_index = CachedSearchIndex(self.cache, **plugin.config)
        pages = [file.page for file in files.documentation_pages() if isinstance(file.page, CachedPage)]
        frame = _frame_hash(self.cache.surroundings, config, pages) if _frames_are_known(config) else ""
        for page in pages:
            if not (frame and page.is_taken_over(frame)):
                page.complete(config, files)
        add_template(env, TAKEN_OVER, "")
        return env


class KnownFiles(Files):
    """The files of the site: which of them a page asks for is noted, and unchanged assets are taken over."""

    def __init__(self, files: Iterable[Any], previous: PreviousSite) -> None:
        super().__init__(files)
        self.previous = previous
        self.asked: dict[str, bool] = {}

    def get_file_from_path(self, path: str) -> Any:
        file = super().get_file_from_path(path)
        self.asked[path] = _is_published(file)
        return file

    def are_as(self, asked: dict[str, bool]) -> bool:
        """Whether each of these files is there, or missing, as it was."""
        return all(
            _is_published(super(KnownFiles, self).get_file_from_path(p)) == there
            for p, there in asked.items()
        )

    def copy_static_files(self, dirty: bool = False, *, inclusion: Any = InclusionLevel.is_included) -> None:
        for file in self:
            if file.is_documentation_page() or not inclusion(file.inclusion):
                continue
            # A file without a path lies in memory.
            made_from = self.previous.source_hash(file.abs_src_path) if file.abs_src_path else ""
            if not (made_from and self.previous.take(file.dest_uri, made_from, Path(file.abs_dest_path))):
                file.copy_file(dirty)


def _is_published(file: Any) -> bool:
    return file is not None and not file.inclusion.is_excluded()


class CachedPage(Page):
    """A page that is converted only where its file, or one that it asked for, changed."""

    def __init__(
        self,
        cache: PageCache,
        files: KnownFiles,
        file: Any,
        config: MkDocsConfig,
        shared: SharedConversion | None = None,
    ) -> None:
        super().__init__(None, file, config)
        self.cache = cache
        self.files = files
        self.shared = shared
        # From an earlier build, or from another process; then `content` waits for `complete`.
        self.known: MadePage | None = None

    def read_source(self, config: MkDocsConfig) -> None:
        self.key = self._key()
        self.known = self._known(self.key) or self._converted_elsewhere()
        if self.known is None:
            super().read_source(config)
            return
        self.cache.pages[self.file.src_uri] = self.known
        self.meta = dict(self.known.made["meta"])
        # Some text: for mkdocs, a page that has none was not read yet.
        self.markdown = ""

    def render(self, config: MkDocsConfig, files: Files) -> None:
        if self.known is None:
            self._convert(config, files)
        else:
            self._take(self.known.made)

    def is_taken_over(self, frame: str) -> bool:
        """Whether the last site's page serves, and lies in the new one; `frame` is a hash of its frame."""
        made = self.cache.pages[self.file.src_uri].made
        made_from = _hash(frame, self.key, json.dumps(made["asked"], sort_keys=True))
        name = self.file.dest_uri
        self.cache.previous.made_from[name] = made_from
        # What was never indexed, while a site was served, is indexed by its text, which waits for `complete`.
        if self.known is not None and "search" not in made:
            return False
        if not self.cache.previous.take(name, made_from, Path(self.file.abs_dest_path)):
            return False
        self.meta["template"] = TAKEN_OVER
        return True

    def complete(self, config: MkDocsConfig, files: Files) -> None:
        """Fetch what the page's own frame is put around, which takes more time than all else of it."""
        if self.known is None:
            return
        body = self.known.body or self.cache.disk.get(body_key(self.key))
        if body is None:
            super().read_source(config)
            self._convert(config, files)
        else:
            self.content = body["content"]
            self.meta = body["meta"]

    def _key(self) -> str:
        content = hashlib.sha256(self.file.content_bytes).hexdigest()
        return _hash(self.cache.surroundings, self.file.src_uri, content)

    def is_known(self) -> bool:
        """Whether it need not be converted, as it lies there now."""
        return self._known(self._key()) is not None

    def _known(self, key: str) -> MadePage | None:
        """What came of the page before, if it is certain that the same would come of it now."""
        known = self.cache.pages.get(self.file.src_uri)
        if known is None or known.key != key:
            made = self.cache.disk.get(key)
            known = MadePage(key, made, kept=True) if made else None
        return known if known and self.files.are_as(known.made["asked"]) else None

    def _converted_elsewhere(self) -> MadePage | None:
        made = self.shared.take(self) if self.shared else None
        # Somebody may have edited the file since the other process read it.
        return made if made and made.key == self.key else None

    def _convert(self, config: MkDocsConfig, files: Files) -> None:
        self.files.asked = {}
        super().render(config, files)
        # The files are other objects in each build, so links are kept by the files' paths.
        links = {file.src_uri: anchors for file, anchors in (self.links_to_anchors or {}).items()}
        made = {
            "meta": {name: value for name, value in self.meta.items() if name != POPOVERS},
            "toc": [_toc_to_json(anchor) for anchor in self.toc],
            "title": self._title_from_render,
            "anchors": sorted(self.present_anchor_ids or ()),
            "links": links,
            "asked": self.files.asked,
        }
        body = {"content": self.content, "meta": dict(self.meta)}
        # What is no JSON, such as a date in the front matter, would come back as something else.
        is_json = _is_json(made) and _is_json(body)
        self.cache.pages[self.file.src_uri] = MadePage(
            self.key if is_json else "", made, body, kept=not is_json
        )

    def _take(self, made: dict[str, Any]) -> None:
        self.content = ""
        self.toc = _toc_from_json(made["toc"])
        self._title_from_render = made["title"]
        self.present_anchor_ids = set(made["anchors"])
        links = made["links"].items()
        self.links_to_anchors = {self.files.src_uris[uri]: anchors for uri, anchors in links}


class CachedSearchIndex(SearchIndex):
    """An index that takes a page's entries from the build that first made them."""

    def __init__(self, cache: PageCache, **config: Any) -> None:
        super().__init__(**config)
        self.cache = cache

    def add_entry_from_context(self, page: Page) -> None:
        first = self.cache.entries
        if page.url not in first:
            first[page.url] = self.entries_of(page)
        self.entries += first[page.url]

    def entries_of(self, page: Page) -> list[dict]:
        """What the search knows of a page, made now where it was not made from the same text before."""
        cached = self.cache.pages[page.file.src_uri]
        if "search" not in cached.made:
            before = len(self.entries)
            super().add_entry_from_context(page)
            cached.made["search"] = self.entries[before:]
            del self.entries[before:]
            cached.kept = cached.kept and not cached.key
        return cached.made["search"]


@dataclass
class SharedConversion:
    """Pages that other processes convert, from the last one, while mkdocs converts from the first.

    It begins once so many were converted here that this is no build after an edit.
    """

    config: MkDocsConfig
    closing: ExitStack
    processes: Processes
    pages: list[CachedPage] = field(default_factory=list)
    converted: int = 0
    others: ProcessShare = field(default_factory=ProcessShare)

    def take(self, page: CachedPage) -> MadePage | None:
        """What another process made of a page that is not known; None where it is to be converted here."""
        made = self.others.take(page.file.src_uri)
        if made is None:
            self.converted += 1
            if self.converted == PAGES_BEFORE_SHARING:
                self._begin(self.pages[self.pages.index(page) + 1 :])
        return made

    def _begin(self, rest: Iterable[CachedPage]) -> None:
        names = [page.file.src_uri for page in rest if not page.is_known()]
        where = self.config.config_file_path, self.config.site_dir
        pieces = {name: (*where, name) for name in names}
        share = self.processes.share(converted_alone, pieces, PAGES_WORTH_A_PROCESS)
        self.others = self.closing.enter_context(share)


def converted_alone(config_file: str, out: str, name: str) -> MadePage | None:
    """A page converted in another process than mkdocs builds in, by its path under site/.

    None where there is something to complain of, which is told where mkdocs builds.
    """
    try:
        site = _opened_site(config_file, out)
        page = site.pages[name]
        site.complaints.clear()
        page.read_source(site.config)
        page.render(site.config, page.files)
        # Among what is kept of the page from here on.
        if site.index:
            site.index.entries_of(page)
    except Exception:  # themes and extensions raise errors of their own
        return None
    made = page.cache.pages.pop(name)
    return made if made.key and not site.complaints else None


@dataclass(frozen=True)
class OpenedSite:
    """A site as mkdocs sees it before it converts the first page."""

    config: MkDocsConfig
    pages: Mapping[str, CachedPage]
    index: CachedSearchIndex | None  # where the site has a search
    complaints: list[str]


@cache
def _opened_site(config_file: str, out: str) -> OpenedSite:
    """What `mkdocs.commands.build.build` does up to the first page, as far as pages depend on it."""
    config = load_config(config_file, site_dir=out)
    config = config.plugins.on_config(config)
    files = get_files(config)
    files.add_files_from_theme(config.theme.get_env(), config)
    known = KnownFiles(files, PreviousSite())
    pages = PageCache(surroundings=settings_hash(Path(config_file)))
    by_name: dict[str, CachedPage] = {}
    for file in known.documentation_pages():
        by_name[file.src_uri] = CachedPage(pages, known, file, config)
        file.page = by_name[file.src_uri]
    # By this a page learns its place, and so whether it is the home page.
    get_navigation(known, config)
    searches = [plugin for plugin in config.plugins.values() if isinstance(plugin, SearchPlugin)]
    index = CachedSearchIndex(pages, **searches[0].config) if searches else None
    complaints: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: complaints.append(record.getMessage())
    logging.getLogger("mkdocs").addHandler(handler)
    return OpenedSite(config, by_name, index, complaints)


def _frames_are_known(config: MkDocsConfig) -> bool:
    """Whether no template of the project looks at more of other pages than `_frame_hash` covers."""
    code = " ".join(part for path in _own_templates(config) for part in _JINJA.findall(_text(path)))
    return not _OF_OTHER_PAGES.search(code)


def _frame_hash(surroundings: str, config: MkDocsConfig, pages: Iterable[CachedPage]) -> str:
    """A hash of what stands around any page: templates, navigation, of every page title and front matter."""
    own = [[str(path), hashlib.sha256(path.read_bytes()).hexdigest()] for path in _own_templates(config)]
    # The theme's own have the version of its package besides.
    theme = [[str(path), file_state(path)] for path in _theme_templates(config)]
    told = [
        [page.file.src_uri, page.url, page.title, page.file.inclusion.value, _shown_elsewhere(page.meta)]
        for page in pages
    ]
    return _hash(surroundings, json.dumps([own, theme, told, config.nav], default=repr))


def _own_templates(config: MkDocsConfig) -> list[Path]:
    """Every file that the project puts in the place of one of the theme's, icons included."""
    custom = config.theme.custom_dir
    return [path for path in sorted(Path(custom).rglob("*")) if path.is_file()] if custom else []


def _theme_templates(config: MkDocsConfig) -> Iterator[Path]:
    """The theme's templates; not its thousands of icons and assets, which change with its version alone."""
    for theme in config.theme.dirs:
        if theme == config.theme.custom_dir:
            continue
        for folder, folders, names in os.walk(theme):
            folders[:] = sorted(set(folders) - {".icons", "assets"})
            yield from (Path(folder, name) for name in sorted(names))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _shown_elsewhere(meta: Any) -> dict[str, Any]:
    """The front matter that other pages' frames may show: without what is for the page's own alone."""
    return {name: value for name, value in meta.items() if name not in OWN_FRAME}


def _is_json(value: Any) -> bool:
    try:
        return json.loads(json.dumps(value)) == value
    except (TypeError, ValueError):
        return False


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
