"""Verdicts on a statement about one model, judged on another that stands in for it.

The logic is the same and only the words differ: what was said of GPT-2 is found in another model or not found
there; neither supports nor contradicts it.
"""

from __future__ import annotations

from dataclasses import replace

from engine.evidence.verdicts import Verdict, VerdictName

ON_A_STAND_IN: dict[VerdictName, VerdictName] = {
    "supported": "found here",
    "contradicted": "not found here",
}
IN_GENERAL = {named: verdict for verdict, named in ON_A_STAND_IN.items()}


def is_stand_in(about: str | None, model: str) -> bool:
    """Whether a claim speaks of another model than the one that it is judged on."""
    return about is not None and about != model


def verdict_names(stand_in: bool) -> list[VerdictName]:
    """The verdicts that a claim can have, as a sentence may assert them."""
    plain: list[VerdictName] = ["supported", "contradicted", "undetermined", "unmeasured"]
    return [ON_A_STAND_IN.get(name, name) for name in plain] if stand_in else plain


def named_for(verdict: Verdict, stand_in: bool) -> Verdict:
    """The verdict in the words for a stand-in, or for the model itself."""
    words = ON_A_STAND_IN if stand_in else IN_GENERAL
    specifications = tuple(
        replace(each, verdict=named_for(each.verdict, stand_in)) for each in verdict.specifications
    )
    word = words.get(verdict.verdict, verdict.verdict)
    return replace(verdict, verdict=word, specifications=specifications)
