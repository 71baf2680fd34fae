"""Drawn charts kept on disk, so that a chart of unchanged data costs one small file and no Altair.

An entry is named by a hash over the figure, the bytes of the columns that it draws, the code that draws and
the versions of Altair and pandas.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from engine.report.charts.chart import Chart
from engine.report.json_cache import JsonCache

if TYPE_CHECKING:
    import pandas as pd

    from engine.evidence.result import Figure

CHARTS = Path(__file__).parent


class ChartCache:
    """Charts by what they are drawn from, in `folder`; without a folder every chart is drawn anew."""

    def __init__(self, folder: Path | None = None) -> None:
        self.kept = JsonCache(folder)

    def draw(self, figure: Figure, table: pd.DataFrame) -> Chart:
        """The chart as it was drawn before, or drawn now and kept. TemplateError as `draw` raises it."""
        if self.kept.folder is None:
            return _drawn(figure, table)
        key = chart_hash(figure, table)
        if fields := self.kept.get(key):
            return Chart(**fields)
        chart = _drawn(figure, table)
        self.kept.put(key, asdict(chart))
        return chart

    def prune(self) -> None:
        """Delete the charts that were not shown for longest, where there are many."""
        self.kept.prune()


def _drawn(figure: Figure, table: pd.DataFrame) -> Chart:
    from engine.report.charts.draw import draw  # loads altair, which only drawing needs

    return draw(figure, table)


def chart_hash(figure: Figure, table: pd.DataFrame) -> str:
    """A hash over all that a drawing depends on; the columns that are not drawn do not count."""
    columns = [table[name] for name in dict.fromkeys(figure.columns.values()) if name in table.columns]
    written = [json.dumps(asdict(figure), default=repr)]
    digest = hashlib.sha256("\0".join([_drawing_code(), *written]).encode())
    # The index counts, because rows are sampled in its order.
    for values in (table.index, *columns):
        digest.update(f"\0{values.dtype} {len(values)}\0".encode())
        # `repr` keeps apart what prints alike, such as None and "None".
        numbers = values.dtype.kind in "iufb" if hasattr(values.dtype, "kind") else False
        digest.update(values.to_numpy().tobytes() if numbers else repr(values.tolist()).encode())
    return digest.hexdigest()


@cache
def _drawing_code() -> str:
    """A hash over the code that draws and the versions of what it draws with."""
    digest = hashlib.sha256(f"altair {version('altair')} pandas {version('pandas')}".encode())
    for path in (*sorted(CHARTS.glob("*.py")), CHARTS.parent / "tables.py"):
        digest.update(path.read_bytes())
    return digest.hexdigest()
