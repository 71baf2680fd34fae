"""The wrapper of Quarto, which no package index that tests reach has: a stand-in records its call."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import EngineError, TemplateError
from engine.publish.papers.quarto import quarto_papers
from engine.publish.papers.render_paper import PaperOptions, PaperSource

STAND_IN = """\
#!{python}
import json, os, pathlib, sys
here = pathlib.Path.cwd()
files = sorted(str(p.relative_to(here)) for p in here.rglob("*") if p.is_file())
call = {{"arguments": sys.argv[1:], "python": os.environ["QUARTO_PYTHON"], "files": files,
        "text": (here / "paper.qmd").read_text()}}
pathlib.Path({log!r}).write_text(json.dumps(call))
print("\\x1b[31mkernel warning\\x1b[0m", file=sys.stderr)
suffix = {{"typst": "pdf", "html": "html", "docx": "docx", "latex": "tex"}}[sys.argv[4]]
if {code} == 0:
    (here / f"paper.{{suffix}}").write_bytes(b"made by the stand-in")
sys.exit({code})
"""


@pytest.fixture
def source(tmp_path: Path) -> PaperSource:
    folder = tmp_path / "facts"
    folder.mkdir()
    (folder / "references.bib").write_text("@misc{a, title = {A}}")
    (folder / "plot.png").write_bytes(b"png")
    chart = json.dumps({"data": {"values": [{"a": 1}]}, "mark": "point", "encoding": {}})
    header = {"title": "Facts", "draft": True}
    text = "# One {#sec-one}\n\nSee @fig-a.\n\n![x](charts/fig-a.svg){#fig-a}\n"
    return PaperSource(folder / "paper.qmd", text, header, text, {"fig-a": chart}, PaperOptions())


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> Path:
    log = tmp_path / "call.json"
    program = tmp_path / "bin/quarto"
    program.parent.mkdir()
    program.write_text(STAND_IN.format(python=sys.executable, log=str(log), code=code))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return log


def test_a_stand_in_for_quarto_is_called_with_this_python_and_a_whole_paper(
    source: PaperSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = stand_in(tmp_path, monkeypatch)
    assert quarto_papers(source, ["pdf"]) == {"paper.pdf": b"made by the stand-in"}
    call = json.loads(log.read_text())
    assert call["arguments"] == ["render", "paper.qmd", "--to", "typst", "--no-execute"]
    assert call["python"] == sys.executable
    assert call["files"] == ["charts/fig-a.svg", "paper.qmd", "plot.png", "references.bib"]
    assert call["text"].startswith("---\nnumber-sections: true\n")
    assert "bibliography: references.bib" in call["text"] and "{#fig-a}" in call["text"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("One.\n\n<script>alert()</script>\n", "raw html is not printed"),
        ("One.\n\n[two](javascript:alert())\n", "an address that a paper may not have"),
        ("One.\n\nSee @fig-b.\n", "no label 'fig-b'"),
    ],
)
def test_quarto_is_not_called_with_what_a_paper_may_not_have(
    source: PaperSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    log = stand_in(tmp_path, monkeypatch)
    with pytest.raises(TemplateError, match=said) as caught:
        quarto_papers(replace(source, text=text, written=text), ["html"])
    assert caught.value.where == f"{source.path}:3"
    assert not log.exists()


def test_a_stand_in_for_quarto_that_fails_is_shown_without_colours(
    source: PaperSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, code=1)
    with pytest.raises(EngineError, match="Quarto refused") as caught:
        quarto_papers(source, ["pdf"])
    assert caught.value.seen == "kernel warning"


def test_without_quarto_it_is_said(source: PaperSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EngineError, match="not on the PATH"):
        quarto_papers(source, ["pdf"])
