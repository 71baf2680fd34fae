"""Evidence as a family gathers it: each number, control, table and figure said once, where it arises.

    ev = Evidence("prompt", ids)
    chance = ev.control("chance_depth", drawn, "Depth at which a drawn answer commits.")
    ev.finding("commit_depth", commits / n_layers, "Mean depth at which prompts commit.", control=chance)
    ev.table("ranks", frame).line("rank", "layer: blocks read", "rank", band=True, title="Rank by layer")
    return ev.result()

A finding is given its control as the measurement that `control` returned, so that the name of one cannot
dangle. `where` and `over` give the same gathering over some of the units, or over units of another kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partialmethod
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from engine.errors import ResultError
from engine.evidence.bootstrap import MeasurementDetails, count, difference, measure
from engine.evidence.chosen import with_choices
from engine.evidence.estimates import RowFunction
from engine.evidence.plural import counted
from engine.evidence.populations import Choice, choose, over_both
from engine.evidence.result import Check, Figure, Measurement, Result, Role

Statistic = str | RowFunction


@dataclass
class Record:
    """All that was gathered so far."""

    measurements: dict[Role, dict[str, Measurement]] = field(
        default_factory=lambda: {"finding": {}, "control": {}}
    )
    checks: list[Check] = field(default_factory=list)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """What one run finds, over its units of sampling.

    `unit` is what one value is a sample of ("prompt"); `ids` name the units, so that numbers over the same
    units are compared pairwise; `clusters` give the unit of each value where several values share one, or
    both units of a value that belongs to a pair. `groups` give the cluster of each unit where units are alike
    by cluster, and `group_unit` what a cluster is ("relation"): each number is then measured for two
    populations (populations.py). `rows` are the values that count, where not all of them do; `chosen_on` says
    on what the others chose.
    """

    unit: str
    ids: Sequence | np.ndarray | None = None
    clusters: Any = None
    groups: Sequence | np.ndarray | None = None
    group_unit: str = ""
    rows: Bool[np.ndarray, " unit"] | None = None
    chosen_on: str = ""
    record: Record = field(default_factory=Record, repr=False)

    def over(self, unit: str, ids: Sequence | np.ndarray | None = None, *, clusters: Any = None) -> Evidence:
        """The same gathering, over units of another kind."""
        return Evidence(unit, ids, clusters, record=self.record)

    def where(self, rows: Bool[np.ndarray, " unit"], *, chosen_on: str = "") -> Evidence:
        """The same gathering, over some of the units; `chosen_on` says how, where a part of them chooses."""
        return replace(self, rows=np.asarray(rows), chosen_on=chosen_on)

    def of(self, index: Int[np.ndarray, " picked"]) -> Evidence:
        """The same gathering, over these units in this order: values are given for them alone."""
        picked = {
            name: None if labels is None else np.asarray(labels)[index]
            for name, labels in (("ids", self.ids), ("clusters", self.clusters), ("groups", self.groups))
        }
        return replace(self, **picked, rows=None)

    def finding(
        self,
        name: str,
        values: Any,
        about: str,
        quantity: str = "",
        *,
        statistic: Statistic = "mean",
        over: Any = None,
        less: Any = None,
        bounds: tuple[float, float] | None = None,
        control: Measurement | None = None,
        choices: Sequence[Measurement] = (),
    ) -> Measurement:
        """A number that the experiment is about; `control` is what it is to be read against.

        `about` is one sentence for the reader, `quantity` what is counted ("nats"). With `over` the number is
        the mean of `values` over the mean of `over`; with `less`, the mean or share of `values` less that
        of `less`, of the same units. `choices` are the number (by `measured`) of whatever else might have
        been chosen: the interval then contains the choice (chosen.py). Raises ResultError for a control that
        is not this run's.
        """
        if control is not None and self.record.measurements["control"].get(control.name) is not control:
            raise ResultError(
                f"{name} is to be read against what is no control of this run",
                expected="a measurement that `control` returned",
                seen=control.name,
            )
        found = self.measured(
            name, values, about, quantity, statistic=statistic, over=over, less=less, bounds=bounds
        )
        if choices:
            found = with_choices(found, choices, bounds)
        return self._add("finding", replace(found, control=control.name if control else ""))

    def control(
        self,
        name: str,
        values: Any,
        about: str,
        quantity: str = "",
        *,
        statistic: Statistic = "mean",
        over: Any = None,
        less: Any = None,
        bounds: tuple[float, float] | None = None,
    ) -> Measurement:
        """What chance or a known-good input gives."""
        found = self.measured(
            name, values, about, quantity, statistic=statistic, over=over, less=less, bounds=bounds
        )
        return self._add("control", found)

    def measured(
        self,
        name: str,
        values: Any,
        about: str = "",
        quantity: str = "",
        *,
        statistic: Statistic = "mean",
        over: Any = None,
        less: Any = None,
        bounds: tuple[float, float] | None = None,
    ) -> Measurement:
        """A number over these units that is not recorded: an entry of a table."""
        samples = self._counted(values)
        if over is not None:
            samples = np.column_stack([samples, self._counted(over)])
            statistic = "ratio"
        given: MeasurementDetails = {
            "unit": self.unit,
            "bounds": bounds,
            "quantity": quantity,
            "about": about,
            "chosen_on": self.chosen_on,
        }
        by_unit: MeasurementDetails = {
            **given,
            "ids": self._counted(self.ids),
            "clusters": self._counted(self.clusters),
        }

        def measured(details: MeasurementDetails) -> Measurement:
            if less is None:
                return measure(name, samples, statistic, **details)
            # Shares of yes and no have an interval where all units say the same; their differences have none.
            return difference(name, samples, self._counted(less), **details)

        these = measured(by_unit)
        if self.groups is None:
            return these
        by_group: MeasurementDetails = {
            **given,
            "unit": self.group_unit,
            "clusters": self._counted(self.groups),
        }
        return over_both(these, measured(by_group))

    def count(self, name: str, value: float, about: str, *, unit: str = "") -> Measurement:
        """A finding that is exact by design: prompts kept, layers, parameters."""
        return self._add("finding", count(name, value, unit=unit or self.unit, about=about))

    def best(self, values: Float[np.ndarray, "unit place"]) -> Choice:
        """The place with the largest mean over these units, and what resamples of them would choose."""
        return choose(
            self._counted(np.asarray(values, dtype=float)),
            self.unit,
            self._counted(self.ids),
            self._counted(self.groups),
        )

    def choice(self, name: str, chosen: Choice, about: str) -> Measurement:
        """A layer or head that these units chose, with how often resamples of them choose it again."""
        few = self.groups is not None and chosen.by_cluster is None
        found = Measurement(
            name=name,
            value=float(chosen.place),
            low=None,
            high=None,
            n=chosen.n,
            unit=self.unit,
            statistic="choice",
            about=about,
            chosen_on=self.chosen_on,
            n_clusters=chosen.n_clusters,
            cluster_unit=self.group_unit,
            cluster_note=f"only {counted(chosen.n_clusters, self.group_unit)} chose" if few else "",
            frequency=chosen.frequency,
            replicates=chosen.by_unit.astype(float),
            cluster_replicates=None if chosen.by_cluster is None else chosen.by_cluster.astype(float),
        )
        return self._add("finding", found)

    def by_layer(
        self, values: Float[np.ndarray, "unit layer"], column: str, **labels: object
    ) -> pd.DataFrame:
        """A row for each layer (or other place): the mean as `column`, low, high; `labels` are constant."""
        means = [self.measured(str(layer), each) for layer, each in enumerate(np.asarray(values).T)]
        table = pd.DataFrame(
            {
                "layer": range(len(means)),
                column: [m.value for m in means],
                "low": [m.low for m in means],
                "high": [m.high for m in means],
            }
        )
        return table.astype({"low": float, "high": float}).assign(**labels)

    def check(self, *checks: Check) -> None:
        """Numerical identities without which no number of the run is shown."""
        self.record.checks.extend(checks)

    def table(self, name: str, frame: pd.DataFrame) -> EvidenceTable:
        """Keep a table, and say how it is drawn. Its `low` and `high` are numbers, NaN where withheld."""
        # Where every interval is withheld, pandas makes objects of them, which would be published as text.
        ends = {end: float for end in ("low", "high") if end in frame}
        self.record.tables[name] = frame.astype(ends) if ends else frame
        return EvidenceTable(name, self.record)

    def array(self, name: str, values: np.ndarray) -> None:
        """Keep an array for the runs that use this one."""
        self.record.arrays[name] = values

    def result(self) -> Result:
        """Everything gathered, as a family returns it."""
        record = self.record
        return Result(
            findings=list(record.measurements["finding"].values()),
            controls=list(record.measurements["control"].values()),
            checks=list(record.checks),
            tables=dict(record.tables),
            figures=dict(record.figures),
            arrays=dict(record.arrays),
        )

    def _counted(self, values: Any) -> Any:
        """The values of the units that count."""
        if values is None:
            return None
        values = np.asarray(values)
        return values if self.rows is None else values[self.rows]

    def _add(self, role: Role, found: Measurement) -> Measurement:
        if any(found.name in named for named in self.record.measurements.values()):
            raise ResultError(f"two measurements are called {found.name!r}")
        self.record.measurements[role][found.name] = found
        return found


@dataclass(frozen=True)
class EvidenceTable:
    """A table that was kept, to be drawn in any number of ways; each gives the table back."""

    name: str
    record: Record

    def draw(
        self,
        kind: str,
        figure: str,
        x: str,
        y: str = "",
        *,
        color: str = "",
        facet: str = "",
        label: str = "",
        band: bool = False,
        title: str,
        caption: str = "",
        **options: Any,
    ) -> EvidenceTable:
        """A figure by kind; a part is a column, its title behind it where that differs: "layer: blocks read".

        With `band` the columns `low` and `high` are the interval. `options` are the chart's own, such as
        `log_x`, `rule` or `midpoint`.
        """
        said = {"x": x, "y": y, "color": color, "facet": facet, "label": label}
        columns = {"low": "low", "high": "high"} if band else {}
        titles = {}
        for part, words in said.items():
            column, _, name = words.partition(": ")
            columns |= {part: column} if column else {}
            titles |= {f"{part}_title": name} if name else {}
        self.record.figures[figure] = Figure(kind, self.name, columns, title, caption, titles | options)
        return self

    line = partialmethod(draw, "line")
    """y over x, a line for each color, a panel for each facet."""
    bar = partialmethod(draw, "bar")
    """A bar for each row; it lies down where y holds words."""
    heatmap = partialmethod(draw, "heatmap")
    """A cell for each row."""
    strip = partialmethod(draw, "strip")
    """A point for each row, spread sideways within its category."""
    ecdf = partialmethod(draw, "ecdf")
    """The share of rows with at most each value of x."""
    scatter = partialmethod(draw, "scatter")
    """A point for each row."""
