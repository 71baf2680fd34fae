"""The ledger: all that a report may say about one investigation, and where each number came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from engine.errors import ClaimError, TemplateError, nearest
from engine.spec.models import Spec
from engine.spec.points import point_label

if TYPE_CHECKING:
    import pandas as pd

    from engine.evidence.result import Check, Figure, Measurement
    from engine.evidence.verdicts import Verdict

EntryState = Literal["measured", "published", "unmeasured"]
DisplayKind = Literal["tables", "figures"]


class DisplayItem(NamedTuple):
    """A table or figure as a page asks for it: of which entry on which model, and by which name."""

    label: str
    model: str
    kind: DisplayKind
    name: str


@dataclass(frozen=True)
class Provenance:
    """What a reader needs in order to trust a number and to measure it again."""

    run_id: int | None
    key: str  # hash over spec, code, model bytes, data bytes and what the run uses
    spec_hash: str
    model: str
    model_hash: str
    quantisation: str  # "dequantised from Q4_1", or empty
    dtype: str
    device: str
    versions: dict[str, str]
    date: str  # ISO 8601, UTC
    seconds: float
    command: str  # reproduces the run: "mech run --name fact-recall/lens --model ..."
    peak_bytes: int = 0  # the process's peak memory during the run
    asked: dict[str, Any] = field(default_factory=dict)  # the experiment with every default, as it was run
    inputs: dict[str, str] = field(default_factory=dict)  # a short hash of each input, by kind
    second: dict[str, str] = field(default_factory=dict)  # the model that it is compared with: name, hash
    sites: dict[str, list[str]] = field(default_factory=dict)  # hook sites among the parameters, by model
    coders: dict[str, str] = field(default_factory=dict)  # dictionaries that it is given: path, hash
    read: dict[str, str] = field(default_factory=dict)  # prompts and corpus: where from, and how much

    @property
    def hook_site(self) -> str:
        """Where in its models it was measured, with layers as numbers; empty where a family reads no site.

        The plan resolved a relative depth (`blocks.50%...`) before the run: what was asked, which is
        published with the numbers, holds the layer of the one hook site, and `sites` those of several.
        """
        several = [
            f"{', '.join(sites)} in {model}" if len(self.sites) > 1 else ", ".join(sites)
            for model, sites in self.sites.items()
        ]
        return "; ".join(filter(None, [self.asked.get("hook_site"), *several]))


@dataclass(frozen=True)
class Entry:
    """One experiment at one sweep point on one model."""

    experiment: str
    point: dict[str, object]
    model: str
    state: EntryState
    reason: str = ""  # why unmeasured or withheld; for published, why it was not measured here
    measurements: dict[str, Measurement] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    provenance: Provenance | None = None
    left_out: dict[tuple[DisplayKind, str], str] = field(default_factory=dict)  # why it is not published
    changed: tuple[str, ...] = ()  # of a published one: "published with other code", and other such things

    @property
    def label(self) -> str:
        """`lens`, or `layer0[seed=3]` at a sweep point."""
        return point_label(self.experiment, self.point)

    @property
    def withheld(self) -> bool:
        """Whether it was measured here but failed a check, so that only its checks may be shown."""
        return self.state == "unmeasured" and any(not check.passed for check in self.checks)


@dataclass(frozen=True)
class Replication:
    """A fresh number beside the one last committed with the text."""

    name: str
    model: str
    published: float
    fresh: float
    low: float | None
    high: float | None
    agrees: bool


@dataclass(frozen=True)
class Difference:
    """A published value that is not what its own run measured, which is in the run store here.

    `name` says where in the entry it stands, `count.measurements.score.value`; both values are in words.
    """

    name: str
    model: str
    published: str
    here: str


@dataclass(frozen=True)
class PublishedFault:
    """A part of what is published that cannot be believed, and why.

    `file` is relative to the investigation's folder; `part` is where in it, empty for all of it.
    """

    file: str
    part: str
    why: str
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class Ledger:
    """Entries, verdicts by model and claim id, and the comparison with the published numbers.

    `faults` are the parts of what is published that are not believed: no entry has a number of theirs.
    `changed_verdicts` are published verdicts beside others that were reached here on the same predicate.
    A ledger with `wrong_claims` (on numbers that are not there) is whole in all else, but no report is
    printed from it until they are mended.
    """

    slug: str
    spec: Spec
    entries: tuple[Entry, ...]
    verdicts: dict[str, dict[str, Verdict]]
    comparisons: tuple[Replication, ...] = ()
    wrong_claims: tuple[ClaimError, ...] = ()
    faults: tuple[PublishedFault, ...] = ()
    copied: int = 0  # published numbers that were compared with the run that they are of
    changed_verdicts: tuple[Difference, ...] = ()
    published_on: str = ""  # ISO 8601, UTC: when the latest of the published runs was measured
    # What another run published of entries that were measured here, by label and model.
    published_numbers: Mapping[tuple[str, str], Mapping[str, Measurement]] = field(
        default_factory=dict, repr=False
    )

    @property
    def primary(self) -> str:
        return self.spec.models[0]

    @cached_property
    def _by_place(self) -> dict[tuple[str, str], Entry]:
        """The entries by label and model: a page asks for one at each of its numbers."""
        return {(entry.label, entry.model): entry for entry in self.entries}

    @property
    def drifted(self) -> list[Replication]:
        return [c for c in self.comparisons if not c.agrees]

    @property
    def replicated(self) -> tuple[int, int]:
        """k of n published numbers that a fresh measurement here agrees with."""
        return len(self.comparisons) - len(self.drifted), len(self.comparisons)

    def entry(self, label: str, model: str | None = None, where: str = "") -> Entry:
        """The entry of `experiment` or `experiment[param=value]` on a model (the primary by default)."""
        asked = model or self.primary
        if found := self._by_place.get((label, asked)):
            return found
        here = [entry.label for entry in self.entries if entry.model == asked]
        raise TemplateError(
            f"no experiment {label!r}",
            where=where,
            expected="one of " + ", ".join(here) if here else f"an experiment, of which {asked} has none",
            near=nearest(label, here),
        )

    def number(
        self, name: str, model: str | None = None, where: str = ""
    ) -> tuple[Measurement | None, Entry]:
        """A measurement by `experiment.name` with its entry; None where the entry is unmeasured.

        Raises TemplateError with the nearest names where a measured entry has no such number.
        """
        label, _, measurement = name.rpartition(".")
        entry = self.entry(label, model, where)
        if measurement in entry.measurements or entry.state == "unmeasured":
            return entry.measurements.get(measurement), entry
        raise TemplateError(
            f"{label} has no number {measurement!r}",
            where=where,
            expected="one of " + ", ".join(entry.measurements),
            near=nearest(measurement, entry.measurements),
        )
