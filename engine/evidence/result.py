"""What a family returns: measurements with their samples, tables, figures, arrays and checks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from engine.errors import ResultError

if TYPE_CHECKING:
    import pandas as pd

Role = Literal["finding", "control", "check"]

Population = Literal["these", "like-these"]
"""Of whom a claim speaks, where units come in clusters (prompts by relation).

`these`: of more prompts of these relations, in this mix; prompts are resampled. `like-these`: of prompts of
other relations like these as well; relations are resampled. Units without clusters have one population.
"""


@dataclass(frozen=True)
class Measurement:
    """A named number with its 95 % interval, n, unit of sampling and role.

    `samples` is "n" (or "n columns") of per-unit values, `replicates` is "replicate" of the
    statistic over shared resamples, already expanded, so that the interval is their plain
    2.5 / 97.5 percentile and a claim may be evaluated replicate by replicate.
    `low` and `high` are None where the interval is withheld; `note` then says why.

    Where the units come in clusters there are two intervals, one for each population: `low` and `high` are
    the wider, `replicates` and `these_low`, `these_high` are for these clusters, `cluster_replicates` for
    clusters like these. A choice (statistic "choice") has the places that resamples chose as replicates, and
    in `frequency` the share of them that chose this place.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    n: int
    unit: str
    role: Role = "finding"
    statistic: str = "mean"
    quantity: str = ""  # what the number counts: "logits", "layers", "nats"; empty for a pure number
    about: str = ""  # one sentence for the popover
    note: str = ""  # why the interval is wide or withheld
    control: str = ""  # the measurement (of the same result) that this one is to be read against
    chosen_on: str = ""  # the split that a layer, head or threshold was chosen on, if one was
    exact: bool = False  # a count by design, not an estimate: has no interval
    n_clusters: int = 0
    cluster_unit: str = ""  # what a cluster is: "relation"; empty where units do not come in clusters
    these_low: float | None = None
    these_high: float | None = None
    cluster_note: str = ""  # why there are no replicates by cluster, where there are none
    frequency: float | None = None
    samples: np.ndarray | None = field(default=None, compare=False, repr=False)
    replicates: np.ndarray | None = field(default=None, compare=False, repr=False)
    cluster_replicates: np.ndarray | None = field(default=None, compare=False, repr=False)

    @property
    def is_choice(self) -> bool:
        return self.statistic == "choice"

    @property
    def is_countable(self) -> bool:
        """Whether the number takes whole values by design, so that it may be asked to equal another."""
        return self.exact or self.is_choice

    def replicates_of(self, population: Population) -> np.ndarray | None:
        """The replicates that speak for a population; None where its interval is withheld."""
        by_cluster = population == "like-these" and self.cluster_unit
        return self.cluster_replicates if by_cluster else self.replicates

    def why_withheld(self, population: Population) -> str:
        """Why a population has no replicates."""
        return self.cluster_note or self.note if population == "like-these" else self.note


@dataclass(frozen=True)
class Check:
    """A numerical identity that must hold for the numbers of a run to be shown at all."""

    name: str
    value: float
    limit: float
    about: str

    @property
    def passed(self) -> bool:
        return math.isfinite(self.value) and self.value <= self.limit


@dataclass(frozen=True)
class Figure:
    """A chart by kind: which table it draws, and which of its columns play which part.

    `columns` maps the parts of the kind (x, y, low, high, color, facet, ...) to column names.
    """

    kind: str
    table: str
    columns: dict[str, str]
    title: str
    caption: str = ""
    options: dict[str, str | float | bool | np.number | list] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """Everything one run found. Every family returns at least one control."""

    findings: Sequence[Measurement] = ()
    controls: Sequence[Measurement] = ()
    checks: Sequence[Check] = ()
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def measurements(self) -> dict[str, Measurement]:
        """Findings, then controls, by name, each carrying its role."""
        rows = [replace(m, role="finding") for m in self.findings]
        rows += [replace(m, role="control") for m in self.controls]
        return {m.name: m for m in rows}

    @property
    def failed_checks(self) -> list[Check]:
        return [c for c in self.checks if not c.passed]

    def validated(self, where: str = "") -> Result:
        """Itself, or a ResultError: NaN, no control, a name used twice, a figure without its table."""
        names = [m.name for m in (*self.findings, *self.controls)]
        for name in {n for n in names if names.count(n) > 1}:
            raise ResultError(f"two measurements are called {name!r}", where=where)
        for m in (*self.findings, *self.controls):
            if not math.isfinite(m.value):
                raise ResultError(f"{m.name} is not a number", where=where, seen=repr(m.value))
        if not self.controls:
            raise ResultError("a family returns at least one control", where=where, seen="none")
        for key, figure in self.figures.items():
            columns = set(self.tables[figure.table].columns) if figure.table in self.tables else None
            if columns is None or not set(figure.columns.values()) <= columns:
                raise ResultError(
                    f"figure {key!r} draws what is not there",
                    where=where,
                    expected=f"table {figure.table!r} with columns {sorted(figure.columns.values())}",
                    seen=str(sorted(columns) if columns is not None else sorted(self.tables)),
                )
        return self


@dataclass(frozen=True)
class Calibration:
    """A method run on a case whose answer is known by construction."""

    name: str
    about: str
    expected: str  # in words: "1 within 1e-5"
    seen: float
    low: float
    high: float

    @property
    def passed(self) -> bool:
        return self.low <= self.seen <= self.high
