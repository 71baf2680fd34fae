"""What stands behind a number or a claim, as labelled facts in the order a sceptical reader asks for them."""

from __future__ import annotations

from dataclasses import dataclass

from engine.evidence.printing import interval_text
from engine.evidence.result import Measurement
from engine.evidence.verdicts import Verdict
from engine.report.numbers import MARKERS, Number, counted, digits_of, failed_checks, interval_of
from engine.runs.ledger import Entry, Ledger, Provenance, Replication
from engine.spec.models import Claim

Facts = list[tuple[str, str]]


@dataclass(frozen=True)
class Cited:
    """A claim as one sentence of the text cites it, with the verdict of the primary model and of all."""

    id: str
    claim: Claim
    asserted: str
    by_model: dict[str, Verdict]

    @property
    def verdict(self) -> Verdict:
        """The primary model's, which is the one the prose speaks of."""
        return next(iter(self.by_model.values()))

    @property
    def is_broken(self) -> bool:
        """The text says one thing and the evidence another; what was not measured contradicts nothing."""
        return self.verdict.verdict not in (self.asserted, "unmeasured")


def verdict_of(ledger: Ledger, claim: str, model: str) -> Verdict:
    """The verdict on one model, `unmeasured` where none was reached."""
    return ledger.verdicts.get(model, {}).get(claim) or Verdict(
        claim, "unmeasured", None, "not evaluated", ""
    )


def share_of(verdict: Verdict) -> str:
    """`99.2 %` of replicates; rounding never reaches a bound that the share does not. Empty for none."""
    if verdict.share is None:
        return ""
    percent = 100 * verdict.share
    text = f"{percent:.1f}".removesuffix(".0")
    if text in ("0", "100") and percent != float(text):
        return "less than 0.1 %" if text == "0" else "more than 99.9 %"
    return f"{text} %"


def why(verdict: Verdict) -> str:
    """`holds in 99.2 % of replicates; reason`, as far as there is any of it."""
    share = share_of(verdict)
    return "; ".join(t for t in (f"holds in {share} of replicates" if share else "", verdict.reason) if t)


def number_facts(number: Number, comparison: Replication | None) -> Facts:
    """Value, interval, sampling, control, then the run that it came from."""
    entry, measurement = number.entry, number.measurement
    facts = [("Value", MARKERS[number.state])] if number.state in MARKERS else []
    if measurement is not None and not facts:
        facts = _measurement_facts(measurement) + _control_fact(number, measurement)
    facts += _source_facts(number, comparison)
    return facts + (provenance_facts(entry.provenance) if entry.provenance else [("Model", entry.model)])


def _measurement_facts(measurement: Measurement) -> Facts:
    quantity = f" {measurement.quantity}" if measurement.quantity else ""
    facts = [("Value", digits_of(measurement) + quantity)]
    if measurement.exact:
        return [*facts, ("Interval", "none: counted by design, not estimated")]
    interval = interval_of(measurement)
    facts.append(("95 % interval", interval or f"withheld: {measurement.note or 'no reason given'}"))
    facts.append(("n", counted(measurement.n, measurement.unit)))
    facts.append(("Unit of sampling", measurement.unit))
    facts.append(("Statistic", measurement.statistic))
    facts += [("Note", measurement.note)] if interval and measurement.note else []
    return facts + ([("Chosen on", measurement.chosen_on)] if measurement.chosen_on else [])


def _control_fact(number: Number, measurement: Measurement) -> Facts:
    if measurement.role == "control":
        return [("Role", "control: what chance or a known-good input gives")]
    control = number.entry.measurements.get(measurement.control)
    return [("Control", f"{measurement.control} {interval_text(control)}")] if control else []


def _source_facts(number: Number, comparison: Replication | None) -> Facts:
    reason = number.entry.reason
    facts = {
        "measured": [],
        "published": [("Source", "published: the number last committed with the text, not measured here")],
        "unmeasured": [("Not measured", reason or "no run and no published number")],
        "withheld": [("Withheld", failed_checks(number.entry))],
    }[number.state]
    if number.state == "published" and reason:
        facts.append(("Why not here", reason))
    return facts + (
        [(_compared(comparison), f"{comparison.published:.4g} was published")] if comparison else []
    )


def _compared(comparison: Replication) -> str:
    return "Replicated" if comparison.agrees else "Drift"


def provenance_facts(provenance: Provenance) -> Facts:
    """Run, spec, model, machine and date; the command stands by itself."""
    inputs = provenance.inputs
    model = f"{provenance.model}, hash {provenance.model_hash[:12] or 'unknown'}"
    facts = [
        ("Run", "" if provenance.run_id is None else str(provenance.run_id)),
        ("Spec hash", provenance.spec_hash[:12]),
        ("Key", provenance.key[:12]),
        ("Model", f"{model}, {provenance.quantisation}" if provenance.quantisation else model),
        ("Compared with", ", ".join(f"{name}, hash {h[:12]}" for name, h in provenance.second.items())),
        ("Number format", provenance.dtype),
        ("Device", provenance.device),
        ("Versions", ", ".join(f"{name} {version}" for name, version in provenance.versions.items())),
        ("Date", day(provenance.date)),
        ("Took", f"{provenance.seconds:.3g} s"),
        ("Peak memory", f"{provenance.peak_bytes / 1e9:.2g} GB" if provenance.peak_bytes else ""),
        ("Code and data", ", ".join(f"{kind} {inputs[kind]}" for kind in ("code", "data") if kind in inputs)),
    ]
    return [(label, text) for label, text in facts if text]


def day(date: str) -> str:
    """`2026-01-31 12:40 UTC` from an ISO 8601 instant."""
    return f"{date[:10]} {date[11:16]} UTC" if len(date) >= 16 else date


def command_of(entry: Entry, slug: str) -> str:
    """The command that measures the entry again, also where it never was measured."""
    if entry.provenance:
        return entry.provenance.command
    return f"mech run --name {slug}/{entry.experiment} --model {entry.model}"


def claim_facts(cited: Cited) -> Facts:
    """Predicate, requirements, and the verdict with its share on every model."""
    claim = cited.claim
    facts = [("Claim", claim.says)] if claim.says else []
    facts.append(("Holds where", claim.holds))
    facts += [("Requires", required) for required in claim.requires]
    facts += [("Registered", claim.registered)] if claim.registered else []
    return facts + [(f"On {model}", verdict_in_words(v)) for model, v in cited.by_model.items()]


def verdict_in_words(verdict: Verdict) -> str:
    """`supported (published): holds in 99.2 % of replicates; reason`."""
    mark = " (published)" if verdict.source == "published" else ""
    more = why(verdict)
    return f"{verdict.verdict}{mark}: {more}" if more else f"{verdict.verdict}{mark}"
