"""`engine serve`: the whole site once, then what an edit touches.

An edited template is printed again into the ledger that is there, its charts as they were drawn. Whatever
else changes (a spec, a run that was measured meanwhile, a published number) makes everything anew.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.commands.build import print_reports, template_text, write_site
from engine.commands.console import say
from engine.publish.page_cache import KeptPages
from engine.runs.investigation import find_investigations, find_root
from engine.runs.planning.plan import make_plan
from engine.runs.sources import project_sources
from engine.runs.store.store import open_store

if TYPE_CHECKING:
    from engine.evidence.result import Calibration
    from engine.publish.overview import Report
    from engine.report.charts.draw import Chart


@dataclass
class LiveSite:
    """A site that is served while it is written: reports and drawn charts by template, and pages as HTML."""

    root: Path
    reports: dict[Path, Report] = field(default_factory=dict)
    drawn: defaultdict[Path, dict[str, Chart]] = field(default_factory=lambda: defaultdict(dict))
    calibrated: dict[str, list[Calibration]] = field(default_factory=dict)
    pages: KeptPages = field(default_factory=KeptPages)

    def rebuild(self, changed: set[Path]) -> None:
        """Bring `public/` up to date; an EngineError leaves it as it is, and the next call tries again."""
        if changed and changed <= self.reports.keys():
            self._print(changed)
        else:
            self._everything()
        write_site(self.root, list(self.reports.values()), self.calibrated, kept=self.pages)

    def _print(self, templates: set[Path]) -> None:
        from engine.report.render import render

        for path in templates:
            report = self.reports[path]
            rendered = render(report.ledger, template_text(path), path, drawn=self.drawn[path])
            self.reports[path] = replace(report, rendered=rendered)

    def _everything(self) -> None:
        from engine.runs.calibrations import calibrations

        self.reports.clear()
        self.drawn.clear()
        self.pages.clear()
        sources = project_sources()
        with open_store(self.root) as store:
            plan = make_plan(find_investigations(self.root, sources.catalog), store, sources, budget=0)
            reports = print_reports(plan, store, drawn=self.drawn.__getitem__)
        self.calibrated = calibrations(self.root, sources, measure=False)
        paths = (investigation.template_path for investigation in plan.investigations.values())
        self.reports = dict(zip(paths, reports, strict=True))


def serve(port: int) -> None:
    """Serve the project that the working directory is in, until interrupted."""
    from engine.publish.serve import serve as serve_folder

    site = LiveSite(find_root())
    site.rebuild(set())
    serve_folder(site.root, port, site.rebuild, say=say)
