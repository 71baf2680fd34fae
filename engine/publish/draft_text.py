"""What the drafts of papers and threads share: where they lie, and the words of an investigation in them."""

from __future__ import annotations

import re
from pathlib import Path

from engine.errors import EngineError
from engine.publish.publications import FILES, FOLDER, PublicationKind
from engine.report.lint import numeral_matches
from engine.report.prose import without_code
from engine.runs.ledger import Ledger

_TAG = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.S)
_CHART = re.compile(r"""\{\{-?\s*chart\(\s*["']([^"']+)["']\s*\)""")
_OPENING = re.compile(r"\{(?=[{%#])")


def draft_path(root: Path, slug: str, kind: PublicationKind, source: str) -> Path:
    """Where the draft of a publication will lie; `source` is an investigation that it is drafted from.

    EngineError for a slug that is no name of a folder, and where there is a publication already.
    """
    if not slug or Path(slug).name != slug or slug.startswith("."):
        raise EngineError(f"{slug!r} is no name of a folder", expected="letters, digits and dashes")
    path = root / FOLDER / slug / FILES[kind]
    if path.exists():
        raise EngineError(
            f"there is a {kind} of this name",
            where=str(path),
            expected="a name of its own",
            hint=f"engine {kind} new --from {source} --slug ANOTHER",
        )
    return path


def write_draft(path: Path, text: str) -> None:
    """Write a file of a draft; EngineError where its folder cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise EngineError("the draft cannot be written", where=str(path), seen=str(error)) from error


def unwrapped(text: str) -> str:
    """A text without its line breaks."""
    return " ".join(text.split())


def with_slug(template: str, ledger: Ledger) -> str:
    """A template of an investigation for a publication: its experiments have its slug before them."""
    # The longest first: `lens_half` is no `lens`.
    names = sorted(ledger.spec.experiments, key=len, reverse=True)
    experiment = re.compile(rf"(?<![\w.\-\"'])({'|'.join(map(re.escape, names))})(?=[.\[])")
    quoted = re.compile(rf"(?<=[\"'])({'|'.join(map(re.escape, names))})(?=[.\[])")
    return _TAG.sub(
        lambda tag: quoted.sub(rf"{ledger.slug}.\1", experiment.sub(rf"{ledger.slug}.\1", tag[0])), template
    )


def said(text: str) -> str:
    """Words of a spec or of a family as a template has them: braces open no tag, and a numeral is a literal.

    Those are marked that lint would tell of: numerals in them are names of the method or of a statement.
    """
    text = _OPENING.sub("{ ", text)
    pieces: list[str] = []
    at = 0
    for found in numeral_matches(without_code(text)):
        pieces += [text[at : found.start()], f'{{{{ literal("{found[0]}") }}}}']
        at = found.end()
    return "".join([*pieces, text[at:]])


def charts_of_report(root: Path, ledger: Ledger) -> list[str]:
    """The charts that the report shows and that can be drawn on its primary model, in its order."""
    report = root / "investigations" / ledger.slug / "report.md"
    text = report.read_text(encoding="utf-8", errors="replace") if report.is_file() else ""
    return [name for name in dict.fromkeys(_CHART.findall(text)) if _can_be_drawn(name, ledger)]


def _can_be_drawn(chart: str, ledger: Ledger) -> bool:
    label, _, figure = chart.rpartition(".")
    entries = [e for e in ledger.entries if e.label == label and e.model == ledger.primary]
    return any(figure in entry.figures and ("figures", figure) not in entry.left_out for entry in entries)
