"""How a paper or a thread is cited, from its header; what that leaves out, the project's settings say."""

from __future__ import annotations

import re
from pathlib import Path

from engine.errors import TemplateError
from engine.publish.cited_work import CitedWork
from engine.publish.commits import last_commits
from engine.publish.head_tags import HeadTag, head_tags
from engine.publish.publication_pages import PAGES
from engine.publish.publications import FILES, FOLDER, Publication
from engine.publish.site_settings import SiteSettings
from engine.spec.identifiers import doi
from engine.spec.models import Contributor

ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def publication_path(publication: Publication) -> str:
    """Where the page lies, relative to the site: `publications/seeds/`, with `thread/` for a thread."""
    page = PAGES[publication.kind].removesuffix(".md")
    return f"{FOLDER}/{publication.slug}/" + ("" if page == "index" else f"{page}/")


def publication_work(
    publication: Publication, settings: SiteSettings, root: Path, date: str = ""
) -> CitedWork:
    """The publication as somebody else cites it; `date`, an ISO day, is that of its numbers.

    The header's own `date`, `version`, `doi` and `keywords` go first. TemplateError with the line of a `doi`
    that is none.
    """
    header = publication.header.value
    authors = tuple(
        Contributor(name=author.name, affiliation=author.affiliation or None)
        for author in publication.authors
    )
    written = f"{FOLDER}/{publication.slug}/{FILES[publication.kind]}"
    own_date = str(header.get("date") or "")
    keywords = header.get("keywords") or []
    return CitedWork(
        name=publication.slug if publication.kind == "paper" else f"{publication.slug}-{publication.kind}",
        title=publication.title,
        authors=authors or settings.authors,
        site_name=settings.name,
        date=own_date if ISO_DAY.fullmatch(own_date) else date,
        version=str(header.get("version") or ""),
        commit=last_commits(root, FOLDER).get(publication.slug, ""),
        doi=_doi(publication),
        url=settings.address and settings.address + publication_path(publication),
        repository=settings.repository,
        edit_url=settings.edit_url(written),
        keywords=tuple(map(str, keywords if isinstance(keywords, list) else [keywords])),
    )


def publication_tags(
    publication: Publication, work: CitedWork, settings: SiteSettings, description: str, pdf: str = ""
) -> list[HeadTag]:
    """What the head of its page tells; `pdf` is the name of the PDF beside the page, where there is one."""
    url = settings.site_url and settings.site_url + publication_path(publication)
    return head_tags(work, description, url=url, pdf=url + pdf if url and pdf else "")


def _doi(publication: Publication) -> str:
    said = publication.header.value.get("doi")
    try:
        return doi(str(said)) if said else ""
    except ValueError as error:
        where = publication.header.where(("doi",))
        raise TemplateError(str(error), where=where, seen=str(said)) from None
