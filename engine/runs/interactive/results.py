"""What an investigation or a run found, as Python has it: numbers as floats, tables as frames, verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from engine.errors import EngineError, nearest
from engine.evidence.printing import interval_text
from engine.evidence.result import Figure, Measurement
from engine.evidence.verdicts import Verdict
from engine.runs.assemble import assemble
from engine.runs.investigation import find_investigation, find_root
from engine.runs.ledger import DisplayKind, Entry, Ledger
from engine.runs.planning.plan import make_plan
from engine.runs.sources import project_sources
from engine.runs.store.store import open_store

MEASURED = ("value", "low", "high", "n", "unit", "quantity", "role", "control")
"""What the frame of all numbers says of each, by the measurement's own fields."""


def load(slug: str) -> Results:
    """An investigation of the project as its page has it: measured here, else published, else unmeasured.

    Nothing is measured. EngineError outside of a project, and with the nearest slugs for one that is not
    there.
    """
    root = find_root()
    sources = project_sources()
    investigation = find_investigation(root, slug, sources.catalog)
    with open_store(root) as store:
        plan = make_plan([investigation], store, sources, budget=0)
        return Results(assemble(investigation, store, plan))


class MeasuredFloat(float):
    """A measurement: a float in arithmetic, which knows its interval, n, unit of sampling and control.

    `measurement` is all that was measured, samples included where it was measured on this machine; `entry` is
    the run that it is of, with its provenance.
    """

    name: str
    measurement: Measurement
    entry: Entry

    def __new__(cls, name: str, measurement: Measurement, entry: Entry) -> MeasuredFloat:
        made = super().__new__(cls, measurement.value)
        made.name = name
        made.measurement = measurement
        made.entry = entry
        return made

    def __getnewargs__(self) -> tuple[str, Measurement, Entry]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.name, self.measurement, self.entry

    @property
    def low(self) -> float | None:
        """The lower end of the 95 % interval; None where it is withheld, or the number is a count."""
        return self.measurement.low

    @property
    def high(self) -> float | None:
        return self.measurement.high

    @property
    def n(self) -> int:
        """How many units it was measured over."""
        return self.measurement.n

    @property
    def unit(self) -> str:
        """The unit of sampling: "prompt"."""
        return self.measurement.unit

    @property
    def about(self) -> str:
        """What it is, in a sentence."""
        return self.measurement.about

    @property
    def model(self) -> str:
        return self.entry.model

    @property
    def state(self) -> str:
        """`measured` here, or `published` with the text."""
        return self.entry.state

    @property
    def samples(self) -> np.ndarray | None:
        """One value for each unit; None for a published number, which has none."""
        return self.measurement.samples

    @property
    def control(self) -> MeasuredFloat | None:
        """What chance or a known-good input gives: the number that this one is to be read against."""
        control = self.entry.measurements.get(self.measurement.control)
        if control is None:
            return None
        return MeasuredFloat(f"{self.name.rpartition('.')[0]}.{control.name}", control, self.entry)

    def __repr__(self) -> str:
        mark = " [published]" if self.state == "published" else ""
        return f"{interval_text(self.measurement)}{mark}"

    def _repr_html_(self) -> str:
        control = f", control {self.control!r}" if self.control is not None else ""
        about = f"<br><small>{escape(self.about)}</small>" if self.about else ""
        return f"<code>{escape(self.name)}</code> {escape(repr(self))}{escape(control)}{about}"


@dataclass(frozen=True)
class Results:
    """The ledger of an investigation, or of runs: what was found, and on whose authority.

    `results["lens.commit_depth"]` is a number by its name. Where only one experiment was asked for, its name
    goes without saying: `results["commit_depth"]`.
    """

    ledger: Ledger
    experiment: str = ""

    @property
    def title(self) -> str:
        return self.ledger.spec.title

    @property
    def question(self) -> str:
        return self.ledger.spec.question

    @property
    def models(self) -> list[str]:
        """The models by name, the primary one first."""
        return list(self.ledger.spec.models)

    @property
    def experiments(self) -> list[str]:
        """The experiments that were run, with their points where they are swept: `layer0[seed=3]`."""
        return list(dict.fromkeys(entry.label for entry in self._entries()))

    def __getitem__(self, name: str) -> MeasuredFloat:
        return self.number(name)

    def number(self, name: str, *, model: str = "") -> MeasuredFloat:
        """A measurement by `experiment.name`, on the primary model by default.

        EngineError with the nearest names where there is none, and with the reason where it was not measured.
        """
        full = self._full(name)
        measurement, entry = self.ledger.number(full, self._model(model))
        if measurement is None:
            raise self._not_measured(full, entry)
        return MeasuredFloat(full, measurement, entry)

    @property
    def numbers(self) -> pd.DataFrame:
        """Every number there is: a row for each measurement on each model."""
        rows = [
            [f"{e.label}.{m.name}", e.model, *(getattr(m, name) for name in MEASURED), e.state]
            for e, m in self._measurements()
        ]
        columns = ["name", "model", *MEASURED, "state"]
        return pd.DataFrame(rows, columns=columns).astype({"low": float, "high": float})

    def table(self, name: str, *, model: str = "") -> pd.DataFrame:
        """A table by `experiment.name`: a copy, to do with as one likes. EngineError as for a number."""
        return self._part("tables", name, model).copy()

    def figure(self, name: str, *, model: str = "") -> tuple[Figure, pd.DataFrame]:
        """A figure by `experiment.name`, and a copy of the table that it draws. EngineError as for a number.

        `engine.chart` draws it.
        """
        figure: Figure = self._part("figures", name, model)
        table = f"{self._full(name).rpartition('.')[0]}.{figure.table}"
        return figure, self.table(table, model=model)

    @property
    def figures(self) -> list[str]:
        """The names of the figures there are."""
        return list(dict.fromkeys(f"{e.label}.{name}" for e in self._entries() for name in e.figures))

    @property
    def tables(self) -> list[str]:
        """The names of the tables there are."""
        return list(dict.fromkeys(f"{e.label}.{name}" for e in self._entries() for name in e.tables))

    @property
    def claims(self) -> list[str]:
        """The ids of the claims."""
        return list(self.ledger.spec.claims)

    def verdict(self, claim: str, *, model: str = "") -> Verdict:
        """What the evidence says of a claim; EngineError with the nearest claims where there is none."""
        if claim not in self.ledger.spec.claims:
            raise _unknown(f"no claim {claim!r}", claim, self.ledger.spec.claims)
        return self.ledger.verdicts[self._model(model)][claim]

    @property
    def verdicts(self) -> pd.DataFrame:
        """Every verdict: a row for each claim on each model."""
        rows = [
            [claim, model, verdict.verdict, verdict.share, verdict.reason]
            for model, by_claim in self.ledger.verdicts.items()
            for claim, verdict in by_claim.items()
        ]
        return pd.DataFrame(rows, columns=["claim", "model", "verdict", "share", "reason"])

    def __repr__(self) -> str:
        numbers = self.numbers
        said = f"{self.title}: {len(numbers)} numbers of {', '.join(self.experiments)}"
        return f"{said}, {len(self.claims)} claims" if self.claims else said

    def _repr_html_(self) -> str:
        """The numbers as a notebook shows them, and the verdicts below them."""
        rows = [
            [f"{e.label}.{m.name}", e.model, interval_text(m), m.role, e.state]
            for e, m in self._measurements()
        ]
        shown = pd.DataFrame(rows, columns=["name", "model", "value", "role", "state"])
        parts = [f"<strong>{escape(self.title)}</strong>", shown.to_html(index=False)]
        if self.claims:
            parts.append(self.verdicts.to_html(index=False))
        return "\n".join(parts)

    def _entries(self) -> Iterator[Entry]:
        for entry in self.ledger.entries:
            if self.experiment in ("", entry.experiment):
                yield entry

    def _measurements(self) -> Iterator[tuple[Entry, Measurement]]:
        for entry in self._entries():
            for measurement in entry.measurements.values():
                yield entry, measurement

    def _full(self, name: str) -> str:
        """The name with its experiment, where that goes without saying."""
        if not self.experiment or "." in name.rpartition("]")[2]:
            return name
        if len(self.experiments) > 1:
            raise _unknown(
                f"{name!r} was measured at several points",
                name,
                [f"{label}.{name}" for label in self.experiments],
            )
        return f"{self.experiments[0]}.{name}"

    def _model(self, model: str) -> str:
        if model and model not in self.models:
            raise _unknown(f"no model {model!r} in this spec", model, self.models)
        return model or self.ledger.primary

    def _part(self, kind: DisplayKind, name: str, model: str) -> Any:
        label, _, part = self._full(name).rpartition(".")
        entry = self.ledger.entry(label, self._model(model))
        parts = getattr(entry, kind)
        if part in parts:
            return parts[part]
        if (kind, part) in entry.left_out or entry.state == "unmeasured":
            raise self._not_measured(f"{label}.{part}", entry, entry.left_out.get((kind, part), ""))
        raise _unknown(f"{label} has no {part!r} among its {kind}", part, list(parts))

    def _not_measured(self, name: str, entry: Entry, left_out: str = "") -> EngineError:
        return EngineError(
            f"{name} was not measured on {entry.model}",
            expected="a run on this machine, or a published one",
            seen=left_out or entry.reason,
            hint=f'engine.run("{self.ledger.slug}/{entry.experiment}")',
        )


def _unknown(problem: str, name: str, known: Sequence[str] | dict[str, Any]) -> EngineError:
    expected = "one of " + ", ".join(known) if known else "there is none"
    return EngineError(problem, expected=expected, seen=name, near=nearest(name, known))
