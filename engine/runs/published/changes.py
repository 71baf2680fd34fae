"""What moved between two states of an investigation's evidence: numbers, verdicts, entries that came or went.

A state is what is published in a folder, what was measured here, or one run. Two numbers are the same where
they are published alike, at six significant digits. Intervals exclude each other where they have no value in
common; where one of the two has none, the other interval and the value decide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from engine.errors import StoreError
from engine.evidence.result import Measurement
from engine.evidence.stand_in import IN_GENERAL
from engine.evidence.verdicts import VerdictName
from engine.runs.ledger import Entry, Ledger
from engine.runs.published.read import (
    EDITED,
    UNPROVED,
    PublishedEvidence,
    published_measurements,
    what_is_judged,
)
from engine.runs.published.rounding import rounded
from engine.spec.points import point_label

Place = tuple[str, str]
"""What stands in a state (`lens.commit_depth`, a claim, the label of an entry), and on which model."""


@dataclass(frozen=True)
class JudgedClaim:
    """A verdict in words, and the predicate that it is a verdict on."""

    verdict: str
    predicate: Mapping[str, Any]


@dataclass(frozen=True)
class EvidenceState:
    """Numbers and verdicts of one investigation at one time; `unbelieved` says what was left out, and why."""

    numbers: Mapping[Place, Measurement] = field(default_factory=dict)
    verdicts: Mapping[Place, JudgedClaim] = field(default_factory=dict)
    unbelieved: tuple[str, ...] = ()


@dataclass(frozen=True)
class NumberChange:
    """A number that is published otherwise: its value, or its interval alone.

    `excludes` says whether the two intervals exclude each other; None where the number has none.
    """

    name: str
    model: str
    role: str
    before: float
    before_low: float | None
    before_high: float | None
    after: float
    after_low: float | None
    after_high: float | None
    excludes: bool | None

    @property
    def has_moved(self) -> bool:
        """Whether its value is another, and not its interval alone."""
        return rounded({"": self.before}) != rounded({"": self.after})


@dataclass(frozen=True)
class VerdictChange:
    """A verdict that is another now; `reworded` where the predicate is, too."""

    claim: str
    model: str
    before: str
    after: str
    reworded: bool


@dataclass(frozen=True)
class EvidenceChanges:
    """All that differs between two states, and how many numbers of each entry are new or gone.

    `same` counts the numbers that are published alike.
    """

    numbers: tuple[NumberChange, ...] = ()
    verdicts: tuple[VerdictChange, ...] = ()
    came: Mapping[str, int] = field(default_factory=dict)  # "lens on gpt2" -> numbers that are new
    went: Mapping[str, int] = field(default_factory=dict)
    same: int = 0
    unbelieved: tuple[str, ...] = ()

    @property
    def moved(self) -> list[NumberChange]:
        """The numbers whose value is another."""
        return [number for number in self.numbers if number.has_moved]

    @property
    def excluding(self) -> list[NumberChange]:
        """The numbers of which both intervals cannot hold."""
        return [number for number in self.numbers if number.excludes]

    @property
    def flipped(self) -> list[VerdictChange]:
        """The verdicts that changed from one that was reached to another that was."""
        return [v for v in self.verdicts if "" not in (v.before, v.after)]

    @property
    def is_empty(self) -> bool:
        return not (self.numbers or self.verdicts or self.came or self.went)


def changes_between(before: EvidenceState, after: EvidenceState) -> EvidenceChanges:
    """First the numbers whose intervals exclude each other, last those whose interval alone moved."""
    both = [place for place in before.numbers if place in after.numbers]
    changed = [_changed(place, before.numbers[place], after.numbers[place]) for place in both]
    numbers = sorted(filter(None, changed), key=lambda n: (not n.excludes, not n.has_moved, n.model, n.name))
    return EvidenceChanges(
        tuple(numbers),
        tuple(_verdict_changes(before.verdicts, after.verdicts)),
        _entries_of(place for place in after.numbers if place not in before.numbers),
        _entries_of(place for place in before.numbers if place not in after.numbers),
        len(both) - len(numbers),
        (*before.unbelieved, *after.unbelieved),
    )


def published_state(evidence: PublishedEvidence) -> EvidenceState:
    """What is published. Files from before digests count; what was edited by hand does not, and is told."""
    runs = [run for run in evidence.runs.values() if run.fault != EDITED]
    verdicts = {
        (claim, model): JudgedClaim(found.verdict.verdict, found.judged)
        for (model, claim), found in evidence.verdicts.items()
        if found.fault != EDITED
    }
    numbers = {
        (f"{point_label(run.experiment, run.point)}.{name}", run.model): m
        for run in runs
        for name, m in _believable(published_measurements(run))
    }
    told = [": ".join(filter(None, [f.file, f.part, f.why])) for f in evidence.faults if f.why != UNPROVED]
    return EvidenceState(numbers, verdicts, tuple(told))


def measured_state(ledger: Ledger) -> EvidenceState:
    """What was measured on this machine, and the verdicts that were reached here."""
    numbers = {
        (f"{entry.label}.{name}", entry.model): m
        for entry in ledger.entries
        if entry.state == "measured"
        for name, m in _believable(entry.measurements)
    }
    verdicts = {
        (claim, model): JudgedClaim(verdict.verdict, what_is_judged(dict(ledger.spec.claims[claim])))
        for model, of_model in ledger.verdicts.items()
        for claim, verdict in of_model.items()
        if verdict.source == "measured" and verdict.verdict != "unmeasured"
    }
    return EvidenceState(numbers, verdicts)


def changes_since_published(ledger: Ledger) -> EvidenceChanges:
    """What was measured here beside what another run published of the same entries.

    Here a finding `excludes` where it drifted: where its fresh interval does not hold the published value.
    """
    published = {
        (f"{label}.{name}", model): m
        for (label, model), numbers in ledger.published_numbers.items()
        for name, m in _believable(numbers)
    }
    measured = measured_state(ledger).numbers
    here = {place: measured[place] for place in published if place in measured}
    found = changes_between(EvidenceState(published), EvidenceState(here))
    agrees = {(c.name, c.model): c.agrees for c in ledger.comparisons}
    numbers = [
        replace(n, excludes=not agrees[n.name, n.model]) if (n.name, n.model) in agrees else n
        for n in found.numbers
    ]
    verdicts = [
        VerdictChange(d.name.removeprefix("claims."), d.model, d.published, d.here, reworded=False)
        for d in ledger.changed_verdicts
    ]
    return EvidenceChanges(tuple(numbers), tuple(verdicts), same=found.same)


def entry_state(entry: Entry, model: str = "") -> EvidenceState:
    """The numbers of one run, under its experiment's name: runs at other points or models are compared so."""
    if entry.withheld:
        raise StoreError(f"the numbers of {entry.label} on {entry.model} are withheld", seen=entry.reason)
    place = model or entry.model
    return EvidenceState({(f"{entry.experiment}.{n}", place): m for n, m in _believable(entry.measurements)})


def exclude(before: Measurement, after: Measurement) -> bool | None:
    """Whether two intervals have no value in common; None where neither number has one."""
    ends = [(m.low, m.high) if m.low is not None and m.high is not None else None for m in (before, after)]
    if ends == [None, None]:
        return None
    (low, high), (other_low, other_high) = (
        e or (m.value, m.value) for e, m in zip(ends, (before, after), strict=True)
    )
    return high < other_low or other_high < low


def entry_of(name: str) -> str:
    """`layer0[lr=0.1]` of `layer0[lr=0.1].l0`."""
    return name.rpartition(".")[0]


def _believable(measurements: Mapping[str, Measurement]) -> Iterator[tuple[str, Measurement]]:
    """Findings and controls: a numerical check holds or does not."""
    return ((name, m) for name, m in measurements.items() if m.role != "check")


def _changed(place: Place, before: Measurement, after: Measurement) -> NumberChange | None:
    """The change of a number; None where it is published alike."""
    then, now = (rounded({"value": m.value, "low": m.low, "high": m.high}) for m in (before, after))
    if then == now:
        return None
    name, model = place
    return NumberChange(
        name,
        model,
        after.role,
        before.value,
        before.low,
        before.high,
        after.value,
        after.low,
        after.high,
        exclude(before, after),
    )


def _verdict_changes(
    before: Mapping[Place, JudgedClaim], after: Mapping[Place, JudgedClaim]
) -> Iterator[VerdictChange]:
    """Verdicts that are not what they were; one that came or went has an empty word on the other side."""
    none = JudgedClaim("", {})
    for claim, model in dict.fromkeys([*before, *after]):
        then, now = (state.get((claim, model), none) for state in (before, after))
        # `not found here` is a contradiction in the words for a stand-in.
        if _in_general(then) != _in_general(now):
            reworded = "" not in (then.verdict, now.verdict) and then.predicate != now.predicate
            yield VerdictChange(claim, model, then.verdict, now.verdict, reworded)


def _in_general(judged: JudgedClaim) -> str:
    return IN_GENERAL.get(cast("VerdictName", judged.verdict), judged.verdict)


def _entries_of(places: Iterable[Place]) -> dict[str, int]:
    """How many of these numbers each entry has."""
    return dict(Counter(f"{entry_of(name)} on {model}" for name, model in places))
