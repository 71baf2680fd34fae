"""A printed paper in each format: its Markdown, pictures of its charts, and what pandoc and Typst make of it.

One document tree is made, in which every figure, table, section and equation is numbered and referred to
(`cross_references`); the formats differ in their pictures (PDF, SVG or PNG of the same charts) and in how a
callout and a numbered equation are laid out.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml

from engine.errors import EngineError, TemplateError, nearest
from engine.publish.papers.cross_references import PaperText, with_cross_references
from engine.publish.papers.document_tree import (
    Element,
    attributes_of,
    div,
    paragraph,
    raw,
    replaced,
    strong,
    text,
)
from engine.publish.papers.layout import CSS, TEX, TEX_DRAFT, TEX_LINES, TYPST, WATERMARK_CSS
from engine.publish.papers.pandoc import (
    callout_kind,
    callout_parts,
    images,
    missing_extra,
    read_markdown,
    run_pandoc,
    write_document,
)
from engine.publish.publications import PrintedPublication
from engine.report.charts.pictures import picture_of
from engine.report.references_file import bibtex_beside, references_beside

PaperFormat = Literal["pdf", "html", "docx", "tex"]
FORMATS: tuple[PaperFormat, ...] = ("pdf", "html", "docx", "tex")
PICTURES: dict[PaperFormat, str] = {"pdf": "pdf", "html": "svg", "docx": "png", "tex": "pdf"}
CHARTS = "charts"
COLUMN_PIXELS = 605
"""The width of a page's text, 16 cm, so that a chart's letters keep their size."""
MOST_HEIGHT = 220
"""Of a chart that fills the column: a page has room for text beside it."""
MOST_PANEL_HEIGHT = 130
"""Of one of several panels."""
REFERENCES = "# References {.unnumbered}\n\n::: {#refs}\n:::"
ANONYMOUS = "Anonymous authors"


@dataclass(frozen=True)
class PaperOptions:
    """How a paper is set; each is also a key of its header."""

    line_numbers: bool = False
    anonymous: bool = False
    draft: bool = True


@dataclass(frozen=True)
class PaperSource:
    """A paper as pandoc or Quarto reads it: Markdown under a YAML header, and its charts as Vega-Lite specs.

    `written` is the text of its file, in which messages find their lines.
    """

    path: Path
    written: str
    header: Mapping[str, Any]
    text: str
    charts: Mapping[str, str] = field(default_factory=dict)
    options: PaperOptions = PaperOptions()

    @property
    def markdown(self) -> str:
        """The whole file, header and text."""
        header = yaml.safe_dump(dict(self.header), allow_unicode=True, sort_keys=False, width=10**6)
        return f"---\n{header}---\n\n{self.text.strip()}\n"

    @property
    def for_quarto(self) -> str:
        """The same for Quarto, with the settings without which it would not do as pandoc does here."""
        header = {"number-sections": True, "embed-resources": True, **self.header}
        header |= {"bibliography": "references.bib"} if self.bibliography else {}
        return replace(self, header=header).markdown

    @property
    def bibliography(self) -> Path | None:
        path = self.path.parent / "references.bib"
        return path if path.is_file() else None


def paper_source(printed: PrintedPublication, options: PaperOptions, after: str = "") -> PaperSource:
    """The source of a printed publication; `after` is Markdown for its end."""
    publication = printed.publication
    header = {**publication.header.value, **printed.header}
    header.pop("investigations", None)
    if options.anonymous:
        header["author"] = [{"name": ANONYMOUS}]
        header.pop("authors", None)
    elif authors := publication.authors:
        people = [{"name": a.name, "affiliation": a.affiliation, "email": a.email} for a in authors]
        header["author"] = [{key: value for key, value in person.items() if value} for person in people]
    header |= {"draft": options.draft, "anonymous": options.anonymous, "line-numbers": options.line_numbers}
    header.setdefault("lang", "en")
    header.setdefault("link-citations", True)
    cites = publication.path.with_name("references.bib").is_file()
    references = REFERENCES if cites and "{#refs}" not in printed.text else ""
    body = "\n\n".join(filter(None, [printed.text.strip(), references, after]))
    written = publication.path.read_text(encoding="utf-8-sig")
    return PaperSource(publication.path, written, header, body, printed.charts, options)


def rendered_paper(source: PaperSource, formats: Iterable[PaperFormat]) -> dict[str, bytes]:
    """The paper in some formats, by file name; TeX comes with its pictures.

    Raises TemplateError with its line for what is not there (an image, a label, a reference), EngineError for
    what pandoc or Typst refuses, and where the extra is missing.
    """
    document = document_of_paper(source)
    found: dict[str, bytes] = {}
    for format in formats:
        with tempfile.TemporaryDirectory(prefix="paper-") as place:
            found |= _written(document, source, format, Path(place))
    return found


def document_of_paper(source: PaperSource) -> dict[str, Any]:
    """The document tree of a paper, numbered and checked."""
    bibliography = references_beside(source.path)
    sources = PaperText(str(source.path), source.written, list(bibliography), bibliography.faults)
    document = read_markdown(source.markdown, sources)
    document = replaced(document, lambda element: _shown(element, source.options))
    document = replaced(document, _callout)
    document = replaced(document, _without_widths)
    document = with_cross_references(document, sources)
    for address in images(document):
        _refuse_missing(address, source, sources)
    return document


def _shown(element: Element, options: PaperOptions) -> list[Element] | None:
    """Quarto's `.content-visible` and `.content-hidden`, by `when-meta`: anonymous, draft."""
    _, classes, pairs = attributes_of(element)
    if element["t"] not in ("Div", "Span") or not {"content-visible", "content-hidden"} & {*classes}:
        return None
    known = {"anonymous": options.anonymous, "draft": options.draft}
    asked = dict(pairs)
    when = known.get(asked.get("when-meta", ""), False)
    when = when or ("unless-meta" in asked and not known.get(asked["unless-meta"], False))
    return element["c"][1] if when == ("content-visible" in classes) else []


def _callout(element: Element) -> list[Element] | None:
    """A callout with its title as a paragraph, which is no heading of the paper."""
    if not callout_kind(element):
        return None
    title, blocks = callout_parts(element)
    return [div(["callout"], [div(["callout-title"], [paragraph([strong(title)])]), *blocks])]


def _without_widths(element: Element) -> list[Element] | None:
    """A table whose columns are as wide as they need: pandoc takes widths from the dashes of a long line."""
    if element["t"] != "Table":
        return None
    element["c"][2] = [[alignment, {"t": "ColWidthDefault"}] for alignment, _ in element["c"][2]]
    return [element]


def _refuse_missing(address: str, source: PaperSource, sources: PaperText) -> None:
    """TemplateError for an image that is no file beside the paper and no chart of it."""
    folder = source.path.parent.resolve()
    name = address.removeprefix(f"{CHARTS}/").removesuffix(".svg")
    if address.startswith(f"{CHARTS}/") and name in source.charts:
        return
    place = (folder / address).resolve()
    if place.is_file() and place.is_relative_to(folder):
        return
    beside = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
    raise TemplateError(
        "no such figure" if place.is_relative_to(folder) else "a figure that is not beside the paper",
        where=sources.where(address),
        expected="a file in the paper's folder",
        seen=address,
        near=nearest(address, beside),
    )


def _written(
    document: dict[str, Any], source: PaperSource, format: PaperFormat, place: Path
) -> dict[str, bytes]:
    """One format, written in a folder of its own."""
    document, pictures = _draw(deepcopy(document), source, PICTURES[format], place)
    document = replaced(document, LAYOUTS[format])
    if format != "pdf" and "author" in document["meta"]:
        document["meta"] |= {"author": _names(source.header["author"])}
    arguments = ["--number-sections", *citation_arguments(source, place)]
    name = f"paper.{format}"
    if format == "pdf":
        return {name: _pdf(document, source, arguments, place)}
    if format == "html":
        return {name: _html(document, source, arguments, place)}
    if format == "docx":
        return {name: _docx(document, source, arguments, place)}
    return {name: _tex(document, source, arguments, place), **pictures}


def _names(authors: Sequence[Mapping[str, str]]) -> Element:
    """The authors as pandoc's own templates have them, a text each."""
    names = [", ".join(filter(None, [a["name"], a.get("affiliation")])) for a in authors]
    return {"t": "MetaList", "c": [{"t": "MetaInlines", "c": text(name)} for name in names]}


def _draw(
    document: dict[str, Any], source: PaperSource, suffix: str, place: Path
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A document whose images lie in a folder, charts as pictures of one kind; and these images by name."""
    made: dict[str, bytes] = {}

    def drawn(element: Element) -> list[Element] | None:
        if element["t"] != "Image":
            return None
        address = element["c"][2][0]
        name = address.removeprefix(f"{CHARTS}/").removesuffix(".svg")
        if address.startswith(f"{CHARTS}/") and name in source.charts:
            address = f"{CHARTS}/{name}.{suffix}"
            made[address] = made.get(address) or chart_picture(source.charts[name], suffix)
        else:
            data = (source.path.parent / address).read_bytes()
            if address.endswith(".svg") and suffix != "svg":
                # With the fonts that it names, which neither Typst nor LaTeX would look for.
                address = f"{address.removesuffix('.svg')}.{suffix}"
                data = _converted(data.decode(), suffix)
            made[address] = data
        element["c"][2][0] = address
        return [element]

    document = replaced(document, drawn)
    for address, data in made.items():
        file = place / address
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return document, made


def citation_arguments(source: PaperSource, place: Path) -> list[str]:
    """How pandoc is told to write citations and their list; the works are written into a folder."""
    if not source.bibliography:
        return ["--citeproc"]
    (place / "references.json").write_text(csl_references(source.bibliography), encoding="utf-8")
    return ["--citeproc", "--bibliography", "references.json"]


def csl_references(bibliography: Path) -> str:
    """The works of a BibTeX file as citeproc reads them, each with the address that a report gives it."""
    # Pandoc would give up before an entry that cannot be read.
    works = json.loads(_csl_of(bibtex_beside(bibliography).text, str(bibliography)))
    addresses = {key: reference.url for key, reference in references_beside(bibliography).items()}
    for work in works:
        if not (work.get("URL") or work.get("DOI")) and addresses.get(work["id"]):
            work["URL"] = addresses[work["id"]]
    return json.dumps(works)


# A paper is built in several formats, one after the other.
@lru_cache(maxsize=4)
def _csl_of(bibtex: str, where: str) -> bytes:
    return run_pandoc(["--from", "biblatex", "--to", "csljson"], bibtex.encode(), where)


def chart_picture(spec: str, suffix: str) -> bytes:
    """A chart's picture, from its Vega-Lite spec: SVG, PDF (both vectors, PDF with its fonts) or PNG."""
    svg = _chart_svg(spec)
    return svg.encode() if suffix == "svg" else _converted(svg, suffix)


@lru_cache(maxsize=64)
def _chart_svg(spec: str) -> str:
    """A chart as a paper's column has it."""
    chart = json.loads(spec)
    if chart.get("width") == "container":
        chart |= {"width": COLUMN_PIXELS, "autosize": {"type": "fit-x", "contains": "padding"}}
        if isinstance(chart.get("height"), int):
            chart["height"] = min(chart["height"], MOST_HEIGHT)
    panel = chart.get("spec", {}) if "facet" in chart else {}
    if isinstance(panel.get("height"), int):
        panel["height"] = min(panel["height"], MOST_PANEL_HEIGHT)
    return picture_of(chart).svg


def _converted(svg: str, suffix: str) -> bytes:
    """An SVG as PDF or PNG; EngineError where it cannot be drawn."""
    import vl_convert

    try:
        return vl_convert.svg_to_pdf(svg) if suffix == "pdf" else vl_convert.svg_to_png(svg, scale=2)
    except (ValueError, RuntimeError) as error:
        raise EngineError("a picture cannot be converted", seen=str(error).splitlines()[0]) from error


def _pdf(document: dict[str, Any], source: PaperSource, arguments: Sequence[str], place: Path) -> bytes:
    (place / "template.typ").write_text(TYPST, encoding="utf-8")
    # As literals of Typst's own, which are written nearly as JSON's.
    names = [] if source.options.anonymous else [a["name"] for a in source.header.get("author", [])]
    title = json.dumps(str(source.header.get("title", "")), ensure_ascii=False)
    authors = "".join(f"{json.dumps(name, ensure_ascii=False)}, " for name in names)
    arguments = [
        *arguments,
        *("--template", "template.typ"),
        *("--variable", f"document-title={title}"),
        *("--variable", f"document-authors=({authors})"),
    ]
    typst_text = write_document(document, "typst", arguments, place, str(source.path))
    (place / "paper.typ").write_bytes(typst_text)
    return compile_typst(place / "paper.typ", str(source.path))


def compile_typst(path: Path, where: str, format: Literal["pdf", "png"] = "pdf", ppi: float = 110) -> Any:
    """What Typst makes of a file; EngineError with what it says where it fails."""
    try:
        import typst
    except ImportError:
        raise missing_extra("typst") from None
    try:
        # Its own fonts alone, so that a page looks the same on every machine.
        return typst.compile(
            str(path), root=str(path.parent), format=format, ppi=ppi, ignore_system_fonts=True
        )
    except (typst.TypstError, RuntimeError) as error:
        raise EngineError("Typst refused this paper", where=where, seen=str(error)) from error


def _html(document: dict[str, Any], source: PaperSource, arguments: Sequence[str], place: Path) -> bytes:
    style = CSS + (WATERMARK_CSS if source.options.draft else "")
    (place / "style.html").write_text(f"<style>{style}</style>\n", encoding="utf-8")
    arguments = [*arguments, "--standalone", "--embed-resources", "--mathml", "--section-divs"]
    arguments += ["--include-in-header", "style.html", "--variable", "document-css=false"]
    return write_document(document, "html5", arguments, place, str(source.path))


def _docx(document: dict[str, Any], source: PaperSource, arguments: Sequence[str], place: Path) -> bytes:
    return write_document(document, "docx", [*arguments, "--output", "-"], place, str(source.path))


def _tex(document: dict[str, Any], source: PaperSource, arguments: Sequence[str], place: Path) -> bytes:
    preamble = TEX
    preamble += TEX_DRAFT if source.options.draft else ""
    preamble += TEX_LINES if source.options.line_numbers else ""
    (place / "preamble.tex").write_text(preamble, encoding="utf-8")
    arguments = [*arguments, "--standalone", "--include-in-header", "preamble.tex"]
    arguments += ["--variable", "geometry:margin=2.5cm", "--variable", "fontsize=11pt"]
    return write_document(document, "latex", arguments, place, str(source.path))


def _laid_out_by_typst(element: Element) -> list[Element] | None:
    """Callouts and numbered equations as calls of the template's functions."""
    classes = attributes_of(element)[1]
    if element["t"] == "Div" and "callout" in classes:
        title, *blocks = element["c"][1]
        before = [raw("typst", "#callout["), *title["c"][1], raw("typst", "][")]
        return [*before, *blocks, raw("typst", "]")]
    if element["t"] == "Span" and "equation" in classes:
        id, _, pairs = attributes_of(element)
        number = dict(pairs)["number"]
        opening = f'#[#numbered-equation("{number}")['
        return [
            {"t": "RawInline", "c": ["typst", opening]},
            *element["c"][1],
            {"t": "RawInline", "c": ["typst", f"] <{id}>]"]},
        ]
    return None


def _laid_out_by_tex(element: Element) -> list[Element] | None:
    classes = attributes_of(element)[1]
    if element["t"] == "Span" and "equation" in classes:
        number = dict(attributes_of(element)[2])["number"]
        element["c"][1][0]["c"][1] += rf"\tag{{{number}}}"
        return [element]
    return _quoted(element)


def _laid_out_by_word(element: Element) -> list[Element] | None:
    classes = attributes_of(element)[1]
    if element["t"] == "Span" and "equation" in classes:
        number = dict(attributes_of(element)[2])["number"]
        element["c"][1] += text(f" ({number})")
        return [element]
    return _quoted(element)


def _quoted(element: Element) -> list[Element] | None:
    """A callout as a quotation, where a format has no box for it."""
    if element["t"] == "Div" and "callout" in attributes_of(element)[1]:
        return [{"t": "BlockQuote", "c": element["c"][1]}]
    return None


LAYOUTS: dict[PaperFormat, Callable[[Element], list[Element] | None]] = {
    "pdf": _laid_out_by_typst,
    "html": lambda element: None,
    "docx": _laid_out_by_word,
    "tex": _laid_out_by_tex,
}
