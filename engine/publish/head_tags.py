"""What a page's head tells a search engine, a catalogue of papers and whoever shows a link to it.

`citation_*` is what Google Scholar and Zotero read, `og:*` and `twitter:*` what makes the card of a link.
Names and contents are text; the theme (site/overrides/main.html) escapes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engine.publish.cited_work import CitedWork, family_first, given_first

HeadTag = tuple[str, str]
"""(name, content) of a `<meta>`."""


@dataclass(frozen=True)
class SocialImage:
    """The picture on a link's card: its whole address, what it shows in words, its size in pixels."""

    url: str
    alt: str
    width: int
    height: int


def head_tags(
    work: CitedWork, description: str, *, url: str, image: SocialImage | None = None, pdf: str = ""
) -> list[HeadTag]:
    """Every tag of a page that can be cited; what is not known is left out.

    `description` is plain text, `url` the page's whole address and `pdf` that of its PDF.
    """
    tags = [*_citation(work, url, pdf), *_open_graph(work, description, url), *_image(image)]
    return [(name, content) for name, content in tags if content]


def _citation(work: CitedWork, url: str, pdf: str) -> Iterator[HeadTag]:
    yield "citation_title", work.title
    for author in work.authors:
        yield "citation_author", family_first(author)
        if author.orcid:
            yield "citation_author_orcid", f"https://orcid.org/{author.orcid}"
        if author.affiliation:
            yield "citation_author_institution", author.affiliation
    yield "citation_publication_date", work.day.replace("-", "/")
    yield "citation_publisher", work.site_name
    yield "citation_doi", work.doi
    yield "citation_version", work.version
    yield "citation_public_url", url
    yield "citation_fulltext_html_url", url
    yield "citation_pdf_url", pdf
    yield "citation_language", "en"
    for word in work.keywords:
        yield "citation_keywords", word


def _open_graph(work: CitedWork, description: str, url: str) -> Iterator[HeadTag]:
    yield "og:type", "article"
    yield "og:site_name", work.site_name
    yield "og:title", work.title
    yield "og:description", description
    yield "og:url", url
    yield "article:published_time", work.date
    for author in work.authors:
        yield "article:author", given_first(author)
    for word in work.keywords:
        yield "article:tag", word
    yield "twitter:title", work.title
    yield "twitter:description", description


def _image(image: SocialImage | None) -> Iterator[HeadTag]:
    if image is None or not image.url:
        yield "twitter:card", "summary"
        return
    yield "twitter:card", "summary_large_image"
    yield "twitter:image", image.url
    yield "twitter:image:alt", image.alt
    yield "og:image", image.url
    yield "og:image:type", "image/png"
    yield "og:image:alt", image.alt
    yield "og:image:width", str(image.width)
    yield "og:image:height", str(image.height)
