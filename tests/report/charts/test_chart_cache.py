"""A chart that was drawn once is read from disk; whatever it is drawn from makes another one."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from engine.errors import TemplateError
from engine.report.charts import chart_cache
from engine.report.charts.chart import Chart
from engine.report.charts.chart_cache import ChartCache, chart_hash
from engine.report.charts.draw import draw
from tests.report.charts.made_up import FIGURES, TABLE, XY, figure

FIGURE = figure("line", XY)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The title of every figure that was drawn anew."""
    titles: list[str] = []

    def noted(figure, table) -> Chart:
        titles.append(figure.title)
        return draw(figure, table)

    monkeypatch.setattr("engine.report.charts.draw.draw", noted)
    return titles


@pytest.mark.parametrize("name", FIGURES)
def test_every_kind_of_chart_is_read_as_it_was_drawn(name: str, tmp_path: Path, drawn: list[str]) -> None:
    asked = figure(*FIGURES[name])
    first = ChartCache(tmp_path).draw(asked, TABLE)
    again = ChartCache(tmp_path).draw(asked, TABLE)
    assert first == again == draw(asked, TABLE) and len(drawn) == 1
    assert json.dumps(first.spec) == json.dumps(again.spec)  # the order of keys is in the page's bytes


def test_without_a_folder_nothing_is_kept(tmp_path: Path, drawn: list[str]) -> None:
    for _ in range(2):
        ChartCache().draw(FIGURE, TABLE)
    ChartCache().prune()
    assert len(drawn) == 2


@pytest.mark.parametrize(
    "other",
    [
        replace(FIGURE, kind="scatter"),
        replace(FIGURE, columns={"x": "layer", "y": "low"}),
        replace(FIGURE, title="Another title"),
        replace(FIGURE, caption="A caption"),
        replace(FIGURE, options={"height": 200}),
    ],
)
def test_another_figure_is_another_chart(other) -> None:
    assert chart_hash(other, TABLE) != chart_hash(FIGURE, TABLE)


@pytest.mark.parametrize(
    "other",
    [
        TABLE.assign(mean_rank=TABLE.mean_rank + 1e-9),
        TABLE.assign(layer=TABLE.layer.astype(float)),
        TABLE.assign(layer=["0", "1", "2"] * 2),
        TABLE.iloc[:5],
        TABLE.iloc[::-1],
        TABLE.set_index(TABLE.index + 1),
    ],
)
def test_another_table_is_another_chart(other: pd.DataFrame) -> None:
    assert chart_hash(FIGURE, other) != chart_hash(FIGURE, TABLE)


def test_a_value_that_prints_like_another_is_another() -> None:
    hashes = {
        chart_hash(FIGURE, TABLE.assign(layer=[word] * 6)) for word in ("None", None, "nan", float("nan"))
    }
    assert len(hashes) == 4


def test_columns_that_are_not_drawn_do_not_count() -> None:
    assert chart_hash(FIGURE, TABLE.assign(low=0.0)) == chart_hash(FIGURE, TABLE)


def test_an_edit_of_the_drawing_code_draws_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = chart_hash(FIGURE, TABLE)
    monkeypatch.setattr(chart_cache, "CHARTS", tmp_path / "charts")
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts/kinds.py").write_text("MARK = 'line'\n")
    (tmp_path / "tables.py").write_text("")
    chart_cache._drawing_code.cache_clear()
    try:
        edited = chart_hash(FIGURE, TABLE)
    finally:
        chart_cache._drawing_code.cache_clear()
    assert edited != before


@pytest.mark.parametrize("damage", [b"", b"{}", b"0" * 64 + b"\n{}", b"\xff\xfe"])
def test_a_damaged_entry_is_drawn_anew(damage: bytes, tmp_path: Path, drawn: list[str]) -> None:
    first = ChartCache(tmp_path).draw(FIGURE, TABLE)
    (entry,) = tmp_path.iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(damage or whole.replace(b"mean_rank", b"mean_rink"))
    assert ChartCache(tmp_path).draw(FIGURE, TABLE) == first and len(drawn) == 2
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [whole]


def test_a_figure_that_cannot_be_drawn_is_told_each_time_and_not_kept(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(TemplateError, match="no column"):
            ChartCache(tmp_path).draw(figure("line", {"x": "layer", "y": "mean_rnk"}), TABLE)
    assert not list(tmp_path.iterdir())


def test_a_chart_that_is_kept_loads_no_altair(tmp_path: Path) -> None:
    ChartCache(tmp_path).draw(FIGURE, TABLE)
    script = (
        "import sys; from pathlib import Path; from engine.report.charts.chart_cache import ChartCache;"
        "from tests.report.charts.made_up import XY, TABLE, figure;"
        f"ChartCache(Path({str(tmp_path)!r})).draw(figure('line', XY), TABLE); print('altair' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "False\n"
