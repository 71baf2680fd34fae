"""How each number of an investigation stands to what is published: replicated, drifted, or not measured here.

Only a finding with an interval is judged: a fresh number whose interval excludes the published one has
drifted. Controls, counts and choices are shown beside what is published of them. A run and its own published
copy are one measurement, so that its numbers are measured here and neither replicated nor drifted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from engine.runs.ledger import Entry, Ledger

if TYPE_CHECKING:
    from engine.evidence.result import Measurement

NumberState = Literal["replicated", "drifted", "measured here", "not measured here"]


@dataclass(frozen=True)
class NumberStanding:
    """One finding or control: as it was published and as it was measured here, as far as there are both."""

    name: str
    published: Measurement | None
    fresh: Measurement | None
    state: NumberState


@dataclass(frozen=True)
class ReplicationCounts:
    """How many numbers of an investigation were measured here, how many agree, and from when the rest is.

    `total` counts findings and controls of all entries that have numbers, `here` those measured on this
    machine. Of these `compared` were also published from another run, and `agreed` agree with it. `days` are
    the first and the last day of the published runs that were not repeated here, empty where there are none.
    """

    total: int
    here: int
    compared: int
    agreed: int
    days: tuple[str, ...] = ()

    @property
    def drifted(self) -> int:
        return self.compared - self.agreed

    @property
    def rest(self) -> int:
        """How many numbers are published ones that were not measured here."""
        return self.total - self.here

    @property
    def in_words(self) -> str:
        """`measured here: 27 of 184, all that can be compared agree; the rest from 2026-11-24`."""
        if not self.total:
            return "nothing has been measured yet"
        said = [f"measured here: {self.here:,} of {self.total:,}"]
        if self.drifted:
            said[0] += f", {self.drifted:,} of {self.compared:,} compared drifted"
        elif self.compared:
            said[0] += f", all {self.compared:,} compared agree"
        if self.rest:
            said.append(f"the rest from {' to '.join(dict.fromkeys(self.days))}")
        return "; ".join(said)


def measured_here(ledgers: Ledger | Iterable[Ledger]) -> ReplicationCounts:
    """The counts of one investigation, or of several together; every page takes them from here."""
    parts = [_counts(ledger) for ledger in ([ledgers] if isinstance(ledgers, Ledger) else ledgers)]
    return together(parts)


def together(parts: Sequence[ReplicationCounts]) -> ReplicationCounts:
    """The counts of several investigations as one."""
    days = sorted(day for part in parts for day in part.days)
    return ReplicationCounts(
        total=sum(part.total for part in parts),
        here=sum(part.here for part in parts),
        compared=sum(part.compared for part in parts),
        agreed=sum(part.agreed for part in parts),
        days=(days[0], days[-1]) if days else (),
    )


def standings(ledger: Ledger, entry: Entry) -> list[NumberStanding]:
    """Every finding and control of an entry, in its own order; empty where it has no numbers."""
    judged = {c.name: c.agrees for c in ledger.comparisons if c.model == entry.model}
    published = ledger.published_numbers.get((entry.label, entry.model), {})
    found: list[NumberStanding] = []
    for name, number in _numbers(entry):
        full = f"{entry.label}.{name}"
        if entry.state == "published":
            found.append(NumberStanding(full, number, None, "not measured here"))
            continue
        state: NumberState = "measured here"
        if full in judged:
            state = "replicated" if judged[full] else "drifted"
        found.append(NumberStanding(full, published.get(name), number, state))
    return found


def state_counts(standing: Iterable[NumberStanding]) -> Counter[NumberState]:
    """How many numbers have which state."""
    return Counter(number.state for number in standing)


def _counts(ledger: Ledger) -> ReplicationCounts:
    agreed, compared = ledger.replicated
    sizes = dict.fromkeys(("measured", "published", "unmeasured"), 0)
    for entry in ledger.entries:
        sizes[entry.state] += sum(1 for _ in _numbers(entry))
    days = sorted(
        e.provenance.date[:10] for e in ledger.entries if e.state == "published" and e.provenance is not None
    )
    ends = (days[0], days[-1]) if days else ()
    return ReplicationCounts(
        sizes["measured"] + sizes["published"], sizes["measured"], compared, agreed, ends
    )


def _numbers(entry: Entry) -> Iterator[tuple[str, Measurement]]:
    """What can be found again: a numerical check holds or does not, and is told by itself."""
    for name, number in entry.measurements.items():
        if number.role != "check":
            yield name, number
