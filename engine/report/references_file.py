"""The file that holds a text's works: references.bib, in its folder."""

from __future__ import annotations

from pathlib import Path

from engine.errors import TemplateError
from engine.report.bibliography import Bibliography

MOST_BYTES = 5_000_000
"""Some ten thousand works."""


def references_beside(path: Path) -> Bibliography:
    """The references.bib in the folder of a template; an empty one where there is no such file."""
    bib = path.parent / "references.bib"
    if not bib.is_file():
        return Bibliography()
    if (size := bib.stat().st_size) > MOST_BYTES:
        expected = f"at most {MOST_BYTES:,} bytes"
        raise TemplateError(
            "this bibliography is too large", where=str(bib), expected=expected, seen=f"{size:,} bytes"
        )
    # Loaded here: a text without a bibliography does without what reads BibTeX.
    from engine.report.bibtex import read_bibtex

    return read_bibtex(bib.read_bytes(), str(bib))
