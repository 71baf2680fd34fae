"""A paper as PDF, HTML, Word and TeX: one tree, the pictures of its charts, options; what is not there."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import EngineError, TemplateError
from engine.publish.papers.document_tree import plain_text
from engine.publish.papers.render_paper import (
    PaperOptions,
    PaperSource,
    compile_typst,
    csl_references,
    document_of_paper,
    paper_source,
    rendered_paper,
)
from engine.publish.publications import print_publication, read_publication
from engine.report.printers.paper import PaperPrinter
from engine.runs.library import Library
from tests.publish import made_up

TEXT = """\
# Where it appears

The rank is {{ fact-recall.lens.final_rank }} in @fig-rank [@paulo2025].

{{ chart("fact-recall.lens.by_layer", label="fig-rank", caption="The rank.") }}

::: {.callout-note}
## Mind the layer
It is one.
:::

::: {.content-hidden when-meta="anonymous"}
We thank our colleagues.
:::
"""
HEADER = "---\ntitle: Facts\nauthor: [{name: Ada Person, affiliation: Somewhere}]\n---\n\n"
BIB = (
    "@misc{paulo2025,\n author = {Paulo, Gonçalo and Belrose, Nora},\n title = {Different Features},\n"
    " year = {2025},\n eprint = {2501.16615}\n}\n"
)


@pytest.fixture
def source(tmp_path: Path) -> PaperSource:
    path = tmp_path / "publications/facts/paper.qmd"
    path.parent.mkdir(parents=True)
    path.write_text(HEADER + TEXT, encoding="utf-8")
    path.with_name("references.bib").write_text(BIB, encoding="utf-8")
    library = Library({"fact-recall": made_up.ledger()})
    printed = print_publication(read_publication(path, "paper"), library, PaperPrinter(), cite=False)
    return paper_source(printed, PaperOptions())


def with_text(source: PaperSource, text: str) -> PaperSource:
    return replace(source, text=text, written=text)


def test_html_is_one_file_with_the_number_the_figure_and_the_work(source: PaperSource) -> None:
    html = rendered_paper(source, ["html"])["paper.html"].decode()
    assert "13\u00a0[9, 16]" in html.replace("&nbsp;", "\u00a0")
    assert 'href="#fig-rank"' in html and "<strong>Figure" in html
    assert "data:image/svg+xml" in html and "https://arxiv.org/abs/2501.16615" in html
    assert "Ada Person" in html and 'content: "DRAFT"' in html
    assert "Mind the layer" in html and "<h2" not in html.partition("Mind the layer")[0][-80:]
    assert "We thank" in html


def test_an_anonymous_paper_names_nobody_and_a_final_one_has_no_watermark(source: PaperSource) -> None:
    options = PaperOptions(anonymous=True, draft=False)
    header = {**source.header, "author": [{"name": "Anonymous authors"}]}
    html = rendered_paper(replace(source, options=options, header=header), ["html"])["paper.html"].decode()
    assert "We thank" not in html and "DRAFT" not in html


def test_pdf_is_made_by_typst_with_vector_charts(source: PaperSource) -> None:
    pdf = rendered_paper(replace(source, options=PaperOptions(line_numbers=True)), ["pdf"])["paper.pdf"]
    assert pdf.startswith(b"%PDF-") and len(pdf) > 20_000


def test_word_has_the_chart_as_a_picture(source: PaperSource) -> None:
    docx = rendered_paper(source, ["docx"])["paper.docx"]
    with zipfile.ZipFile(io.BytesIO(docx)) as parts:
        names = parts.namelist()
        document = parts.read("word/document.xml").decode()
    assert any(name.endswith(".png") for name in names)
    assert "The rank is 13" in document.replace("\u00a0", " ")


def test_tex_comes_with_its_pictures(source: PaperSource) -> None:
    lined = replace(source, options=PaperOptions(line_numbers=True))
    made = rendered_paper(lined, ["tex"])
    assert made["charts/fig-rank.pdf"].startswith(b"%PDF")
    tex = made["paper.tex"].decode()
    assert "charts/fig-rank.pdf" in tex and r"\linenumbers" in tex and "draftwatermark" in tex


@pytest.mark.parametrize(
    ("address", "said"),
    [("plots/no.png", "no such figure"), ("../../../secret.png", "not beside the paper")],
)
def test_a_missing_figure_is_told_with_its_line(source: PaperSource, address: str, said: str) -> None:
    (source.path.parent / "plot.png").write_bytes(b"")
    with pytest.raises(TemplateError, match=said) as caught:
        document_of_paper(with_text(source, f"One.\n\n![x]({address})\n"))
    assert caught.value.where == f"{source.path}:3"


def test_a_numbered_equation_is_laid_out_in_each_format(source: PaperSource) -> None:
    text = "As @eq-a says:\n\n$$ x^2 $$ {#eq-a}\n\n$y$\n"
    made = rendered_paper(with_text(source, text), ["tex", "html", "pdf"])
    assert r"\tag{1}" in made["paper.tex"].decode()
    assert 'data-number="1"' in made["paper.html"].decode()
    assert made["paper.pdf"].startswith(b"%PDF")


def test_what_typst_refuses_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "paper.typ"
    path.write_text("#nothing-of-this-name", encoding="utf-8")
    with pytest.raises(EngineError, match="Typst refused this paper") as caught:
        compile_typst(path, "paper.qmd")
    assert "unknown variable" in caught.value.seen


def test_a_work_without_an_address_has_that_of_its_preprint(source: PaperSource) -> None:
    assert source.bibliography
    assert json.loads(csl_references(source.bibliography))[0]["URL"] == "https://arxiv.org/abs/2501.16615"


def test_a_missing_extra_says_what_to_install(source: PaperSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pypandoc", None)
    with pytest.raises(EngineError, match="without pypandoc-binary") as caught:
        rendered_paper(source, ["html"])
    assert "mech-interpretability[papers]" in caught.value.hint


def test_tables_are_as_wide_as_they_need(source: PaperSource) -> None:
    row = f"| a | {'long ' * 30}|"
    document = document_of_paper(with_text(source, f"| x | y |\n|---|---|\n{row}\n"))
    widths = [width["t"] for _, width in document["blocks"][0]["c"][2]]
    assert widths == ["ColWidthDefault"] * 2
    assert "long long" in plain_text(document)


def test_a_picture_of_the_authors_own_has_its_fonts_in_print(source: PaperSource) -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="30"><text x="1" y="20">Own</text></svg>'
    (source.path.parent / "own.svg").write_text(svg, encoding="utf-8")
    made = rendered_paper(with_text(source, "![Own](own.svg){#fig-own}\n"), ["tex", "pdf"])
    assert made["own.pdf"].startswith(b"%PDF") and "{own.pdf}" in made["paper.tex"].decode()
    assert made["paper.pdf"].startswith(b"%PDF")
    (source.path.parent / "own.svg").write_text("<svg", encoding="utf-8")
    with pytest.raises(EngineError, match="cannot be converted"):
        rendered_paper(with_text(source, "![Own](own.svg)\n"), ["tex"])


def test_a_work_that_cannot_be_read_stops_only_a_paper_that_cites_it(source: PaperSource) -> None:
    assert source.bibliography
    source.bibliography.write_text("@misc{broken, title = {B\n\n" + BIB, encoding="utf-8")
    html = rendered_paper(source, ["html"])["paper.html"].decode()
    assert "Different Features" in html
    with pytest.raises(TemplateError) as caught:
        document_of_paper(with_text(source, "As [@broken] says.\n"))
    assert caught.value.where.startswith(f"{source.bibliography}:1")
