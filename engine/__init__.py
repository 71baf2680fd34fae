"""The research engine: from a spec on disk to a published page.

In a notebook or a script:

    import engine

    facts = engine.load("fact-recall")     # an investigation: its numbers, tables and verdicts
    facts["lens.commit_depth"]             # a float that knows its interval, n, unit and control
    engine.chart(facts, "lens.ranks")      # a figure of it, as its page draws it
    engine.run("my-experiment.yaml")       # measure a spec: a file, a dict, or "slug/experiment"
    engine.measure("logit_lens", model="smollm2-135m-instruct", prompts="facts")
    lab = engine.Lab("smollm2-135m-instruct")   # the instruments on a model

Each is imported when it is first asked for, so that `import engine` loads neither torch nor pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.errors import EngineError
    from engine.report.result_charts import chart
    from engine.runs.interactive.lab import ModelLab as Lab
    from engine.runs.interactive.measure import measure, run
    from engine.runs.interactive.results import load

__all__ = ["EngineError", "Lab", "chart", "load", "measure", "run"]

_PLACES = {
    "EngineError": ("engine.errors", "EngineError"),
    "Lab": ("engine.runs.interactive.lab", "ModelLab"),
    "chart": ("engine.report.result_charts", "chart"),
    "load": ("engine.runs.interactive.results", "load"),
    "measure": ("engine.runs.interactive.measure", "measure"),
    "run": ("engine.runs.interactive.measure", "run"),
}


def __getattr__(name: str) -> Any:
    """One of the names above, imported on its first use."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    found = getattr(import_module(module), attribute)
    globals()[name] = found  # so that the next use does not come here
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
