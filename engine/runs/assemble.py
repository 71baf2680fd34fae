"""From stored runs and published numbers to the ledger: what a report may say, and on whose authority.

A number comes from a run whose inputs are today's; else it is the published one, marked as such, if that
answered the same experiment; else there is none, and the entry says why. A stale run's numbers are never
shown. A failed check withholds the numbers of its run, also from what was published before.

Replication with the published numbers: findings with an interval that another run measured here. A run and
its own published copy (same key, same date) are one measurement, so they neither agree nor drift: they must
be equal. What is published and is not, or has not the digest that it was published with, is not shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from engine.errors import ClaimError, StoreError, nearest
from engine.evidence.multiverse import margin_of, over_specifications
from engine.evidence.result import Measurement
from engine.evidence.stand_in import is_stand_in, named_for
from engine.evidence.verdicts import SpecifiedVerdict, Verdict, judge, unfit_equalities
from engine.runs.investigation import Investigation
from engine.runs.ledger import Difference, Entry, Ledger, Provenance, Replication
from engine.runs.planning.plan import Plan, PlannedRun
from engine.runs.published.comparison import PublishedCopies, published_copies
from engine.runs.published.read import (
    PublishedEvidence,
    PublishedRun,
    published_entry,
    read_published,
    what_is_judged,
)
from engine.runs.published.rounding import DIGITS
from engine.runs.store.record import RunName, StoredRun
from engine.runs.store.store import RunStore
from engine.spec.models import Claim, Spec
from engine.spec.specifications import Specification, claim_names

if TYPE_CHECKING:
    from engine.runs.execution.events import Outcome

ROUNDING = 0.5 * 10 ** (1 - DIGITS)  # relative, of a published number


def assemble(
    investigation: Investigation,
    store: RunStore,
    plan: Plan,
    outcomes: Mapping[RunName, Outcome] | None = None,
) -> Ledger:
    """The ledger of one investigation; `outcomes` are those of `execute`, if it ran.

    A claim on a number that no measured run has is among its `wrong_claims`. Raises StoreError for a
    published file that is broken.
    """
    spec = investigation.spec
    runs = _StoredEntries(store)
    published = _published(investigation, plan, outcomes)
    copies = published_copies(published, store, lambda stored: _believed(runs.entry(stored)))
    planned = plan.of(investigation.slug)
    found = [(run, _entry(run, runs, (outcomes or {}).get(run.name), copies)) for run in planned]
    specified = plan.specifications.get(investigation.slug, {})
    columns = {model: _Column(model, found, published, spec) for model in spec.models}
    verdicts = {
        model: {
            claim_id: _verdict(claim_id, claim, column, specified.get(claim_id, []))
            for claim_id, claim in spec.claims.items()
        }
        for model, column in columns.items()
    }
    wrong_claims = tuple(_wrong_claims(investigation, [entry for _, entry in found]))
    # Before an entry loses the numbers that a failed check withholds.
    beside = [(entry, _published_by_another_run(run, entry)) for run, entry in found]
    comparisons = [c for entry, numbers in beside for c in _comparisons(entry, numbers)]
    entries = tuple(_believed(entry) for _, entry in found)
    return Ledger(
        investigation.slug,
        investigation.spec,
        entries,
        verdicts,
        tuple(comparisons),
        wrong_claims,
        tuple(copies.faults()),
        copies.n_compared,
        tuple(_changed_verdicts(investigation.spec.claims, verdicts, published)),
        max((run.provenance.date for run in published.runs.values() if not run.fault), default=""),
        {(entry.label, entry.model): numbers for entry, numbers in beside if numbers},
    )


def _published(
    investigation: Investigation, plan: Plan, outcomes: Mapping[RunName, Outcome] | None
) -> PublishedEvidence:
    """What the plan read a moment ago; after measuring, which takes hours, what lies there now."""
    if plan.inspector and not outcomes and investigation.slug in plan.inspector.published:
        return plan.inspector.published[investigation.slug]
    return read_published(investigation.published_folder)


def stored_entry(store: RunStore, run: StoredRun) -> Entry:
    """A run of the store as an entry, numbers withheld where a check failed; StoreError if it is damaged."""
    return _believed(_measured(store, run))


def _measured(store: RunStore, run: StoredRun) -> Entry:
    result = store.load(run)
    record = run.record
    inputs = record.inputs
    provenance = Provenance(
        run.id, asked=inputs.experiment, inputs=inputs.short, coders=dict(inputs.coders), **record.provenance
    )
    return Entry(
        run.name.experiment,
        dict(run.name.point),
        run.name.model,
        "measured",
        "",
        result.measurements,
        result.tables,
        result.figures,
        tuple(result.checks),
        provenance,
    )


@dataclass
class _StoredEntries:
    """The runs of a store as entries, each read once: it is shown, and compared with its published copy."""

    store: RunStore
    known: dict[int, Entry] = field(default_factory=dict)

    def entry(self, run: StoredRun) -> Entry:
        """The entry with its numbers, believed or not; StoreError if the run is damaged."""
        if run.id not in self.known:
            self.known[run.id] = _measured(self.store, run)
        return self.known[run.id]


def _entry(run: PlannedRun, runs: _StoredEntries, outcome: Outcome | None, copies: PublishedCopies) -> Entry:
    """The entry of a planned run, numbers of failed checks still in it for the verdicts to refuse."""
    stored = outcome.run if outcome else run.examined.current
    why = outcome.reason if outcome else _why_not(run)
    if stored is not None:
        try:
            entry = runs.entry(stored)  # maybe under another name: a key knows no names
            point = dict(run.name.point)
            entry = _with_sites(entry, run)
            return replace(entry, experiment=run.name.experiment, point=point, model=run.name.model)
        except StoreError as error:
            # Damaged since the plan looked: the published number serves, and the reason is told.
            why = f"run {stored.id} is damaged: {error.where} {error.seen}"
    doubt = copies.doubt(run.name.label, run.name.model) or run.examined.unpublished
    if run.examined.published is not None and not doubt:
        changed = tuple(_since_published(run))
        why = "; ".join(filter(None, [why, *changed]))
        return replace(_with_sites(published_entry(run.examined.published, why), run), changed=changed)
    why = "; ".join(filter(None, [why, doubt if doubt not in why else ""]))
    return Entry(run.name.experiment, dict(run.name.point), run.name.model, "unmeasured", why)


def _with_sites(entry: Entry, run: PlannedRun) -> Entry:
    """The entry with the hook sites among its parameters, where it is from before runs recorded them.

    It answers the planned experiment, on the same model: the layers are those that the plan resolved.
    """
    if entry.provenance is None or entry.provenance.sites:
        return entry
    sites = {model: list(sites) for model, sites in run.examined.sites.items()}
    return replace(entry, provenance=replace(entry.provenance, sites=sites))


def _why_not(run: PlannedRun) -> str:
    """Why a run was not measured here, in the words of the plan."""
    state = f"stale here ({run.reason})" if run.state == "stale" else run.reason
    return "; ".join(filter(None, [state, run.note]))


def _since_published(run: PlannedRun) -> Iterator[str]:
    """What changed since the published numbers were measured, by kind."""
    assert run.examined.published is not None
    then = run.examined.published.provenance.inputs
    now = run.examined.inputs
    told = {"code": "code", "data": "data"}
    # Bytes that are not known here cannot be said to differ.
    told |= {"model": "model bytes"} if now.model is not None else {}
    told |= {"second": f"bytes of {', '.join(now.second)}"} if all(now.second.values()) else {}
    told |= {"coders": f"bytes of {', '.join(now.coders)}"} if all(now.coders.values()) else {}
    for kind, words in told.items():
        if then.get(kind) != now.short.get(kind):
            yield f"published with other {words}"


def _believed(entry: Entry) -> Entry:
    """The entry without its numbers, where a check failed."""
    failed = [check for check in entry.checks if not check.passed]
    if entry.state != "measured" or not failed:
        return entry
    told = [f"check {c.name} failed: {c.value:.3g}, at most {c.limit:.3g} is allowed" for c in failed]
    emptied = {"measurements": {}, "tables": {}, "figures": {}}
    return replace(entry, state="unmeasured", reason="; ".join(told), **emptied)


class _Column:
    """One model's entries as a claim sees them."""

    def __init__(
        self,
        model: str,
        found: list[tuple[PlannedRun, Entry]],
        published: PublishedEvidence,
        spec: Spec,
    ) -> None:
        self.model = model
        self.spec = spec
        self.published = published
        self.entries = {entry.label: entry for run, entry in found if run.name.model == model}

    def entry(self, name: str) -> Entry | None:
        """The entry that a number `experiment.measurement` belongs to."""
        return self.entries.get(name.rpartition(".")[0])

    def number(self, name: str) -> Measurement | None:
        """A measured number with its samples; None where there is none."""
        entry = self.entry(name)
        return entry.measurements.get(name.rpartition(".")[2]) if entry else None

    def failed_checks(self, name: str) -> str:
        """Why the run that a number rests on may not be believed; empty where all its checks passed."""
        entry = self.entry(name)
        return _believed(entry).reason if entry and entry.state == "measured" else ""

    def missing(self, names: list[str]) -> str:
        """Why the first number that is not there is not there."""
        for name in names:
            entry = self.entry(name)
            if entry is None:
                return f"{name.rpartition('.')[0]} is not measured on {self.model}"
            if entry.state == "unmeasured":
                return f"{entry.label}: {entry.reason}"
            if name.rpartition(".")[2] not in entry.measurements:
                return f"{entry.label} gave no {name.rpartition('.')[2]} on {self.model}"
        return ""


def _verdict(claim_id: str, claim: Claim, column: _Column, specified: Sequence[Specification]) -> Verdict:
    """The verdict, in the words for a stand-in where the claim is about another model."""
    if specified:
        each = [_under(specification, claim_id, claim, column) for specification in specified]
        found = over_specifications(claim_id, each, claim.share)
    else:
        found = _judged(claim_id, claim, column)
    return named_for(found, is_stand_in(claim.about, column.model))


def _judged(claim_id: str, claim: Claim, column: _Column) -> Verdict:
    """The verdict measured here, else the published one on the same predicate, else none and why."""
    names = claim_names(claim)
    if why := column.missing(names):
        return Verdict(claim_id, "unmeasured", None, why, source="")
    entries = [entry for name in names if (entry := column.entry(name)) is not None]
    # Published numbers have no samples: a claim that rests on one of them cannot be judged anew.
    if all(entry.state == "measured" for entry in entries):
        return judge(claim_id, claim, column.number, column.failed_checks)
    before = _published_verdict(claim_id, claim, column)
    # One that was reached across choices is none on the spec's own values.
    if before is None or before.specifications:
        return _unpublished(claim_id, column)
    return replace(before, claim=claim_id, source="published")


def _under(specification: Specification, claim_id: str, claim: Claim, column: _Column) -> SpecifiedVerdict:
    """The verdict on a claim under one set of choices, measured here, else published, else none and why."""

    def number(name: str) -> str:
        return specification.number(name, column.spec)

    def lookup(name: str) -> Measurement | None:
        return column.number(number(name))

    names = [number(name) for name in claim_names(claim)]
    if why := column.missing(names):
        missing = Verdict(claim_id, "unmeasured", None, why, source="")
        return SpecifiedVerdict(specification.choices, missing)
    entries = [entry for name in names if (entry := column.entry(name)) is not None]
    if all(entry.state == "measured" for entry in entries):
        verdict = judge(claim_id, claim, lookup, lambda name: column.failed_checks(number(name)))
        margin = margin_of(claim.holds, lookup, claim.population)
        return SpecifiedVerdict(specification.choices, verdict, margin)
    before = _published_verdict(claim_id, claim, column)
    for each in before.specifications if before else ():
        if each.choices == specification.choices:
            return replace(each, verdict=named_for(each.verdict, stand_in=False))
    return SpecifiedVerdict(specification.choices, _unpublished(claim_id, column))


def _published_verdict(claim_id: str, claim: Claim, column: _Column) -> Verdict | None:
    """What was published on this very predicate; a verdict counts for no later wording."""
    before = column.published.verdicts.get((column.model, claim_id))
    if before is None or before.fault or before.judged != what_is_judged(dict(claim)):
        return None
    return before.verdict


def _unpublished(claim_id: str, column: _Column) -> Verdict:
    """No verdict: the claim rests on published numbers, and its own was not published or is not believed."""
    before = column.published.verdicts.get((column.model, claim_id))
    why = "it rests on published numbers, and no verdict on this predicate was published with them"
    if before is not None and before.fault:
        why = f"the verdict that is published was {before.fault}"
    return Verdict(claim_id, "unmeasured", None, why, source="")


def _changed_verdicts(
    claims: Mapping[str, Claim],
    verdicts: Mapping[str, Mapping[str, Verdict]],
    published: PublishedEvidence,
) -> Iterator[Difference]:
    """The published verdicts that are not those reached here on the same predicate, edited ones included."""
    for (model, claim_id), before in published.verdicts.items():
        here = verdicts.get(model, {}).get(claim_id)
        if here is None or here.source != "measured" or here.verdict == "unmeasured":
            continue
        same_claim = before.judged == what_is_judged(dict(claims[claim_id]))
        if same_claim and here.verdict != before.verdict.verdict:
            yield Difference(f"claims.{claim_id}", model, before.verdict.verdict, here.verdict)


def _wrong_claims(investigation: Investigation, entries: list[Entry]) -> Iterator[ClaimError]:
    """The claims that no measurement can decide, whatever it finds.

    They are told and not raised, so that one wrong claim leaves the other investigations standing.
    """
    yield from _claims_on_no_number(investigation, entries)
    yield from _equalities_of_estimates(investigation, entries)


def _equalities_of_estimates(investigation: Investigation, entries: list[Entry]) -> Iterator[ClaimError]:
    """The claims that ask whether an estimate equals something."""
    numbers = {f"{e.label}.{name}": m for e in entries for name, m in e.measurements.items()}
    for claim_id, claim in investigation.spec.claims.items():
        for text in (claim.holds, *claim.requires, *claim.valid_if):
            for comparison in unfit_equalities(text, numbers.get):
                yield ClaimError(
                    f"{comparison} holds of no estimate, whose last digits are luck: write abs(a - b) <= t",
                    where=f"{investigation.spec_path}: claims.{claim_id}",
                    expected="== and != between counts and choices alone",
                    seen=text,
                )


def _claims_on_no_number(investigation: Investigation, entries: list[Entry]) -> Iterator[ClaimError]:
    """The claims that name a number which its experiment, measured, has on no model."""
    known: dict[str, set[str]] = {}
    for entry in entries:
        known.setdefault(entry.label, set()).update(entry.measurements)
    for claim_id, claim in investigation.spec.claims.items():
        for name in claim_names(claim):
            label, _, number = name.rpartition(".")
            # Not measured on any model: whether the number exists cannot be said, and the claim stays
            # unmeasured.
            if (numbers := known.get(label)) and number not in numbers:
                yield ClaimError(
                    f"{label} has no number {number!r}",
                    where=f"{investigation.spec_path}: claims.{claim_id}",
                    expected="one of " + ", ".join(sorted(numbers)),
                    near=nearest(number, numbers),
                )


def _comparisons(entry: Entry, published: Mapping[str, Measurement]) -> Iterator[Replication]:
    """This entry's findings beside the published ones."""
    fresh = _believed(entry).measurements
    for name, before in published.items():
        m = fresh.get(name)
        if m is None or m.role != "finding" or m.low is None or m.high is None:
            continue
        # The published value is a rounded one: half a unit of its last digit does not count against it.
        slack = ROUNDING * abs(before.value)
        agrees = m.low - slack <= before.value <= m.high + slack
        label = f"{entry.label}.{name}"
        yield Replication(label, entry.model, before.value, m.value, m.low, m.high, agrees)


def _published_by_another_run(run: PlannedRun, entry: Entry) -> dict[str, Measurement]:
    """What is published of an entry that was measured here, unless that is this very run's."""
    published = run.examined.published or run.examined.doubted
    if published is None or entry.state != "measured" or entry.provenance is None:
        return {}
    then = published.provenance
    now = entry.provenance
    is_own = (then.key, then.date) == (now.key, now.date)
    return {} if is_own else _published_numbers(published)


def _published_numbers(run: PublishedRun) -> dict[str, Measurement]:
    """The published measurements of a run; of one that was edited only if they can still be read."""
    try:
        return published_entry(run, "").measurements
    except StoreError:
        if not run.fault:
            raise
        return {}
