"""The chart of what was found, for a notebook: `engine.chart(results, "lens.ranks")`.

It stands here and is no method of `Results`, since what runs found knows nothing of how it is drawn.
"""

from __future__ import annotations

from dataclasses import replace

from engine.report.charts.chart import Chart
from engine.report.charts.draw import draw
from engine.runs.interactive.results import Results


def chart(results: Results, name: str, *, model: str = "") -> Chart:
    """A figure by `experiment.name`, as its page draws it; a notebook shows it as the last value of a cell.

    `chart.spec` is its Vega-Lite 6 specification with the data inside, which `altair.Chart.from_dict` reads;
    `chart.alt` says in words what it shows. EngineError as for a table, with the nearest names.
    """
    figure, table = results.figure(name, model=model)
    drawn = draw(figure, table, name)
    # On a page the title stands in the caption, with what was left out.
    title = {"text": figure.title, "subtitle": drawn.sampled} if drawn.sampled else figure.title
    return replace(drawn, spec={"title": title, **drawn.spec})
