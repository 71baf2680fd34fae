"""The file that holds a text's works: references.bib, in its folder."""

from __future__ import annotations

from pathlib import Path

from engine.errors import TemplateError
from engine.report.bibliography import Bibliography, BibtexSources
from engine.spec.repository_files import read_beside

NAME = "references.bib"
MOST_BYTES = 5_000_000
"""Some ten thousand works."""


def references_beside(path: Path) -> Bibliography:
    """The references.bib in the folder of a template; an empty one where there is no such file.

    TemplateError for a link, and for a file that is too large or cannot be read.
    """
    content = _content(path)
    if content is None:
        return Bibliography()
    # Loaded here: a text without a bibliography does without what reads BibTeX.
    from engine.report.bibtex import read_bibtex

    return read_bibtex(content, str(path.parent / NAME))


def bibtex_beside(path: Path) -> BibtexSources:
    """The same file as it is written, entry by entry. Raises as `references_beside`."""
    content = _content(path)
    if content is None:
        return BibtexSources((), {})
    from engine.report.bibtex import bibtex_sources

    return bibtex_sources(content, str(path.parent / NAME))


def _content(path: Path) -> bytes | None:
    try:
        return read_beside(path.parent, NAME, MOST_BYTES, TemplateError)
    except FileNotFoundError:
        return None
