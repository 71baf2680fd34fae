"""What a ledger knows as pandas frames: a row for each measurement, verdict, run, check or comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from engine.evidence.result import Measurement
from engine.evidence.verdicts import SpecifiedVerdict, Verdict
from engine.runs.ledger import Entry, Replication
from engine.spec.models import Claim

MEASURED = ("value", "low", "high", "n", "unit", "quantity", "role", "control")
"""What the frame of measurements says of each, by the measurement's own fields."""

RUN = (
    "run_id",
    "date",
    "dtype",
    "device",
    "quantisation",
    "seconds",
    "model_hash",
    "spec_hash",
    "key",
    "command",
)
"""What the frame of runs says of each, by the provenance's own fields."""

Measurements = Iterable[tuple[Entry, Measurement]]


def measurement_frame(measurements: Measurements) -> pd.DataFrame:
    """A row for each measurement on each model: value, interval, n, role, control, source."""
    rows = [
        [f"{e.label}.{m.name}", e.model, *(getattr(m, name) for name in MEASURED), e.state, m.about]
        for e, m in measurements
    ]
    columns = ["name", "model", *MEASURED, "state", "about"]
    return pd.DataFrame(rows, columns=columns).astype({"low": float, "high": float})


def verdict_frame(verdicts: Mapping[str, Mapping[str, Verdict]], claims: Mapping[str, Claim]) -> pd.DataFrame:
    """A row for each claim on each model: its verdict, and what was claimed in words and as a predicate."""
    rows = [
        [id, model, v.verdict, v.share, v.reason, claims[id].says or id, claims[id].holds]
        for model, by_claim in verdicts.items()
        for id, v in by_claim.items()
    ]
    return pd.DataFrame(rows, columns=["claim", "model", "verdict", "share", "reason", "says", "holds"])


def run_frame(entries: Iterable[Entry]) -> pd.DataFrame:
    """A row for each experiment, sweep point and model: where its numbers are from, or why there are none."""
    rows = []
    for entry in entries:
        found = entry.provenance
        facts = [getattr(found, name) if found else None for name in RUN]
        versions = ", ".join(f"{name} {v}" for name, v in found.versions.items()) if found else ""
        site = found.hook_site if found else ""
        rows.append([entry.label, entry.model, entry.state, entry.reason, site, *facts, versions])
    columns = ["experiment", "model", "state", "reason", "hook_site", *RUN, "versions"]
    # A published run has no id on this machine, which must not make floats of the other ids.
    return pd.DataFrame(rows, columns=columns).astype({"run_id": "Int64", "seconds": float})


def check_frame(entries: Iterable[Entry]) -> pd.DataFrame:
    """A row for each numerical check of each run: what was seen, what is allowed, and whether it passed."""
    rows = [
        [e.label, e.model, check.name, check.value, check.limit, check.passed, check.about]
        for e in entries
        for check in e.checks
    ]
    return pd.DataFrame(rows, columns=["experiment", "model", "check", "value", "limit", "passed", "about"])


def comparison_frame(comparisons: Iterable[Replication]) -> pd.DataFrame:
    """A row for each published number that was measured again here: both values, and whether they agree."""
    rows = [[c.name, c.model, c.published, c.fresh, c.low, c.high, c.agrees] for c in comparisons]
    return pd.DataFrame(rows, columns=["name", "model", "published", "fresh", "low", "high", "agrees"])


def specification_frame(found: Sequence[SpecifiedVerdict]) -> pd.DataFrame:
    """A row for each set of choices under which a claim was judged: the choices, the verdict, the margin."""
    rows = [
        {
            **{key: str(value) for key, value in each.choices.items()},
            "verdict": each.verdict.verdict,
            "share": each.verdict.share,
            "margin": each.margin.value if each.margin else None,
            "low": each.margin.low if each.margin else None,
            "high": each.margin.high if each.margin else None,
        }
        for each in found
    ]
    numbers = ("share", "margin", "low", "high")
    return pd.DataFrame(rows).astype(dict.fromkeys(numbers, float)) if rows else pd.DataFrame()
