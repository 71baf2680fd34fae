"""A paper's page on the site: its text with the evidence behind each number, its PDF, claims and commit."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from engine.errors import TemplateError
from engine.publish.cite_box import BIBTEX_FILE, cite_box
from engine.publish.cited_work import bibtex
from engine.publish.files import Content
from engine.publish.markdown import front_matter
from engine.publish.papers.build_paper import PrintedPaper, print_paper
from engine.publish.papers.pandoc import EXTRA, write_document
from engine.publish.papers.provenance import CLAIM_COLUMNS, PaperEvidence, numbers_in_words
from engine.publish.papers.render_paper import (
    CHARTS,
    PaperFormat,
    chart_picture,
    citation_arguments,
    document_of_paper,
    rendered_paper,
)
from engine.publish.publication_citation import publication_tags, publication_work
from engine.publish.publication_pages import PAGES, PublicationEntry, PublicationPage
from engine.publish.publications import FOLDER, Publication
from engine.publish.site_settings import site_settings
from engine.report.author_markup import active_part
from engine.report.claim_sentences import css_class, verdict_and_share
from engine.report.escape import for_site
from engine.report.printers.site_paper import SitePaperPrinter
from engine.runs.library import Library

DOWNLOADS: tuple[PaperFormat, ...] = ("pdf", "docx")
NAMES: dict[PaperFormat, str] = {"pdf": "PDF", "docx": "Word", "html": "HTML", "tex": "TeX"}
MOST_WORDS_OF_ABSTRACT = 60
LINKED = {"link-citations": {"t": "MetaBool", "c": True}}
_HEADING = re.compile(r"<h([2-6])([^>]*)>(.*?)</h\1>", re.S)
_ID = re.compile(r'\bid="([^"]*)"')
_TAG = re.compile(r"<[^>]+>")


def is_installed() -> bool:
    """Whether the extra is there; asked without importing it."""
    return all(find_spec(package) for package in ("pypandoc", "typst"))


def paper_page(
    publication: Publication, library: Library, root: Path, slugs: Collection[str]
) -> PublicationPage:
    """The page of a paper and what it links to. Raises as `print_paper` and `rendered_paper` do."""
    here = f"{FOLDER}/{publication.slug}"
    printed = print_paper(publication, library, root, slugs)
    files: dict[str, Content] = {}
    installed = is_installed()
    if installed:
        rendered = rendered_paper(printed.source, DOWNLOADS)
        files |= {f"{here}/{name}": content for name, content in rendered.items()}
        files |= {
            f"{here}/{CHARTS}/{id}.svg": chart_picture(spec, "svg")
            for id, spec in printed.source.charts.items()
        }
        files |= _own_images(publication, here)
    printer = SitePaperPrinter()
    on_site = print_paper(publication, library, root, slugs, printer=printer, with_evidence=False)
    text = printer.with_html("\n\n".join(_body(on_site))) if installed else f"> {for_site(EXTRA)}"
    abstract = _plain(printed.printed.header.get("abstract", ""))
    settings = site_settings(root)
    measured = max((library.ledgers[slug].published_on[:10] for slug in slugs), default="")
    work = publication_work(publication, settings, root, measured)
    pdf = "paper.pdf" if installed else ""
    tags = publication_tags(publication, work, settings, _shortened(abstract), pdf)
    above = front_matter(publication.title, about=_shortened(abstract), popovers=printer.end(), tags=tags)
    parts = [f"# {for_site(publication.title)}", _masthead(publication, printed.evidence, installed), text]
    parts += [_claims(printed.evidence), cite_box(work)]
    files[f"{here}/{BIBTEX_FILE}"] = bibtex(work)
    files[f"{here}/{PAGES['paper']}"] = above + "\n\n".join(filter(None, parts)) + "\n"
    entry = PublicationEntry(
        publication.slug,
        "paper",
        publication.title,
        _shortened(abstract),
        publication.is_draft,
        printed.evidence.broken,
    )
    return PublicationPage(entry, files, printed.concerns)


def _own_images(publication: Publication, here: str) -> dict[str, Content]:
    """Pictures that lie beside the paper, which its text may show."""
    kinds = (".png", ".jpg", ".jpeg", ".svg", ".gif")
    paths = [path for path in sorted(publication.folder.rglob("*")) if path.suffix.lower() in kinds]
    return {
        f"{here}/{path.relative_to(publication.folder).as_posix()}": _still_picture(path)
        for path in paths
        if path.is_file() and not path.is_symlink()
    }


def _still_picture(path: Path) -> bytes:
    """The bytes of a picture; TemplateError for an SVG that runs or fetches something where it is opened."""
    content = path.read_bytes()
    if path.suffix.lower() == ".svg" and (found := active_part(content)):
        raise TemplateError(
            "a picture that is no still one",
            where=str(path),
            expected="an SVG without scripts, events, animation and addresses",
            seen=found[:80],
        )
    return content


def _masthead(publication: Publication, evidence: PaperEvidence, installed: bool) -> str:
    """Authors, whether it is a draft, how its numbers and claims stand, and the files."""
    facts = [for_site(", ".join(author.name for author in publication.authors))]
    facts += ['<span class="mech-verdict mech-undetermined">draft</span>'] if publication.is_draft else []
    facts.append(for_site(str(publication.header.value.get("date") or "")))
    facts.append(f"{len(evidence.claims)} claims, {evidence.broken} broken")
    for slug, commit in evidence.commits.items():
        link = f'<a href="../../investigations/{for_site(slug)}/">{for_site(slug)}</a>'
        facts.append(f"numbers of {link} at <code>{for_site(commit)}</code>")
    if installed:
        facts += [f'<a href="paper.{name}" download>{NAMES[name]}</a>' for name in DOWNLOADS]
    items = "".join(f"<li>{fact}</li>" for fact in facts if fact)
    return f'<ul class="mech-masthead">{items}</ul>'


def _body(paper: PrintedPaper) -> Iterator[str]:
    """The abstract and the sections: headings as Markdown, so that the page lists them, the rest as HTML."""
    document = document_of_paper(paper.source)
    arguments = ["--number-sections", "--mathml", "--shift-heading-level-by=1", "--wrap=none"]
    with TemporaryDirectory(prefix="paper-") as place:
        arguments += citation_arguments(paper.source, Path(place))

        def fragment(blocks: Any) -> str:
            part = {**document, "blocks": blocks, "meta": LINKED}
            return write_document(part, "html5", arguments, Path(place), str(paper.source.path)).decode()

        abstract = document["meta"].get("abstract")
        if abstract:
            blocks = abstract["c"] if abstract["t"] == "MetaBlocks" else [{"t": "Para", "c": abstract["c"]}]
            yield "## Abstract {#abstract}"
            yield _block(fragment(blocks))
        yield from _sections(fragment(document["blocks"]))


def _sections(text: str) -> Iterator[str]:
    """HTML cut at its headings, which become Markdown's."""
    at = 0
    for heading in _HEADING.finditer(text):
        yield _block(text[at : heading.start()])
        id = _ID.search(heading[2])
        words = for_site(" ".join(html.unescape(_TAG.sub(" ", heading[3])).split()))
        yield f"{'#' * int(heading[1])} {words}" + (f" {{#{id[1]}}}" if id else "")
        at = heading.end()
    yield _block(text[at:])


def _block(text: str) -> str:
    """HTML in one block, in which Markdown is not read."""
    lines = [line for line in text.splitlines() if line.strip()]
    return '<div class="mech-paper">\n' + "\n".join(lines) + "\n</div>" if lines else ""


def _claims(evidence: PaperEvidence) -> str:
    """The claims with their verdicts, and where the numbers come from."""
    parts = ["## Claims, verdicts and numbers {#claims-and-numbers}", for_site(numbers_in_words(evidence))]
    rows = [
        f"<tr><td>{for_site(c.claim.says or c.claim.holds)}</td><td>{for_site(c.model)}</td>"
        f'<td>{for_site(c.asserted)}</td><td><span class="mech-verdict {css_class(c.verdict.verdict)}">'
        f"{for_site(verdict_and_share(c.verdict))}</span></td></tr>"
        for c in evidence.claims
    ]
    if rows:
        heads = "".join(f'<th scope="col">{head}</th>' for head in CLAIM_COLUMNS)
        table = f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        parts.append(f'<div class="mech-table">{table}</div>')
    return "\n\n".join(parts)


def _plain(markdown: str) -> str:
    """The words of a text in Markdown, for descriptions and lists."""
    text = re.sub(r"\[@[^\]]*\]|[*_`]", "", markdown)
    return " ".join(re.sub(r"\\(.)", r"\1", text).split())


def _shortened(text: str) -> str:
    words = text.split()
    return text if len(words) <= MOST_WORDS_OF_ABSTRACT else " ".join(words[:MOST_WORDS_OF_ABSTRACT]) + " …"
