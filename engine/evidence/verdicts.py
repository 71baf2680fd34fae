"""Verdicts: a predicate evaluated on the value and on every replicate, paired.

`supported` where it holds in at least 97.5 % of the replicates, `contradicted` where it fails in as many,
else `undetermined`. A true null is then called supported in at most 2.5 % of samples, since the replicates
are spread so that each end of an interval misses the truth that often.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from engine.errors import ClaimError
from engine.evidence.claims import evaluate, parse
from engine.evidence.result import Measurement

VerdictName = Literal[
    "supported", "contradicted", "undetermined", "unmeasured", "found here", "not found here"
]
SURE = 0.975

Lookup = Callable[[str], Measurement | None]


@runtime_checkable
class ClaimLike(Protocol):
    """What a spec's claim must say: a predicate, and predicates that must be supported first."""

    @property
    def holds(self) -> str: ...

    @property
    def requires(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Verdict:
    """What the evidence says of one claim on one model.

    `share` is the fraction of replicates on which the predicate holds, None where not evaluated.
    """

    claim: str
    verdict: VerdictName
    share: float | None
    reason: str = ""
    source: Literal["measured", "published", ""] = "measured"


def judge(claim_id: str, claim: ClaimLike, lookup: Lookup, failed_checks: Callable[[str], str]) -> Verdict:
    """The verdict on a claim, from its measurements.

    `lookup` gives a measurement by name, `failed_checks` says why one cannot be believed, if it cannot.
    Where units differ, so do the resamples, and two measurements vary independently; where they are the
    same, the claim is paired. A claim that divides by zero, or needs a withheld interval, is undetermined.
    Raises ClaimError where a predicate cannot be parsed.
    """
    # What a claim requires cannot make it measured, so that its own verdict comes first.
    own = _judged(claim_id, claim.holds, lookup, failed_checks)
    if own.verdict == "unmeasured":
        return own
    for text in claim.requires:
        required = _judged(claim_id, text, lookup, failed_checks)
        if required.verdict != "supported":
            why = f"requires {text}, which is {required.verdict}{_because(required)}"
            return Verdict(claim_id, "undetermined", own.share, why)
    return own


def _because(verdict: Verdict) -> str:
    if verdict.reason:
        return f": {verdict.reason}"
    return "" if verdict.share is None else f" (holds in {verdict.share:.1%} of replicates)"


def _judged(claim_id: str, text: str, lookup: Lookup, failed_checks: Callable[[str], str]) -> Verdict:
    predicate = parse(text)
    for name in predicate.names:
        if why := failed_checks(name):
            return Verdict(claim_id, "undetermined", None, why)
    found = {name: lookup(name) for name in predicate.names}
    if missing := [name for name, m in found.items() if m is None]:
        return Verdict(claim_id, "unmeasured", None, f"{missing[0]} is not measured")
    here = {name: m for name, m in found.items() if m is not None}
    for name, m in here.items():
        if not m.exact and m.replicates is None:
            return Verdict(claim_id, "undetermined", None, f"{name} has no interval: {m.note}".rstrip(": "))
    try:
        # On the values first: a denominator that is zero there makes the claim undetermined, even where it is
        # not in any replicate. The share is then that of the replicates alone.
        evaluate(predicate, {name: m.value for name, m in here.items()})
        held = evaluate(predicate, {name: _values(m) for name, m in here.items()})
    except ClaimError as error:
        return Verdict(claim_id, "undetermined", None, error.problem)
    share = float(held.mean())
    reason = "" if held.ndim else "it rests on exact numbers alone, which no resampling moves"
    return Verdict(claim_id, _named(share), share, reason)


def _values(measurement: Measurement) -> np.ndarray | float:
    return measurement.value if measurement.replicates is None else measurement.replicates


def _named(share: float) -> VerdictName:
    if share >= SURE:
        return "supported"
    return "contradicted" if share <= 1 - SURE else "undetermined"
