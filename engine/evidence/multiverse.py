"""A claim under many specifications: each judged by itself, then counted.

A specification is one set of defensible choices (Steegen et al. 2016; Simonsohn, Simmons & Nelson 2020). With
N of them and `share` of these asked for, a claim is

- `supported` where it is supported under at least share * N of them, and contradicted under none;
- `contradicted` where it is contradicted under at least share * N of them, and supported under none;
- `unmeasured` where those that were not measured could still bring either about;
- `undetermined` otherwise.

What was not measured counts for neither side, and stays among the N: leaving it out would let a claim be
supported by measuring only where it holds. `p` is that of the partial conjunction 'at least k of N'
(Benjamini & Heller 2008): (N - k + 1) times the k-th smallest, which for all of them is the largest.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.errors import ClaimError
from engine.evidence.claim_tree import Node, Values, evaluate_number, names_in, values_of
from engine.evidence.claims import parse
from engine.evidence.verdicts import Margin, SpecifiedVerdict, Verdict, VerdictName

if TYPE_CHECKING:
    from engine.evidence.result import Population
    from engine.evidence.verdicts import Lookup

TAILS = (0.025, 0.975)
SLACK = 1e-9  # of share * N: 0.7 * 10 must not ask for 8
HOLDS = ("supported", "found here")
FAILS = ("contradicted", "not found here")


@dataclass(frozen=True)
class MarginScale:
    """What can be drawn of a claim: the number that it compares, and the value where the comparison turns."""

    words: str
    turns_at: float
    node: Node


def margin_scale(holds: str) -> MarginScale | None:
    """The scale of a claim that is one comparison of two numbers; None for any other.

    `a > 0.5` is drawn as a, turning at 0.5; `a > b` as a - b, turning at 0.
    """
    root = parse(holds).root
    if root.kind != "compare" or len(root.signs) > 1:
        return None
    left, right = root.parts
    if not any(names_in(right)):
        return MarginScale(left.text, evaluate_number(right), left)
    difference = Node("arithmetic", f"{left.text} - {right.text}", (left, right), signs=("-",))
    return MarginScale(difference.text, 0.0, difference)


def margin_of(holds: str, lookup: Lookup, population: Population) -> Margin | None:
    """By how much a claim holds, with its 95 % interval; None where that is no single number."""
    scale = margin_scale(holds)
    if scale is None:
        return None
    found = {name: lookup(name) for name in names_in(scale.node)}
    here = {name: m for name, m in found.items() if m is not None}
    if len(here) < len(found):
        return None
    drawn = {name: m.value if m.exact else m.replicates_of(population) for name, m in here.items()}
    try:
        value = float(values_of(scale.node, {name: m.value for name, m in here.items()}))
        known: dict[str, Values] = {name: each for name, each in drawn.items() if each is not None}
        # A number whose interval is withheld withholds that of the margin.
        spread = np.asarray(values_of(scale.node, known)) if len(known) == len(drawn) else np.array(value)
    except ClaimError:
        return None
    if not spread.ndim:
        return Margin(value)
    low, high = np.quantile(spread, TAILS)
    return Margin(value, float(low), float(high))


def over_specifications(claim: str, found: Sequence[SpecifiedVerdict], share: float) -> Verdict:
    """The verdict on a claim from those under each of its specifications (rule above)."""
    n = len(found)
    asked = max(1, math.ceil(share * n - SLACK))
    counts = Counter(each.verdict.verdict for each in found)
    holds = counts["supported"]
    fails = counts["contradicted"]
    missing = counts["unmeasured"]
    verdict: VerdictName = "undetermined"
    if holds >= asked and not fails:
        verdict = "supported"
    elif fails >= asked and not holds:
        verdict = "contradicted"
    elif missing and ((holds + missing >= asked and not fails) or (fails + missing >= asked and not holds)):
        verdict = "unmeasured"
    sources = {each.verdict.source for each in found if each.verdict.verdict != "unmeasured"}
    return Verdict(
        claim,
        verdict,
        None,
        "; ".join(filter(None, [_counted(counts, n), _first_missing(found)])),
        "published" if "published" in sources else "measured" if sources else "",
        p=_p(found, asked),
        population=next((each.verdict.population for each in found if each.verdict.population), ""),
        specifications=tuple(found),
    )


def flips(found: Sequence[SpecifiedVerdict]) -> dict[str, int]:
    """By choice, how many pairs of specifications that differ in it alone have different verdicts.

    What was not measured differs from nothing.
    """
    counts = dict.fromkeys(found[0].choices, 0) if found else {}
    for index, one in enumerate(found):
        for other in found[:index]:
            changed = [key for key in one.choices if one.choices[key] != other.choices[key]]
            verdicts = {one.verdict.verdict, other.verdict.verdict}
            if len(changed) == 1 and len(verdicts) == 2 and "unmeasured" not in verdicts:
                counts[changed[0]] += 1
    return counts


def tallies(found: Sequence[SpecifiedVerdict], choice: str) -> dict[str, tuple[int, int]]:
    """By value of a choice, in how many of its specifications the claim holds, and how many were measured."""
    tally: dict[str, tuple[int, int]] = {}
    for each in found:
        if each.verdict.verdict != "unmeasured":
            holds, measured = tally.get(str(each.choices[choice]), (0, 0))
            tally[str(each.choices[choice])] = holds + (each.verdict.verdict in HOLDS), measured + 1
    return tally


def _counted(counts: Mapping[str, int], n: int) -> str:
    """`it holds in 11 of 16 specifications, fails in 2, is undetermined in 2 and unmeasured in 1`."""
    others = [
        f"{verb} in {counts[name]}"
        for name, verb in (
            ("contradicted", "fails"),
            ("undetermined", "is undetermined"),
            ("unmeasured", "is unmeasured"),
        )
        if counts[name]
    ]
    return ", ".join([f"it holds in {counts['supported']} of {n} specifications", *others])


def _first_missing(found: Sequence[SpecifiedVerdict]) -> str:
    return next((each.verdict.reason for each in found if each.verdict.verdict == "unmeasured"), "")


def _p(found: Sequence[SpecifiedVerdict], asked: int) -> float | None:
    """The partial conjunction's p, of the side that is nearer to a verdict; None where nothing was judged."""
    if all(each.verdict.p is None for each in found):
        return None
    sides = ([p for p, _ in _one_sided(found)], [p for _, p in _one_sided(found)])
    return min(min(1.0, (len(found) - asked + 1) * sorted(side)[asked - 1]) for side in sides)


def _one_sided(found: Sequence[SpecifiedVerdict]) -> Iterator[tuple[float, float]]:
    """Each specification's p that the claim holds, and that it fails; 1 on the side that it is not on."""
    for each in found:
        share = each.verdict.share
        p = 1.0 if each.verdict.p is None else each.verdict.p
        yield (p, 1.0) if share is not None and share >= 0.5 else (1.0, p)
