"""Pandoc, as the wheel `pypandoc-binary` brings it: Markdown to its document tree, and the tree to a format.

An author's raw HTML, TeX and Typst is refused, and pandoc reads no file but those that are beside the paper:
papers of strangers are built too.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.errors import EngineError, TemplateError
from engine.publish.papers.cross_references import PaperText
from engine.publish.papers.document_tree import Element, attributes_of, elements, plain_text, replaced
from engine.report.addresses import OF_AUTHORS, may_be_followed

EXTRA = "pip install 'mech-interpretability[papers]' (make site installs it)"
READER = "markdown-implicit_header_references-example_lists"
MOST_SECONDS = 120


def pandoc_path() -> str:
    """The program; EngineError with what to install where there is none."""
    try:
        import pypandoc
    except ImportError:
        raise missing_extra("pypandoc-binary") from None
    try:
        return pypandoc.get_pandoc_path()
    except OSError as error:
        raise EngineError("pandoc cannot be found", seen=str(error), hint=EXTRA) from error


def missing_extra(package: str) -> EngineError:
    return EngineError(
        f"a paper cannot be built without {package}", expected="the extra `papers`", hint=EXTRA
    )


def read_markdown(text: str, sources: PaperText) -> dict[str, Any]:
    """The document tree of Markdown with a YAML header.

    TemplateError for raw HTML, TeX or Typst in it, and for an address or attribute that would run something.
    """
    document = json.loads(run_pandoc(["--from", READER, "--to", "json"], text.encode(), sources.file))
    for element in elements(document):
        if element["t"] in ("RawBlock", "RawInline"):
            _refuse_raw(element, sources)
        _refuse_active(element, sources)
    return replaced(document, _without_comments)


def write_document(
    document: Mapping[str, Any],
    to: str,
    arguments: Sequence[str],
    folder: Path,
    file: str,
) -> bytes:
    """A document tree in one of pandoc's formats; files are looked for in `folder`."""
    data = json.dumps(document).encode()
    return run_pandoc(["--from", "json", "--to", to, *arguments], data, file, folder)


def run_pandoc(arguments: Sequence[str], data: bytes, file: str, folder: Path | None = None) -> bytes:
    """What pandoc writes; EngineError with what it says where it fails."""
    command = [pandoc_path(), *arguments]
    try:
        done = subprocess.run(command, input=data, cwd=folder, capture_output=True, timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"pandoc took longer than {MOST_SECONDS} seconds", where=file) from error
    if done.returncode:
        raise EngineError("pandoc refused this paper", where=file, seen=done.stderr.decode(errors="replace"))
    return done.stdout


def _is_comment(element: Element) -> bool:
    return element["c"][0] == "html" and element["c"][1].lstrip().startswith("<!--")


def _refuse_raw(element: Element, sources: PaperText) -> None:
    if not _is_comment(element):
        first = element["c"][1].strip().splitlines()[0]
        raise TemplateError(
            f"raw {element['c'][0]} is not printed",
            where=sources.where(first),
            expected="Markdown",
            seen=first[:80],
        )


def _refuse_active(element: Element, sources: PaperText) -> None:
    address = element["c"][2][0] if element["t"] in ("Link", "Image") else ""
    if not may_be_followed(address):
        raise TemplateError(
            "an address that a paper may not have",
            where=sources.where(address),
            expected=f"a file beside the paper, or an address with {', '.join(filter(None, OF_AUTHORS))}",
            seen=address[:80],
        )
    id, _, pairs = attributes_of(element)
    if id.startswith("__"):
        raise TemplateError("an id that the theme keeps for itself", where=sources.where(id), seen=id[:80])
    for name, _ in pairs:
        if name.lower().startswith("on") or name.lower() in ("style", "href", "src", "srcdoc", "formaction"):
            raise TemplateError(
                "an attribute that a paper may not set",
                where=sources.where(name),
                expected="attributes of figures, tables and callouts",
                seen=name[:80],
            )


def _without_comments(element: Element) -> list[Element] | None:
    return [] if element["t"] in ("RawBlock", "RawInline") else None


def images(document: Mapping[str, Any]) -> list[str]:
    """The addresses of its images, in order."""
    return [element["c"][2][0] for element in elements(document) if element["t"] == "Image"]


def callout_kind(element: Element) -> str:
    """`note` for a Div of the class `callout-note`; empty for what is no callout."""
    if element["t"] != "Div":
        return ""
    classes = attributes_of(element)[1]
    return next((c.removeprefix("callout-") for c in classes if c.startswith("callout-")), "")


def callout_parts(element: Element) -> tuple[str, list[Element]]:
    """(title, blocks) of a callout: its first heading, its `title`, or its kind."""
    _, _, pairs = attributes_of(element)
    title = dict(pairs).get("title", "")
    blocks = element["c"][1]
    if blocks and blocks[0]["t"] == "Header":
        title = plain_text(blocks[0]["c"][2])
        blocks = blocks[1:]
    return title or callout_kind(element).capitalize(), blocks
