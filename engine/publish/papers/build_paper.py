"""A paper from its file to its formats: printed from the ledgers, its evidence at its end, rendered."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from engine.publish.papers.cells import (
    cell_keys,
    cells_of,
    execute_cells,
    kept_outputs,
    published_hash,
    refuse_other_cells,
    with_outputs,
)
from engine.publish.papers.provenance import PaperEvidence, evidence_of, provenance_section
from engine.publish.papers.render_paper import PaperOptions, PaperSource, paper_source
from engine.publish.publications import PrintedPublication, Publication, print_publication
from engine.report.lint import Concern
from engine.report.printers.paper import PaperPrinter
from engine.runs.library import Library


@dataclass(frozen=True)
class PrintedPaper:
    """A paper ready to be rendered, and what it rests on."""

    publication: Publication
    source: PaperSource
    evidence: PaperEvidence
    printed: PrintedPublication
    concerns: tuple[Concern, ...] = ()


def paper_options(publication: Publication, *, anonymous: bool = False, lines: bool = False) -> PaperOptions:
    """The options of a paper's header, and those that are asked for beside it."""
    header = publication.header.value
    return PaperOptions(
        line_numbers=lines or header.get("line-numbers") is True,
        anonymous=anonymous or header.get("anonymous") is True,
        draft=publication.is_draft,
    )


def print_paper(
    publication: Publication,
    library: Library,
    root: Path,
    slugs: Collection[str],
    options: PaperOptions | None = None,
    *,
    execute: bool = False,
    printer: PaperPrinter | None = None,
    with_evidence: bool = True,
) -> PrintedPaper:
    """Print a paper from the ledgers of its investigations, its cells with their kept outputs.

    Its claims and the sources of its numbers stand at its end, where they are not shown elsewhere.
    With `execute` the cells run first, and their outputs are kept. Raises as `print_publication` does,
    TemplateError for a cell that is not printed once, and EngineError for one that fails.
    """
    options = options or paper_options(publication)
    printer = printer or PaperPrinter()
    printed = print_publication(publication, library, printer, cite=False)
    evidence = evidence_of(printer, root, slugs)
    after = provenance_section(evidence, anonymous=options.anonymous) if with_evidence and evidence else ""
    text, stale = _with_cells(publication, printed.text, root, slugs, execute)
    source = paper_source(replace(printed, text=text), options, after)
    return PrintedPaper(publication, source, evidence, printed, (*printed.concerns, *stale))


def _with_cells(
    publication: Publication, text: str, root: Path, slugs: Collection[str], execute: bool
) -> tuple[str, list[Concern]]:
    """A printed text with the outputs of its cells, which are run first where that is asked for."""
    file = str(publication.path)
    cells = cells_of(publication.text, file)
    if not cells:
        return text, []
    refuse_other_cells(text, cells, file)
    keys = cell_keys(cells, published_hash(root, slugs))
    if execute:
        kept = execute_cells(cells, keys, publication.folder, root, file)
    else:
        kept = kept_outputs(publication.folder)
    return with_outputs(text, cells, keys, kept, file)
