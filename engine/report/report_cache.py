"""Printed reports kept on disk, so that a build prints only the reports that would say something new.

A report is known by a hash over all that it is printed from: the template and what lies beside it, its
ledger and those of the other investigations that it names, and the engine's code with the libraries that
print. Tables are not in the hash by themselves: a published one is a file beside the template, or has a
digest, and a measured one belongs to a run, which never changes.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, fields
from functools import cache
from importlib.metadata import version
from pathlib import Path

from engine.report.charts.pictures import PictureCache
from engine.report.json_cache import JsonCache
from engine.report.lint import Concern
from engine.report.render import ChartCall, Listing, RenderedReport, named_by, render
from engine.runs.ledger import Entry, Ledger
from engine.runs.library import Library
from engine.runs.published.csv_tables import PublishedTables

ENGINE = Path(__file__).parents[1]
LIBRARIES = (
    "jinja2",
    "latex2mathml",
    "markdown",
    "markupsafe",
    "numpy",
    "pandas",
    "pybtex",
    "vl-convert-python",
)


class ReportCache:
    """Printed reports in a project's `.engine` folder; without one, nothing is kept."""

    def __init__(self, folder: Path | None = None) -> None:
        self.reports = JsonCache(folder and folder / "reports")
        self.pictures = PictureCache(folder)

    def render(self, ledgers: Ledger | Library, template_text: str, path: Path) -> RenderedReport:
        """The report as it was printed before, or printed now and kept. Raises as `render` does."""
        key = report_hash(ledgers, template_text, path) if self.reports.folder else ""
        return self.get(key) or self.keep(key, render(ledgers, template_text, path, pictures=self.pictures))

    def get(self, key: str) -> RenderedReport | None:
        """The report that was kept under a `report_hash`; None where there is none."""
        found = self.reports.get(key)
        if not found:
            return None
        concerns = [Concern(**concern) for concern in found.pop("concerns")]
        calls = tuple(ChartCall(**call) for call in found.pop("chart_calls"))
        listing = Listing(**found.pop("listing"))
        return RenderedReport(concerns=concerns, chart_calls=calls, listing=listing, **found)

    def keep(self, key: str, report: RenderedReport) -> RenderedReport:
        """Keep a report under its `report_hash`, and hand it back."""
        self.reports.put(key, {name: value for name, value in asdict(report).items() if name != "error"})
        return report

    def prune(self) -> None:
        """Delete what was not shown for longest, where there is much."""
        self.reports.prune()
        self.pictures.prune()


def report_hash(ledgers: Ledger | Library, template_text: str, path: Path) -> str:
    """A hash over all that a report is printed from."""
    library = named_by(ledgers, template_text)
    folder = path.parent
    digest = hashlib.sha256(engine_hash().encode())
    for text in (str(path), template_text, library.own):
        digest.update(f"\0{text}".encode())
    for file in sorted([folder / "spec.yaml", folder / "references.bib", *(folder / "published").rglob("*")]):
        if file.is_file():
            digest.update(f"\0{file.relative_to(folder)}\0".encode() + file.read_bytes())
    for ledger in library.ledgers.values():
        digest.update("\0".join(_told(ledger, "entries")).encode())
        for entry in ledger.entries:
            digest.update("\0".join([*_told(entry, "tables"), _published_tables(entry)]).encode())
    return digest.hexdigest()


def _published_tables(entry: Entry) -> str:
    """What is said of published tables, digests included; their files may lie beside another template."""
    return repr(entry.tables.entries) if isinstance(entry.tables, PublishedTables) else ""


def _told(record: Ledger | Entry, without: str) -> list[str]:
    """What a record says, field by field; samples are not in the `repr` of a measurement."""
    return [f"{f.name}={getattr(record, f.name)!r}" for f in fields(record) if f.name != without]


@cache
def engine_hash() -> str:
    """A hash over the engine's code and the versions of what it prints with."""
    digest = hashlib.sha256(" ".join(f"{name} {version(name)}" for name in LIBRARIES).encode())
    for path in sorted(ENGINE.rglob("*.py")):
        digest.update(f"\0{path.relative_to(ENGINE)}\0".encode() + path.read_bytes())
    return digest.hexdigest()
