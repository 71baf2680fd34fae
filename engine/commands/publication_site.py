"""The publications of a project as pages of its site, kept where nothing of them changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from engine.errors import EngineError
from engine.publish.commits import last_commits
from engine.publish.papers.build_paper import print_paper
from engine.publish.papers.provenance import commit_of
from engine.publish.papers.site_page import is_installed, paper_page
from engine.publish.publication_pages import (
    PublicationCache,
    PublicationPage,
    publication_key,
    refused_page,
)
from engine.publish.publications import (
    FILES,
    FOLDER,
    Publication,
    PublicationKind,
    investigations_of,
    read_publication,
)
from engine.publish.site_settings import site_settings
from engine.publish.threads.thread_page import thread_concerns, thread_page
from engine.report.lint import Concern
from engine.report.report_cache import report_hash
from engine.runs.assemble import assemble
from engine.runs.investigation import chosen_investigations, spec_paths
from engine.runs.ledger import Ledger
from engine.runs.library import Library
from engine.runs.planning.plan import make_plan
from engine.runs.sources import project_sources
from engine.runs.store.store import FOLDER as ENGINE_FOLDER
from engine.runs.store.store import RunStore
from engine.spec.document import document_of

PRINTERS: dict[PublicationKind, Callable[[Publication, Library, Path, Collection[str]], PublicationPage]] = {
    "paper": paper_page,
    "thread": thread_page,
}
"""What makes the page of each kind."""


def _concerns_of_paper(
    publication: Publication, library: Library, root: Path, slugs: Collection[str]
) -> Sequence[Concern]:
    return print_paper(publication, library, root, slugs).concerns


CHECKERS: dict[
    PublicationKind, Callable[[Publication, Library, Path, Collection[str]], Sequence[Concern]]
] = {
    "paper": _concerns_of_paper,
    "thread": thread_concerns,
}
"""What finds in each kind that which needs a person."""


def publication_pages(
    root: Path,
    store: RunStore,
    ledgers: Mapping[str, Ledger],
    unchanged: Mapping[str, str] | None = None,
) -> list[PublicationPage]:
    """The page of every publication, printed from `ledgers` or kept from the last time.

    Ledgers that are not there are assembled; of investigations that are `unchanged` (a hash of each by its
    slug) only where something else of the publication changed. One that cannot be printed leaves the others
    standing.
    """
    cache = PublicationCache(root / ENGINE_FOLDER)
    known = dict(ledgers)
    found = []
    for kind, file in FILES.items():
        for path in sorted((root / FOLDER).glob(f"*/{file}")) if kind in PRINTERS else ():
            found.append(_page(path, kind, root, store, known, unchanged or {}, cache))
    cache.kept.prune()
    return found


def _page(
    path: Path,
    kind: PublicationKind,
    root: Path,
    store: RunStore,
    known: dict[str, Ledger],
    unchanged: Mapping[str, str],
    cache: PublicationCache,
) -> PublicationPage:
    publication = None
    try:
        publication = read_publication(path, kind)
        slugs = investigations_of(publication, spec_paths(root))
        told = [str(is_installed()), *(commit_of(root, slug) for slug in slugs)]
        told += [repr(site_settings(root)), last_commits(root, FOLDER).get(publication.slug, "")]
        quick = ""
        if all(slug in unchanged for slug in slugs):
            quick = publication_key(publication, *told, *(unchanged[slug] for slug in slugs))
            if page := cache.get(quick):
                return page
        library = _library(slugs, root, store, known)
        whole = publication_key(publication, *told, report_hash(library, publication.written, path))
        page = cache.get(whole) or PRINTERS[kind](publication, library, root, slugs)
        for key in filter(None, [quick, whole]):
            cache.put(key, page)
        return page
    except EngineError as error:
        # Where the header cannot be read, nothing is known of it but its place.
        unread = Publication(path.parent.name, kind, path, "", document_of({}, str(path)))
        return refused_page(publication or unread, error)


def publication_concerns(
    root: Path, store: RunStore, ledgers: Mapping[str, Ledger], chosen: Collection[str] = ()
) -> list[Concern]:
    """What of the publications (that draw on a chosen investigation) needs a person; nothing is rendered."""
    known = dict(ledgers)
    found: list[Concern] = []
    for kind, file in FILES.items():
        for path in sorted((root / FOLDER).glob(f"*/{file}")) if kind in CHECKERS else ():
            try:
                publication = read_publication(path, kind)
                slugs = investigations_of(publication, spec_paths(root))
                if not chosen or {*chosen} & {*slugs}:
                    library = _library(slugs, root, store, known)
                    found += CHECKERS[kind](publication, library, root, slugs)
            except EngineError as error:
                found.append(Concern("broken-template", error.where or str(path), error.problem))
    return found


def _library(slugs: Sequence[str], root: Path, store: RunStore, known: dict[str, Ledger]) -> Library:
    """The ledgers of some investigations; those that are not known are assembled as they stand."""
    paths = spec_paths(root)
    missing = [slug for slug in slugs if slug not in known]
    if missing:
        sources = project_sources()
        plan = make_plan(chosen_investigations(root, missing, sources.catalog), store, sources, budget=0)
        known |= {slug: assemble(i, store, plan) for slug, i in plan.investigations.items()}
    return Library(known, slugs=tuple(paths))
