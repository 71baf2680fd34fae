"""The chart of what was found, for a notebook: `engine.chart(results, "lens.ranks")`.

It stands here and is no method of `Results`, since what runs found knows nothing of how it is drawn.
"""

from __future__ import annotations

from dataclasses import replace

from engine.errors import EngineError, nearest
from engine.evidence.multiverse import margin_scale
from engine.report.charts.chart import Chart
from engine.report.charts.draw import draw
from engine.report.charts.specification_curve import specification_curve
from engine.runs.interactive.results import Results


def chart(results: Results, name: str, *, model: str = "") -> Chart:
    """A figure by `experiment.name`, or the specification curve of a claim by its id, as its page draws it.

    A notebook shows it as the last value of a cell. `chart.spec` is its Vega-Lite 6 specification with the
    data inside, which `altair.Chart.from_dict` reads; `chart.alt` says in words what it shows. EngineError as
    for a table, with the nearest names.
    """
    if name in results.claims:
        return _curve(results, name, model)
    figure, table = results.figure(name, model=model)
    drawn = draw(figure, table, name)
    # On a page the title stands in the caption, with what was left out.
    title = {"text": figure.title, "subtitle": drawn.sampled} if drawn.sampled else figure.title
    return replace(drawn, spec={"title": title, **drawn.spec})


def _curve(results: Results, id: str, model: str) -> Chart:
    """A claim under each of its specifications; EngineError for one that names no choices."""
    found = results.claim(id, model=model)
    across = [name for name, claim in results.ledger.spec.claims.items() if claim.across]
    if id not in across:
        raise EngineError(
            f"claim {id!r} names no choices, so that there is no curve of it",
            expected="a figure, or one of the claims " + ", ".join(across) if across else "a figure",
            near=nearest(id, [*across, *results.figures]),
        )
    return specification_curve(found.says, found.verdict.specifications, margin_scale(found.holds))
