"""What the popover of a number or a claim says, in the order in which a sceptical reader asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from engine.evidence.printing import frequency_in_words, interval_text, population_in_words, sample_in_words
from engine.evidence.result import Measurement
from engine.report.claim_sentences import ClaimSentence, verdict_in_words
from engine.report.numbers import (
    MARKERS,
    Number,
    digits_of,
    failed_checks,
    interval_of,
    measurement_in_words,
)
from engine.runs.ledger import Entry, Provenance, Replication

LabelledFacts = list[tuple[str, str]]
"""What a description list shows: (label, text) from top to bottom."""


def number_facts(number: Number, comparison: Replication | None) -> LabelledFacts:
    """Value, interval, sampling, control, then the run that it came from."""
    entry = number.entry
    measurement = number.measurement
    facts = [("Value", MARKERS[number.state])] if number.state in MARKERS else []
    if measurement is not None and not facts:
        facts = _measurement_facts(measurement, number.percent) + _control_fact(number, measurement)
    facts += _source_facts(number, comparison)
    return facts + (provenance_facts(entry.provenance) if entry.provenance else [("Model", entry.model)])


def brief_facts(number: Number) -> LabelledFacts:
    """What a number is, how sure, and on which model, for a page that lists investigations."""
    entry = number.entry
    measurement = number.measurement
    date = [("Date", day(entry.provenance.date))] if entry.provenance else []
    if number.state in MARKERS or measurement is None:
        facts = [("Value", MARKERS.get(number.state, "")), ("Why", entry.reason)]
    else:
        facts = _measurement_facts(measurement, number.percent) + _control_fact(number, measurement)
    return [(label, text) for label, text in [*facts, ("Model", entry.model), *date] if text]


def _measurement_facts(measurement: Measurement, percent: bool) -> LabelledFacts:
    """Value and interval as the text writes them, and the sampling."""
    quantity = f" {measurement.quantity}" if measurement.quantity else ""
    facts = [("Value", digits_of(measurement, percent) + quantity)]
    if measurement.exact:
        return [*facts, ("Interval", "none: counted by design, not estimated")]
    interval = interval_of(measurement, percent)
    if measurement.is_choice:
        facts.append(("How often chosen", frequency_in_words(measurement)))
    else:
        facts += _interval_facts(measurement, interval, percent)
    facts.append(("n", sample_in_words(measurement)))
    facts.append(("Unit of sampling", measurement.unit))
    facts.append(("Statistic", measurement.statistic))
    facts += [("Note", measurement.note)] if interval and measurement.note else []
    return facts + ([("Chosen on", measurement.chosen_on)] if measurement.chosen_on else [])


def _interval_facts(measurement: Measurement, interval: str, percent: bool) -> LabelledFacts:
    """The interval that is printed, of whom it speaks, and the narrower one for the clusters at hand."""
    m = measurement
    facts = [("95 % interval", interval or f"withheld: {m.note or 'no reason given'}")]
    facts += _edge_facts(m, percent) if interval else []
    if not m.cluster_unit:
        return facts
    if m.cluster_note:
        return [*facts, ("Speaks of", f"{population_in_words(m, 'these')}: {m.cluster_note}")]
    facts.append(("Speaks of", population_in_words(m, "like-these")))
    if m.these_low is None or m.these_high is None:
        return facts
    these = interval_of(replace(m, low=m.these_low, high=m.these_high), percent)
    return [*facts, ("For these alone", f"{these} ({population_in_words(m, 'these')})")]


def _edge_facts(measurement: Measurement, percent: bool) -> LabelledFacts:
    """Why the interval of a share ends at 0 or at 1, where it does: a reader may take it for a mistake."""
    m = measurement
    if m.statistic != "fraction" or m.low is None or m.high is None:
        return []
    whole = "100 %" if percent else "1"
    facts: LabelledFacts = []
    if m.low == 0:
        facts.append(("Ends at 0", _edge_in_words(m, "no share is below 0", "none", m.value == 0)))
    if m.high == 1:
        facts.append(
            (f"Ends at {whole}", _edge_in_words(m, f"no share is above {whole}", "all", m.value == 1))
        )
    return facts


def _edge_in_words(measurement: Measurement, bound: str, how_many: str, was_seen: bool) -> str:
    sample = sample_in_words(measurement)
    if not was_seen:
        return f"{bound}, and that {how_many} of those it speaks of are such is not excluded by {sample}"
    once = f", where each {measurement.cluster_unit} counts once" if measurement.cluster_unit else ""
    return (
        f"{bound}; {how_many} of {sample} were such, and the other end is as far as so few may mislead{once}"
    )


def _control_fact(number: Number, measurement: Measurement) -> LabelledFacts:
    if measurement.role == "control":
        return [("Role", "control: what chance or a known-good input gives")]
    control = number.entry.measurements.get(measurement.control)
    if control is None:
        return []
    written = measurement_in_words(control, percent=True) if number.percent else interval_text(control)
    return [("Control", f"{measurement.control} {written}")]


def _source_facts(number: Number, comparison: Replication | None) -> LabelledFacts:
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


def _further_prompts(read: Mapping[str, str]) -> str:
    """What the parameters of a family named beside its own prompts and corpus."""
    further = {name: data for name, data in read.items() if name not in ("prompts", "corpus")}
    return "; ".join(f"{name}: {data}" for name, data in further.items())


def provenance_facts(provenance: Provenance) -> LabelledFacts:
    """Run, spec, model, machine and date; the command stands by itself."""
    inputs = provenance.inputs
    model = f"{provenance.model}, hash {provenance.model_hash[:12] or 'unknown'}"
    facts = [
        ("Run", "" if provenance.run_id is None else str(provenance.run_id)),
        ("Spec hash", provenance.spec_hash[:12]),
        ("Key", provenance.key[:12]),
        ("Model", f"{model}, {provenance.quantisation}" if provenance.quantisation else model),
        ("Hook site", provenance.hook_site),
        ("Compared with", _with_hashes(provenance.second)),
        ("Dictionaries", _with_hashes(provenance.coders)),
        ("Prompts", provenance.read.get("prompts", "")),
        ("Corpus", provenance.read.get("corpus", "")),
        ("Further prompts", _further_prompts(provenance.read)),
        ("Number format", provenance.dtype),
        ("Device", provenance.device),
        ("Versions", ", ".join(f"{name} {version}" for name, version in provenance.versions.items())),
        ("Date", day(provenance.date)),
        ("Took", f"{provenance.seconds:.3g} s"),
        ("Peak memory", f"{provenance.peak_bytes / 1e9:.2g} GB" if provenance.peak_bytes else ""),
        ("Code and data", ", ".join(f"{kind} {inputs[kind]}" for kind in ("code", "data") if kind in inputs)),
    ]
    return [(label, text) for label, text in facts if text]


def _with_hashes(files: Mapping[str, str]) -> str:
    """`gpt2, hash 248dfc3911ab` of each model or dictionary, by name or path."""
    return ", ".join(f"{name}, hash {digest[:12] or 'unknown'}" for name, digest in files.items())


def day(date: str) -> str:
    """`2026-01-31 12:40 UTC` from an ISO 8601 instant."""
    return f"{date[:10]} {date[11:16]} UTC" if len(date) >= 16 else date


def command_of(entry: Entry, slug: str) -> str:
    """The command that measures the entry again, also where it never was measured."""
    if entry.provenance:
        return entry.provenance.command
    return f"mech run --name {slug}/{entry.experiment} --model {entry.model}"


def claim_facts(cited: ClaimSentence) -> LabelledFacts:
    """Predicate, requirements, and the verdict with its share on every model."""
    claim = cited.claim
    facts = [("Hypothesis", claim.says)] if claim.says else []
    facts.append(("Holds where", claim.holds))
    facts += [("Requires", required) for required in claim.requires]
    facts += [("Valid only if", condition) for condition in claim.valid_if]
    facts += [("About", claim.about)] if claim.about else []
    facts += [(f"Across {key}", ", ".join(map(str, values))) for key, values in claim.across.items()]
    facts += [("Registered", claim.registered)] if claim.registered else []
    return facts + [(f"On {model}", verdict_in_words(v)) for model, v in cited.by_model.items()]
