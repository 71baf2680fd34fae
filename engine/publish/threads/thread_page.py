"""A thread on the site: a card for each post, with buttons that copy it, its pictures, and what it rests on.

Classes, for the theme:
  ol.mech-thread > li.mech-post[id] > div.mech-copyable > p.mech-post-text, button.mech-copy[hidden]
  figure.mech-post-picture > img; ul.mech-post-claims > li > a, span.mech-verdict
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from engine.publish.cite_box import BIBTEX_FILE, cite_box
from engine.publish.cited_work import bibtex
from engine.publish.files import Content
from engine.publish.markdown import front_matter, plain
from engine.publish.publication_citation import publication_tags, publication_work
from engine.publish.publication_pages import PublicationEntry, PublicationPage
from engine.publish.publications import FOLDER, Publication
from engine.publish.site_settings import site_settings
from engine.publish.threads.post_length import LIMIT
from engine.publish.threads.thread import Post, PostImage, Thread, print_thread
from engine.report.charts.pictures import PictureCache
from engine.report.claim_sentences import ClaimSentence, css_class
from engine.report.escape import for_site
from engine.report.lint import Concern
from engine.report.printers.site import claim_anchor
from engine.runs.library import Library
from engine.runs.store.store import FOLDER as ENGINE_FOLDER

ROOT = "../../../"  # from publications/SLUG/thread/
HOW_TO = (
    "Numbers, claims and pictures of these posts come from the evidence. A sentence that it contradicts "
    "stops the build."
)
_LINK = re.compile(r"https?://[^\s<>\"]*[^\s<>\"'.,;:!?)\]}]")


def thread_page(
    publication: Publication, library: Library, root: Path, slugs: Collection[str]
) -> PublicationPage:
    """The page of a thread and the pictures beside it. Raises as `print_thread` does, and PictureError."""
    thread = print_thread(publication, library, site_settings(root).address)
    pictures = PictureCache(root / ENGINE_FOLDER)
    about = thread.posts[0].text.partition("\n")[0]
    entry = PublicationEntry(publication.slug, "thread", thread.title, about, publication.is_draft)
    settings = site_settings(root)
    measured = max((library.ledgers[slug].published_on[:10] for slug in slugs), default="")
    work = publication_work(publication, settings, root, measured)
    above = front_matter(thread.title, about=about, tags=publication_tags(publication, work, settings, about))
    parts = [f"# {plain(thread.title)}", _masthead(thread, library, slugs), _cards(thread, pictures)]
    here = f"{FOLDER}/{publication.slug}/thread"
    files: dict[str, Content] = {
        entry.place: above + "\n\n".join([*parts, cite_box(work)]) + "\n",
        f"{here}/{BIBTEX_FILE}": bibtex(work),
    }
    for post in thread.posts:
        for image in post.images:
            files[f"{here}/{image.name}"] = pictures.png(image.spec)
    return PublicationPage(entry, files, thread.concerns)


def thread_concerns(
    publication: Publication, library: Library, root: Path, slugs: Collection[str]
) -> tuple[Concern, ...]:
    """What of a thread needs a person. Raises as `print_thread` does."""
    return print_thread(publication, library, site_settings(root).address).concerns


def _masthead(thread: Thread, library: Library, slugs: Collection[str]) -> str:
    """That it is a thread, how long, whether a draft, and the investigations that its numbers come from."""
    links = [
        f'<a href="{ROOT}investigations/{slug}/">{for_site(library.ledgers[slug].spec.title)}</a>'
        for slug in slugs
        if slug in library.ledgers
    ]
    facts = [f"Thread of {len(thread.posts)} posts", *(["draft"] if thread.publication.is_draft else [])]
    items = "".join(f"<li>{fact}</li>" for fact in [*facts, *links])
    return f'<ul class="mech-masthead">{items}</ul>\n\n{HOW_TO}'


def _cards(thread: Thread, pictures: PictureCache) -> str:
    cards = "\n".join(_card(post, len(thread.posts), pictures) for post in thread.posts)
    return f'<ol class="mech-thread">\n{cards}\n</ol>'


def _card(post: Post, posts: int, pictures: PictureCache) -> str:
    place = f"Post {post.number} of {posts}"
    parts = [
        f'<p class="mech-post-head"><a href="#post-{post.number}">{place}</a> '
        f"<span>{post.length} of {LIMIT} characters</span></p>",
        _copyable(f'<p class="mech-post-text">{_shown(post.text)}</p>', f"Copy post {post.number}"),
        *(_figure(image, pictures) for image in post.images),
        _claims(post.claims),
    ]
    inside = "\n".join(part for part in parts if part)
    return f'<li class="mech-post" id="post-{post.number}">\n{inside}\n</li>'


def _copyable(shown: str, words: str) -> str:
    """Something to copy, with a button that a script reveals."""
    button = f'<button type="button" class="mech-copy" hidden>{words}</button>'
    return f'<div class="mech-copyable">{shown}{button}</div>'


def _shown(text: str) -> str:
    """The text of a post, character by character; its addresses can be followed."""
    pieces: list[str] = []
    at = 0
    for found in _LINK.finditer(text):
        pieces.append(_lines(text[at : found.start()]))
        pieces.append(f'<a href="{html.escape(found[0])}">{_lines(found[0])}</a>')
        at = found.end()
    return "".join([*pieces, _lines(text[at:])])


def _lines(text: str) -> str:
    # An empty line would end the HTML for Markdown.
    return "&#10;".join(for_site(line) if line else "" for line in text.split("\n"))


def _figure(image: PostImage, pictures: PictureCache) -> str:
    picture = pictures.picture(image.spec)
    alt = for_site(image.alt)
    size = f'width="{picture.width:.0f}" height="{picture.height:.0f}"'
    shown = (
        "<details><summary>What the picture shows, in words</summary>"
        f'<p class="mech-post-text">{alt}</p></details>'
    )
    return (
        f'<figure class="mech-post-picture"><img src="{image.name}" alt="{alt}" {size} loading="lazy">\n'
        f"{_copyable(shown, 'Copy these words')}\n"
        f'<p><a href="{image.name}" download>{image.name}</a></p></figure>'
    )


def _claims(claims: Iterable[ClaimSentence]) -> str:
    """The claims that a post rests on, each with its verdict and a link to its evidence."""
    items = []
    for cited in {cited.id: cited for cited in claims}.values():
        slug, _, id = cited.id.rpartition(".")
        verdict = cited.verdict.verdict
        items.append(
            f'<li><a href="{ROOT}investigations/{slug}/#{claim_anchor(id)}">{for_site(id)}</a> '
            f'<span class="mech-verdict {css_class(verdict)}">{verdict}</span></li>'
        )
    return f'<ul class="mech-post-claims" aria-label="Claims">{"".join(items)}</ul>' if items else ""
