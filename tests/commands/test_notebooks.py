"""The notebooks that a build makes run in a kernel and draw every figure of their page again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest

import engine as package
from engine.commands.reports import print_reports
from engine.publish.notebook import notebook
from engine.publish.overview import Report
from engine.report.charts.vega import MIME_TYPE
from engine.runs.investigation import find_investigations
from engine.runs.planning.plan import make_plan
from engine.runs.sources import project_sources
from engine.runs.store.store import open_store
from tests.conftest import REPOSITORY

nbclient = pytest.importorskip("nbclient", reason="a development dependency, as is the kernel")

# Of what starts the kernel, before any cell of ours.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore::ResourceWarning"
)

Outputs = list[dict[str, Any]]
"""What one cell showed."""


def test_in_a_project_that_was_measured_it_shows_numbers_verdicts_and_charts(project: Path) -> None:
    package.run("planted/lens", quiet=True)
    (report,) = reports_of(project)
    (outputs,) = executed([report], project)
    shown = json.dumps(outputs)
    assert report.ledger.spec.title in shown
    assert "found-in-the-middle" in shown and "supported" in shown
    assert len(charts_in(outputs)) == len(report.rendered.charts) == 1


def test_in_a_fresh_clone_each_draws_its_figures_from_what_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(REPOSITORY / "investigations", tmp_path / "investigations")
    shutil.copy(REPOSITORY / "mkdocs.yml", tmp_path)
    monkeypatch.chdir(tmp_path)
    reports = reports_of(tmp_path)
    assert len(reports) > 3
    for report, outputs in zip(reports, executed(reports, tmp_path), strict=True):
        assert len(charts_in(outputs)) == len(report.rendered.charts), report.slug
        assert report.rendered.charts and "published" in json.dumps(outputs), report.slug


def reports_of(root: Path) -> list[Report]:
    sources = project_sources()
    with open_store(root) as store:
        plan = make_plan(find_investigations(root, sources.catalog), store, sources, budget=0)
        return print_reports(plan, store)


def executed(reports: Sequence[Report], folder: Path) -> list[list[Outputs]]:
    """The outputs of each cell of each report's notebook; a cell that fails is an error.

    One kernel runs them one after the other: it takes seconds to start.
    """
    opened = [nbformat.reads(notebook(report), as_version=4) for report in reports]
    cells = [cell for each in opened for cell in each.cells]
    whole = opened[0].copy()
    # Ids are by place, so that two notebooks have the same ones.
    whole["cells"] = [nbformat.NotebookNode(cell, id=f"{index}") for index, cell in enumerate(cells)]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}  # the engine under test, wherever the kernel starts
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(whole, timeout=240, kernel_name="python3", resources=resources).execute(env=env)
    done = iter(whole["cells"])
    run = [[next(done) for _ in each.cells] for each in opened]
    return [[cell.outputs for cell in each if cell.cell_type == "code"] for each in run]


def charts_in(outputs: Sequence[Outputs]) -> list[dict[str, Any]]:
    return [out["data"][MIME_TYPE] for cell in outputs for out in cell if MIME_TYPE in out.get("data", {})]
