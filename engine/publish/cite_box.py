"""The box 'Cite this': who, when, what, where, and the entry to copy; for reports, papers and threads."""

from __future__ import annotations

from engine.publish.cited_work import SHORT_COMMIT, CitedWork, bibtex, given_first
from engine.report.escape import for_site, preformatted
from engine.report.printers.markdown_blocks import block, joined
from engine.spec.models import Contributor

BIBTEX_FILE = "citation.bib"
"""Beside the page; without a script it is how to get at the entry."""

ANCHOR = "cite-this"


def cite_box(work: CitedWork, bibtex_file: str = BIBTEX_FILE) -> str:
    """A section of Markdown under a heading of its own; `bibtex_file` is what holds the entry, too."""
    entry = (
        '<div class="mech-copyable mech-bibtex">'
        f'<pre tabindex="0" aria-label="BibTeX">{preformatted(bibtex(work))}</pre>'
        '<button type="button" class="mech-copy" hidden>Copy BibTeX</button></div>'
    )
    return joined([f"## Cite this {{ #{ANCHOR} }}", _in_words(work), block(entry), _links(work, bibtex_file)])


def _in_words(work: CitedWork) -> str:
    """The work as a list of references has it, authors with their ORCID."""
    authors = ", ".join(map(_author, work.authors)) or for_site(work.site_name)
    doi = f'<a href="{for_site(work.doi_url)}">{for_site(work.doi_url)}</a>' if work.doi else ""
    parts = [
        f"{authors} ({work.day[:4]})" if work.day else authors,
        f"<cite>{for_site(work.title)}</cite>",
        f"Version {for_site(work.version)}" if work.version else "",
        for_site(work.site_name) if work.authors else "",
    ]
    said = ". ".join(filter(None, parts))
    return block(f'<p class="mech-cite">{said}. {doi}</p>')


def _author(author: Contributor) -> str:
    name = for_site(given_first(author))
    where = f' title="{for_site(author.affiliation)}"' if author.affiliation else ""
    if author.orcid:
        return f'<a href="https://orcid.org/{author.orcid}" rel="author"{where}>{name}</a>'
    return f"<span{where}>{name}</span>" if where else name


def _links(work: CitedWork, bibtex_file: str) -> str:
    """Where the entry, the sources and their history are to be had, and where to change them."""
    repository = for_site(work.repository)
    commit = work.commit[:SHORT_COMMIT]
    links = [f'<a href="{for_site(bibtex_file)}" download>BibTeX file</a>']
    if repository:
        links.append(f'<a href="{repository}">Repository</a>')
    if work.edit_url:
        links.append(f'<a href="{for_site(work.edit_url)}">Edit this page</a>')
    if commit and repository:
        links.append(f'Commit <a href="{repository}/commit/{work.commit}">{commit}</a>')
    elif commit:
        links.append(f"Commit <code>{commit}</code>")
    if work.date:
        links.append(f'Measured <time datetime="{for_site(work.date)}">{for_site(work.day)}</time>')
    items = "".join(f"<li>{link}</li>" for link in links)
    return block(f'<ul class="mech-masthead">{items}</ul>')
