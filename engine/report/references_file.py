"""The file that holds a text's works: references.bib, in its folder."""

from __future__ import annotations

from pathlib import Path

from engine.report.bibliography import Bibliography


def references_beside(path: Path) -> Bibliography:
    """The references.bib in the folder of a template; an empty one where there is no such file."""
    bib = path.parent / "references.bib"
    if not bib.is_file():
        return Bibliography()
    # Loaded here: a text without a bibliography does without what reads BibTeX.
    from engine.report.bibtex import read_bibtex

    return read_bibtex(bib.read_bytes(), str(bib))
