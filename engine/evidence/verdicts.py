"""Verdicts: each comparison of a claim judged on the replicates, then combined.

A comparison is supported at level a where it fails in at most a share a of the replicates, and contradicted
where it holds in at most a; a verdict takes a = 2.5 %. Of several comparisons (Berger 1982; Bonferroni):

- `and` is supported where all parts are at a, contradicted where one of m parts is at a / m;
- `or` is supported where one of m parts is at a / m, contradicted where all are at a.

So a claim whose truth lies on the boundary is called supported, or contradicted, in at most 2.5 % of samples,
however it is composed and however its parts are correlated. What a claim `requires` gates `supported` alone;
what it is `valid_if` gates both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from engine.errors import ClaimError
from engine.evidence.claim_tree import Node, evaluate, names_in
from engine.evidence.claims import parse
from engine.evidence.normal_form import comparisons_in
from engine.evidence.printing import population_in_words
from engine.evidence.resampling import REPLICATES
from engine.evidence.result import Measurement, Population

VerdictName = Literal[
    "supported", "contradicted", "undetermined", "unmeasured", "found here", "not found here"
]
LEVEL = 0.025
LEAST = 1 / (REPLICATES + 1)
"""No share of replicates speaks for a smaller level (Davison and Hinkley 1997, 4.2)."""
FAMILY_WISE = 0.05

Lookup = Callable[[str], Measurement | None]


@runtime_checkable
class ClaimLike(Protocol):
    """What a spec's claim must say."""

    @property
    def holds(self) -> str: ...

    @property
    def requires(self) -> Sequence[str]:
        """Predicates without which it cannot be supported."""
        ...

    @property
    def valid_if(self) -> Sequence[str]:
        """Predicates without which it says nothing either way."""
        ...

    @property
    def population(self) -> Population: ...


@dataclass(frozen=True)
class Verdict:
    """What the evidence says of one claim on one model.

    `share` is the fraction of replicates on which the predicate holds, None where not evaluated. Where it is
    made of several comparisons it is that of the part that decides, corrected for their number. `p` is twice
    the least level at which the claim would be decided; None for exact numbers and where nothing was judged.
    `population` says of what the verdict speaks ("24 relations like these").
    """

    claim: str
    verdict: VerdictName
    share: float | None
    reason: str = ""
    source: Literal["measured", "published", ""] = "measured"
    p: float | None = None
    population: str = ""
    specifications: tuple[SpecifiedVerdict, ...] = ()  # of a claim that is judged across choices


@dataclass(frozen=True)
class Margin:
    """By how much a claim holds or fails: the number that it compares, with its 95 % interval."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class SpecifiedVerdict:
    """The verdict on a claim under one set of choices, `patching.metric` and the like by full name."""

    choices: Mapping[str, bool | int | float | str]
    verdict: Verdict
    margin: Margin | None = None


@dataclass(frozen=True)
class Levels:
    """The least levels at which a predicate is supported and contradicted; `exact` where nothing is drawn."""

    supported: float
    contradicted: float
    exact: bool = False

    @property
    def verdict(self) -> VerdictName:
        if self.supported <= LEVEL:
            return "supported"
        return "contradicted" if self.contradicted <= LEVEL else "undetermined"

    @property
    def share(self) -> float:
        """Near 1 where it is supported, near 0 where it is contradicted."""
        return 1 - self.supported if self.supported <= self.contradicted else self.contradicted

    @property
    def p(self) -> float | None:
        if self.exact:
            return None
        return float(np.clip(2 * min(self.supported, self.contradicted), LEAST, 1))


UNDECIDED = Levels(1, 1)


@dataclass(frozen=True)
class Judgement:
    """What the evidence says of one predicate; `levels` are None where there was nothing to judge by."""

    verdict: VerdictName
    reason: str = ""
    levels: Levels | None = None
    population: str = ""

    @property
    def in_words(self) -> str:
        if self.reason:
            return f"{self.verdict}: {self.reason}"
        share = "" if self.levels is None else f" (holds in {self.levels.share:.1%} of replicates)"
        return self.verdict + share


def judge(claim_id: str, claim: ClaimLike, lookup: Lookup, failed_checks: Callable[[str], str]) -> Verdict:
    """The verdict on a claim, from its measurements.

    `lookup` gives a measurement by name, `failed_checks` says why one cannot be believed, if it cannot.
    Where units differ, so do the resamples, and two measurements vary independently; where they are the
    same, the claim is paired. A claim that divides by zero, or needs a withheld interval, is undetermined.
    Raises ClaimError where a predicate cannot be parsed.
    """

    def judged(text: str) -> Judgement:
        return _judged(text, claim.population, lookup, failed_checks)

    own = judged(claim.holds)
    # What a claim rests on cannot make it measured, so that its own verdict comes first.
    if own.levels is None:
        return Verdict(claim_id, own.verdict, None, own.reason)
    verdict = own.verdict
    reason = own.reason
    levels = own.levels
    for text in claim.valid_if:
        condition = judged(text)
        least = (condition.levels or UNDECIDED).supported
        levels = replace(
            levels,
            supported=max(levels.supported, least),
            contradicted=max(levels.contradicted, least),
        )
        if condition.verdict != "supported" and verdict != "undetermined":
            verdict = "undetermined"
            reason = f"valid only if {text}, which is {condition.in_words}"
    for text in claim.requires:
        required = judged(text)
        # To be supported all of them must be, as in an `and`; that the claim fails stands without them.
        least = (required.levels or UNDECIDED).supported
        levels = replace(levels, supported=max(levels.supported, least))
        if required.verdict != "supported" and verdict == "supported":
            verdict = "undetermined"
            reason = f"requires {text}, which is {required.in_words}"
    return Verdict(claim_id, verdict, own.levels.share, reason, p=levels.p, population=own.population)


def decided_family_wise(verdicts: Iterable[Verdict]) -> dict[str, bool]:
    """By claim, whether its verdict stands if all these claims are one family (Holm 1979).

    In a family of true nulls at least one stands in at most 5 %. Claims on exact numbers are none of it, nor
    are those that could not be judged: they had no chance to be decided by luck.
    """
    family = sorted((v for v in verdicts if v.p is not None), key=lambda v: v.p or 0)
    stands = True
    found = {}
    for place, verdict in enumerate(family):
        # Step down: the smallest p against 5 % / m, the next against 5 % / (m - 1), until one fails.
        stands = stands and verdict.p is not None and verdict.p <= FAMILY_WISE / (len(family) - place)
        found[verdict.claim] = stands and verdict.verdict not in ("undetermined", "unmeasured")
    return found


def unfit_equalities(text: str, lookup: Lookup) -> list[str]:
    """The comparisons of a predicate that ask whether an estimate equals something, which none ever does."""
    unfit = []
    for comparison in comparisons_in(parse(text).decided):
        found = [lookup(name) for name in names_in(comparison)]
        if comparison.signs[0] in ("==", "!=") and not all(m is None or m.is_countable for m in found):
            unfit.append(comparison.text)
    return unfit


def _judged(
    text: str, population: Population, lookup: Lookup, failed_checks: Callable[[str], str]
) -> Judgement:
    predicate = parse(text)
    for name in predicate.names:
        if why := failed_checks(name):
            return Judgement("undetermined", why)
    found = {name: lookup(name) for name in predicate.names}
    if missing := [name for name, m in found.items() if m is None]:
        return Judgement("unmeasured", f"{missing[0]} is not measured")
    here = {name: m for name, m in found.items() if m is not None}
    if unfit := unfit_equalities(text, lookup):
        why = f"{unfit[0]} holds of no estimate: == compares counts and choices, abs(a - b) <= t the others"
        return Judgement("undetermined", why)
    values = {}
    for name, m in here.items():
        drawn = m.value if m.exact else m.replicates_of(population)
        if drawn is None:
            return Judgement(
                "undetermined", f"{name} has no interval: {m.why_withheld(population)}".rstrip(": ")
            )
        values[name] = drawn
    try:
        # On the values first: a denominator that is zero there makes the claim undetermined, even where it is
        # not in any replicate. The share is then that of the replicates alone.
        evaluate(predicate.root, {name: m.value for name, m in here.items()})
        levels = _levels(predicate.decided, values)
    except ClaimError as error:
        return Judgement("undetermined", error.problem)
    reason = "it rests on exact numbers alone, which no resampling moves" if levels.exact else ""
    whom = dict.fromkeys(population_in_words(m, population) for m in here.values() if not m.exact)
    return Judgement(levels.verdict, reason, levels, ", ".join(whom))


def _levels(node: Node, values: Mapping[str, np.ndarray | float]) -> Levels:
    """The least levels of a claim in normal form."""
    if node.kind == "compare":
        held = evaluate(node, values)
        return Levels(float((~held).mean()), float(held.mean()), exact=not held.ndim)
    parts = [_levels(part, values) for part in node.parts]
    if node.kind == "and":
        supported = max(part.supported for part in parts)
        contradicted = _any_of(parts, [part.contradicted for part in parts])
    else:
        supported = _any_of(parts, [part.supported for part in parts])
        contradicted = max(part.contradicted for part in parts)
    return Levels(supported, contradicted, all(part.exact for part in parts))


def _any_of(parts: Sequence[Levels], levels: Sequence[float]) -> float:
    """The least level at which one of several decides: the smallest times their number (Bonferroni).

    A part of exact numbers draws nothing, and so takes no share of the level.
    """
    drawn = [level for part, level in zip(parts, levels, strict=True) if not part.exact]
    exact = [level for part, level in zip(parts, levels, strict=True) if part.exact]
    chance = len(drawn) * max(min(drawn), LEAST) if drawn else 1.0
    return min([*exact, chance, 1.0])
