"""`engine paper`: drafts of papers from the evidence, and papers as PDF, HTML, Word and TeX."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args

import typer

from engine import families
from engine.commands.arguments import current_plan
from engine.commands.console import Output, human_bytes, near_here
from engine.commands.options import Json
from engine.commands.publication_list import publication_list
from engine.commands.reports import assemble_library, ledgers_of
from engine.errors import EngineError, nearest
from engine.publish.papers.build_paper import PrintedPaper, paper_options, print_paper
from engine.publish.papers.paper_draft import write_paper_draft
from engine.publish.papers.quarto import quarto_papers
from engine.publish.papers.render_paper import FORMATS, PaperFormat, rendered_paper
from engine.publish.publications import find_publication, investigations_of
from engine.runs.investigation import find_root, spec_paths

app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True)
def paper(context: typer.Context, json: Json = False) -> Output | None:
    """Draft papers from the evidence, build them, and list those of this project.

    \b
    Example:
      engine paper new --from fact-recall
    """
    if context.invoked_subcommand is not None:
        return None
    return publication_list("paper", json)


@app.command("new")
def paper_new(
    sources: Annotated[
        list[str], typer.Option("--from", metavar="SLUG", help="An investigation; may be repeated.")
    ],
    slug: Annotated[str, typer.Option(help="The paper's folder; the first investigation's by default.")] = "",
    json: Json = False,
) -> Output:
    """Write the first draft of a paper from the evidence of one or more investigations.

    \b
    Example:
      engine paper new --from sae-seed-stability --from fact-recall --slug two-questions
    """
    root = find_root()
    ledgers = ledgers_of(root, sources)
    used = {experiment.family for ledger in ledgers for experiment in ledger.spec.experiments.values()}
    declared = {name: families.declaration(name) for name in used}
    methods = {name: f"{family.about}\n{family.method}" for name, family in declared.items()}
    written = write_paper_draft(root, slug or sources[0], ledgers, methods)
    names = [str(path.relative_to(root)) for path in written]
    after = f"it builds as it stands: engine paper build {written[0].parent.name}"
    return Output([*(f"wrote {name}" for name in names), after], names, json)


@app.command("build")
def paper_build(
    slug: Annotated[str, typer.Argument(help="The paper: a folder of publications/.")],
    to: Annotated[str, typer.Option(help="Formats, with commas between: pdf, html, docx, tex.")] = "pdf,html",
    out: Annotated[Path | None, typer.Option(help="Where to; beside the paper's page in public/.")] = None,
    anonymous: Annotated[bool, typer.Option(help="Name neither authors nor commits.")] = False,
    line_numbers: Annotated[bool, typer.Option(help="Number the lines of PDF and TeX.")] = False,
    execute: Annotated[bool, typer.Option(help="Run its {python} cells and keep their outputs.")] = False,
    quarto: Annotated[bool, typer.Option(help="Use Quarto where it is on the PATH.")] = True,
    strict: Annotated[bool, typer.Option(help="Exit 1 if anything needs a person.")] = False,
    json: Json = False,
) -> Output:
    """Render a paper, its numbers from the evidence: by Quarto on the PATH, else by pandoc and Typst.

    \b
    Example:
      engine paper build sae-seed-stability --to pdf,docx
    """
    root = find_root()
    formats = _formats(to)
    publication = find_publication(root, slug, "paper")
    slugs = investigations_of(publication, spec_paths(root))
    options = paper_options(publication, anonymous=anonymous, lines=line_numbers)
    with current_plan(root, slugs) as (store, plan):
        library = assemble_library(plan, store)
    printed = print_paper(publication, library, root, slugs, options, execute=execute)
    if quarto and shutil.which("quarto"):
        files = quarto_papers(printed.source, formats)
    else:
        files = rendered_paper(printed.source, formats)
    folder = out or _default_folder(root, slug)
    written = [_write(folder / name, data) for name, data in files.items()]
    built = PaperBuild(printed, written)
    status = 1 if strict and printed.concerns else 0
    return Output(built.text(), built.data(), json, exit_status=status)


@dataclass(frozen=True)
class PaperBuild:
    """A paper as it was built: its files with their sizes, and what of it needs a person."""

    paper: PrintedPaper
    files: list[tuple[Path, int]]

    def text(self) -> list[str]:
        concerns = [f"{c.kind} {c.where}: {c.message}" for c in self.paper.concerns]
        evidence = self.paper.evidence
        counted = f"{evidence.with_value} numbers, {evidence.measured} measured here"
        claims = f"{len(evidence.claims)} claims, {evidence.broken} broken"
        return [*(f"{path} ({human_bytes(size)})" for path, size in self.files), *concerns, counted, claims]

    def data(self) -> dict:
        evidence = self.paper.evidence
        return {
            "files": [str(path) for path, _ in self.files],
            "concerns": list(self.paper.concerns),
            "numbers": evidence.with_value,
            "measured_here": evidence.measured,
            "claims": [
                {"claim": cited.id, "model": cited.model, "verdict": cited.verdict.verdict}
                for cited in evidence.claims
            ],
        }


def _formats(to: str) -> list[PaperFormat]:
    asked = [name.strip() for name in to.split(",") if name.strip()]
    for name in asked:
        if name not in FORMATS:
            raise EngineError(
                f"no format {name!r}", expected="one of " + ", ".join(FORMATS), near=nearest(name, FORMATS)
            )
    return [name for name in get_args(PaperFormat) if name in asked]


def _default_folder(root: Path, slug: str) -> Path:
    """Beside the paper's page, where there is a site; a folder of its own where there is none."""
    site = root / "public"
    return site / "publications" / slug if (site / "sitemap.xml").is_file() else Path(f"{slug}-paper")


def _write(path: Path, data: bytes) -> tuple[Path, int]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise EngineError("the paper cannot be written", where=str(path), seen=str(error)) from error
    return near_here(path), len(data)
