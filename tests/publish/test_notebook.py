"""Notebooks: what they hold, and that they are the same in every build."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from engine.publish import notebook as module
from engine.publish.notebook import notebook
from engine.report.json_cache import JsonCache
from engine.report.render import ChartCall
from tests.publish import made_up


def code_of(text: str) -> list[str]:
    return [cell["source"] for cell in nbformat.reads(text, as_version=4).cells if cell.cell_type == "code"]


def test_it_is_a_valid_notebook_that_draws_every_figure_of_the_page(tmp_path: Path) -> None:
    report = made_up.report(tmp_path)
    text = notebook(report)
    nbformat.validate(json.loads(text))
    code = code_of(text)
    assert code[0].splitlines() == ["import engine", "", 'results = engine.load("fact-recall")', "results"]
    drawn = [line for line in code if line.startswith("engine.chart(")]
    assert drawn == ['engine.chart(results, "lens.by_layer")', 'engine.chart(results, "patch.grid")']
    assert len(drawn) == len(report.rendered.charts)


def test_a_chart_on_another_model_or_of_another_investigation_is_called_so(tmp_path: Path) -> None:
    text = '{{ chart("lens.by_layer", model="tiny-gpt2") }}'
    code = code_of(notebook(made_up.report(tmp_path, text=text)))
    assert 'engine.chart(results, "lens.by_layer", model="tiny-gpt2")' in code
    call = ChartCall("other", "lens.by_layer", "", "A title")
    assert module._drawn_by(call, "fact-recall") == 'engine.chart(engine.load("other"), "lens.by_layer")'


def test_text_of_a_spec_is_no_markup_in_it(tmp_path: Path) -> None:
    text = notebook(made_up.report(tmp_path, title="<script>alert(1)</script>"))
    assert "<script" not in text and "&lt;script" in text


def test_every_build_makes_the_same_file_and_takes_it_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = made_up.report(tmp_path)
    cache = JsonCache(tmp_path / "notebooks")
    made = notebook(report, cache)
    assert made == notebook(report)
    monkeypatch.setattr(module, "notebook_of", lambda cells: pytest.fail("made again"))
    assert notebook(report, JsonCache(tmp_path / "notebooks")) == made
    with pytest.raises(pytest.fail.Exception):
        notebook(made_up.report(tmp_path, title="Another title"), cache)


def test_the_page_offers_it_and_the_site_has_it(tmp_path: Path) -> None:
    report = made_up.report(tmp_path)
    files = made_up.report_files_of(report)
    assert files["investigations/fact-recall/fact-recall.ipynb"] == notebook(report)
    assert '<a href="fact-recall.ipynb" download>notebook</a>' in str(
        files["investigations/fact-recall/index.md"]
    )


def test_where_nothing_was_measured_there_is_none(tmp_path: Path) -> None:
    report = made_up.unmeasured(tmp_path)
    files = made_up.report_files_of(report)
    assert not [name for name in files if name.endswith(".ipynb")]
    assert "notebook" not in str(files["investigations/fact-recall/index.md"])
