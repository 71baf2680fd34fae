"""What a claim's specifications say, as a sentence: how many agree, and which choices flip it."""

from __future__ import annotations

from collections.abc import Sequence

from engine.evidence.multiverse import flips, tallies
from engine.evidence.verdicts import SpecifiedVerdict
from engine.report.charts.specification_curve import parameter_name


def which_choices_flip(found: Sequence[SpecifiedVerdict]) -> str:
    """Which choices change the verdict by themselves, with how often the claim holds under each value."""
    measured = [each for each in found if each.verdict.verdict != "unmeasured"]
    if not measured:
        return "None of its specifications is measured here."
    n = f"{len(measured)} of {len(found)} specifications that are measured"
    of = n if len(measured) < len(found) else f"{len(found)} specifications"
    counts = flips(found)
    flipping = [key for key, pairs in counts.items() if pairs]
    if not flipping:
        return f"No choice flips the claim: it is {measured[0].verdict.verdict} under all {of}."
    # A claim that is supported here and open there has not been flipped.
    opposed = {"supported", "contradicted"} <= {each.verdict.verdict for each in measured}
    does = "flips the claim" if opposed else "changes the verdict"
    said = [_by_value(found, key, does) for key in flipping]
    still = [parameter_name(key, list(counts)) for key, pairs in counts.items() if not pairs]
    rest = f" {_listed(still)} {'changes' if len(still) == 1 else 'change'} nothing." if still else ""
    return " ".join(said) + rest


def _by_value(found: Sequence[SpecifiedVerdict], key: str, does: str) -> str:
    """`The choice of ablation flips the claim: it holds in 4 of 4 with mean, in 0 of 4 with zero.`"""
    name = parameter_name(key, list(found[0].choices))
    held = [f"in {holds} of {n} with {value}" for value, (holds, n) in tallies(found, key).items()]
    return f"The choice of {name} {does}: it holds {', '.join(held)}."


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
