"""Quarto, where it is on the PATH: the same printed paper, rendered by `quarto render`.

It is given the paper after its numbers were injected and its cells replaced by their kept outputs, in a
folder of its own, and this environment's Python. What pandoc's papers may not have (raw HTML, active
addresses, labels that are not there), this one may not either. Exit 1 is a document that it refuses; ANSI
colours and warnings on its error output are no failure (Quarto 1.11).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from engine.errors import EngineError
from engine.publish.papers.render_paper import (
    CHARTS,
    PaperFormat,
    PaperSource,
    chart_picture,
    document_of_paper,
)

TARGETS: dict[PaperFormat, str] = {"pdf": "typst", "html": "html", "docx": "docx", "tex": "latex"}
"""Typst makes its PDF without LaTeX."""
MOST_SECONDS = 1200
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
NAME = "paper"


def quarto_papers(source: PaperSource, formats: Iterable[PaperFormat]) -> dict[str, bytes]:
    """The paper in some formats, by file name; EngineError with Quarto's own output where it fails.

    Raises as `document_of_paper` does for what a paper may not have.
    """
    program = shutil.which("quarto")
    if program is None:
        raise EngineError("Quarto is not on the PATH", expected="the program `quarto`")
    document_of_paper(source)  # for its refusals: Quarto would print what a stranger's paper may not have
    found: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory(prefix="quarto-") as place:
        folder = Path(place)
        _lay_out(source, folder)
        for format in formats:
            arguments = ["render", f"{NAME}.qmd", "--to", TARGETS[format], "--no-execute"]
            _call(program, arguments, folder, source)
            found[f"{NAME}.{format}"] = _result(folder, format, source)
    return found


def _lay_out(source: PaperSource, folder: Path) -> None:
    """The paper, what lies beside it, and its charts as pictures."""
    for path in source.path.parent.iterdir():
        if path.name != source.path.name and path.is_dir() and not path.is_symlink():
            shutil.copytree(path, folder / path.name)
        elif path.name != source.path.name and path.is_file() and not path.is_symlink():
            shutil.copy(path, folder / path.name)
    (folder / CHARTS).mkdir(exist_ok=True)
    for id, spec in source.charts.items():
        (folder / CHARTS / f"{id}.svg").write_bytes(chart_picture(spec, "svg"))
    (folder / f"{NAME}.qmd").write_text(source.for_quarto, encoding="utf-8")


def _call(program: str, arguments: list[str], folder: Path, source: PaperSource) -> None:
    environment = {**os.environ, "QUARTO_PYTHON": sys.executable}
    try:
        done = subprocess.run(
            [program, *arguments], cwd=folder, env=environment, capture_output=True, timeout=MOST_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError("Quarto could not be run", where=str(source.path), seen=str(error)) from error
    if done.returncode:
        said = _ANSI.sub("", (done.stdout + done.stderr).decode(errors="replace")).strip()
        raise EngineError("Quarto refused this paper", where=str(source.path), seen=said)


def _result(folder: Path, format: PaperFormat, source: PaperSource) -> bytes:
    made = folder / f"{NAME}.{format}"
    if not made.is_file():
        there = ", ".join(sorted(path.name for path in folder.iterdir()))
        raise EngineError("Quarto wrote no such file", where=str(source.path), expected=made.name, seen=there)
    return made.read_bytes()
