"""`engine serve`: the whole site once, then what an edit touches.

An edited template is printed again from the ledger that is there. Whatever else changes (a spec, a run that
was measured meanwhile, a published number) makes everything anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer

from engine.commands.arguments import current_plan
from engine.commands.console import say
from engine.commands.publication_site import publication_pages
from engine.commands.reports import print_reports, template_text, write_site
from engine.evidence.result import Calibration
from engine.publish.overview import Report
from engine.publish.page_cache import PageCache
from engine.publish.server import serve as serve_folder
from engine.report.report_cache import ReportCache
from engine.runs.calibrations import calibrations
from engine.runs.investigation import find_root
from engine.runs.library import Library
from engine.runs.sources import project_sources
from engine.runs.store.store import FOLDER, open_store

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    context: typer.Context,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port on this machine.")] = 8000,
) -> None:
    """Serve the site on this machine and reload the page when a template or spec changes.

    \b
    Example:
      engine serve --port 8001
    """
    site = LiveSite(find_root(), context.obj.app)
    site.rebuild(set())
    serve_folder(site.root, port, site.rebuild, say=say)


@dataclass
class LiveSite:
    """A site that is served while it is written: reports by template, and pages as HTML.

    `app` is the command line that the reference page describes.
    """

    root: Path
    app: typer.Typer
    reports: dict[Path, Report] = field(default_factory=dict)
    calibrated: dict[str, list[Calibration]] = field(default_factory=dict)
    pages: PageCache = field(default_factory=PageCache)

    def rebuild(self, changed: set[Path]) -> None:
        """Bring `public/` up to date; an EngineError leaves it as it is, and the next call tries again."""
        if changed and changed <= self.reports.keys():
            self._print(changed)
        else:
            self._everything()
        reports = list(self.reports.values())
        with open_store(self.root) as store:
            ledgers = {report.slug: report.ledger for report in reports}
            publications = publication_pages(self.root, store, ledgers)
        write_site(self.root, reports, self.calibrated, self.app, kept=self.pages, publications=publications)

    def _print(self, templates: set[Path]) -> None:
        cache = ReportCache(self.root / FOLDER)
        library = Library({report.slug: report.ledger for report in self.reports.values()})
        for path in templates:
            report = self.reports[path]
            rendered = cache.render(replace(library, own=report.slug), template_text(path), path)
            self.reports[path] = replace(report, rendered=rendered)

    def _everything(self) -> None:
        # First of all: should an error follow, the next change of any file begins from nothing again.
        self.reports.clear()
        self.pages.clear()
        with current_plan(self.root) as (store, plan):
            reports = print_reports(plan, store)
        self.calibrated = calibrations(self.root, project_sources(), measure=False)
        paths = (investigation.template_path for investigation in plan.investigations.values())
        self.reports = dict(zip(paths, reports, strict=True))
