"""What an investigation or a run found, as Python has it: numbers as floats, tables as frames, verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine.errors import EngineError, nearest
from engine.evidence.printing import interval_text
from engine.evidence.result import Figure, Measurement
from engine.evidence.verdicts import Verdict
from engine.runs.assemble import assemble
from engine.runs.interactive.claim_verdict import ClaimVerdict
from engine.runs.interactive.frames import (
    check_frame,
    comparison_frame,
    measurement_frame,
    run_frame,
    verdict_frame,
)
from engine.runs.investigation import find_investigation, find_root
from engine.runs.ledger import DisplayKind, Entry, Ledger, Provenance
from engine.runs.planning.plan import make_plan
from engine.runs.sources import project_sources
from engine.runs.store.store import open_store


def load(slug: str, *, project: str | Path | None = None) -> Results:
    """An investigation of the project as its page has it: measured here, else published, else unmeasured.

    Nothing is measured. The project is the one around the working directory, or around the folder `project`.
    EngineError outside of a project, and with the nearest slugs for one that is not there.
    """
    if not isinstance(slug, str):
        expected = 'its slug: engine.load("fact-recall")'
        raise EngineError("an investigation is named by its slug", expected=expected, seen=repr(slug))
    root = find_root(Path(project).expanduser() if project is not None else None)
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
    def provenance(self) -> Provenance | None:
        """The run that it is of: hashes, versions, date, and the command that repeats it."""
        return self.entry.provenance

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

    `results["lens.commit_depth"]` is a number by its name, on the primary model; going through `results`
    gives these names. Where only one experiment was asked for, its name goes without saying:
    `results["commit_depth"]`.
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

    def __iter__(self) -> Iterator[str]:
        return (f"{e.label}.{m.name}" for e, m in self._measurements() if e.model == self.ledger.primary)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def number(self, name: str, *, model: str = "") -> MeasuredFloat:
        """A measurement by `experiment.name`, on the primary model by default.

        EngineError with the nearest names where there is none, and with the reason where it was not measured.
        """
        full = self._full(name)
        if "." not in full:
            raise self._without_experiment(full)
        measurement, entry = self.ledger.number(full, self._model(model))
        if measurement is None:
            raise self._not_measured(full, entry)
        return MeasuredFloat(full, measurement, entry)

    @property
    def measurements(self) -> pd.DataFrame:
        """Every number there is: a row for each measurement on each model."""
        return measurement_frame(self._measurements())

    @property
    def numbers(self) -> pd.DataFrame:
        """The measurements, by the name that they had in the first release."""
        return self.measurements

    @property
    def provenance(self) -> pd.DataFrame:
        """Where everything comes from: a row for each experiment and point on each model."""
        return run_frame(self._entries())

    @property
    def checks(self) -> pd.DataFrame:
        """The numerical identities that hold for these numbers: a row for each check of each run."""
        return check_frame(self._entries())

    @property
    def comparisons(self) -> pd.DataFrame:
        """What was measured again: a row for each published number that has a fresh one beside it."""
        labels = {entry.label for entry in self._entries()}
        found = (c for c in self.ledger.comparisons if c.name.rpartition(".")[0] in labels)
        return comparison_frame(found)

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

    def claim(self, claim: str, *, model: str = "") -> ClaimVerdict:
        """A claim with its verdict on a model, the primary one by default. EngineError as for a verdict."""
        verdict = self.verdict(claim, model=model)
        return ClaimVerdict(claim, self._model(model), self.ledger.spec.claims[claim], verdict)

    def verdict(self, claim: str, *, model: str = "") -> Verdict:
        """What the evidence says of a claim; EngineError with the nearest claims where there is none."""
        if claim not in self.ledger.spec.claims:
            raise _unknown(f"no claim {claim!r}", claim, self.ledger.spec.claims)
        return self.ledger.verdicts[self._model(model)][claim]

    @property
    def verdicts(self) -> pd.DataFrame:
        """Every verdict: a row for each claim on each model."""
        return verdict_frame(self.ledger.verdicts, self.ledger.spec.claims)

    def __repr__(self) -> str:
        n = sum(1 for _ in self._measurements())
        said = f"{self.title}\n{n} measurements of {_listed(self.experiments)} on {', '.join(self.models)}"
        return f"{said}; {len(self.claims)} claims" if self.claims else said

    def _repr_html_(self) -> str:
        """The claims with their verdicts as a notebook shows them, and the numbers folded below."""
        rows = [
            [f"{e.label}.{m.name}", e.model, interval_text(m), m.role, e.state]
            for e, m in self._measurements()
        ]
        shown = pd.DataFrame(rows, columns=["name", "model", "value", "role", "state"])
        parts = [f"<p><strong>{escape(self.title)}</strong><br>{escape(self.question)}</p>"]
        if self.claims:
            verdicts = self.verdicts.loc[lambda v: v["model"] == self.ledger.primary]
            judged = verdicts[["says", "verdict", "share"]]
            parts += [f"<p>Claims on {escape(self.ledger.primary)}</p>", _html(judged)]
        count = f"{len(rows)} measurements of {_listed(self.experiments)}"
        return "\n".join([*parts, f"<details><summary>{escape(count)}</summary>{_html(shown)}</details>"])

    def _ipython_key_completions_(self) -> list[str]:
        """What a notebook offers after `results["`."""
        return list(self)

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
        if not isinstance(name, str):
            raise EngineError(
                "a number is looked up by its name", expected='results["experiment.name"]', seen=repr(name)
            )
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

    def _without_experiment(self, name: str) -> EngineError:
        full = {known: known.rpartition(".")[2] for known in self}
        meant = [known for known, last in full.items() if last == name]
        close = nearest(name, full.values())
        return EngineError(
            f"{name!r} does not say of which experiment it is",
            expected=f"experiment.{name or 'NAME'}, with one of {_listed(self.experiments)}",
            seen=name,
            near=meant or [known for known, last in full.items() if last in close],
        )

    def _part(self, kind: DisplayKind, name: str, model: str) -> Any:
        label, _, part = self._full(name).rpartition(".")
        if not label:
            known = self.tables if kind == "tables" else self.figures
            near = [full for full in known if full.rpartition(".")[2] in nearest(name, _last_names(known))]
            expected = "experiment.name: one of " + (", ".join(known) or "none, since nothing was measured")
            raise EngineError(f"no {kind[:-1]} {name!r}", expected=expected, seen=name, near=near)
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


def _last_names(full: Sequence[str]) -> list[str]:
    return [name.rpartition(".")[2] for name in full]


def _listed(labels: Sequence[str], most: int = 8) -> str:
    """The first of many labels, and how many there are."""
    if len(labels) <= most:
        return ", ".join(labels)
    return f"{', '.join(labels[:most])} and {len(labels) - most} more"


def _html(frame: pd.DataFrame) -> str:
    with pd.option_context("display.max_colwidth", None):  # a sentence is no use cut off
        return frame.to_html(index=False, na_rep="")


def _unknown(problem: str, name: str, known: Sequence[str] | dict[str, Any]) -> EngineError:
    expected = "one of " + ", ".join(known) if known else "there is none"
    return EngineError(problem, expected=expected, seen=name, near=nearest(name, known))
