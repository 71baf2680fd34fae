"""Drawn charts kept on disk, so that a chart of unchanged data costs one small file and no Altair.

An entry is named by a hash over the figure, the bytes of the columns that it draws, the code that draws and
the versions of Altair and pandas. So an entry is never out of date: whatever changes, it has another name.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from engine.report.charts.chart import Chart

if TYPE_CHECKING:
    import pandas as pd

    from engine.evidence.result import Figure

CHARTS = Path(__file__).parent
MOST_BYTES = 256 * 2**20
"""More than this is not kept: the charts that were not shown for longest go first."""


class ChartCache:
    """Charts by what they are drawn from, in `folder`; without a folder every chart is drawn anew."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def draw(self, figure: Figure, table: pd.DataFrame) -> Chart:
        """The chart as it was drawn before, or drawn now and kept. TemplateError as `draw` raises it."""
        path = self.folder / f"{chart_hash(figure, table)}.json" if self.folder else None
        if path and (chart := _read(path)):
            return chart
        from engine.report.charts.draw import draw  # loads altair, which only drawing needs

        chart = draw(figure, table)
        if path:
            _keep(path, chart)
        return chart

    def prune(self, most_bytes: int = MOST_BYTES) -> None:
        """Delete what was not used for longest, until `most_bytes` are left."""
        found = []
        for path in self.folder.glob("*") if self.folder else ():
            with suppress(FileNotFoundError):  # another build prunes too
                found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
        for _, size, path in sorted(found, reverse=True):
            most_bytes -= size
            if most_bytes < 0:
                with suppress(OSError):
                    path.unlink()


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


def _read(path: Path) -> Chart | None:
    """The chart in a file; None where there is none, or where it is damaged."""
    try:
        checksum, _, written = path.read_bytes().partition(b"\n")
        if checksum != hashlib.sha256(written).hexdigest().encode():
            return None
        chart = Chart(**json.loads(written))
    except (OSError, ValueError, TypeError):
        return None
    with suppress(OSError):
        os.utime(path)  # so that `prune` sees that it is used
    return chart


def _keep(path: Path, chart: Chart) -> None:
    """Write a chart whole or not at all; a folder that cannot be written costs time only."""
    written = json.dumps(asdict(chart), ensure_ascii=False, separators=(",", ":")).encode()
    checksum = hashlib.sha256(written).hexdigest().encode()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            file.write(checksum + b"\n" + written)
        Path(file.name).replace(path)
