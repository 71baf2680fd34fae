"""A claim as a sentence of the text cites it, and its verdicts in words."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from engine.evidence.plural import counted
from engine.evidence.verdicts import LEVEL, Verdict, decided_family_wise
from engine.runs.ledger import Ledger
from engine.spec.models import Claim


@dataclass(frozen=True)
class ClaimSentence:
    """A claim as one sentence of the text cites it, with the verdict of the primary model and of all."""

    id: str
    claim: Claim
    asserted: str
    by_model: dict[str, Verdict]

    @property
    def verdict(self) -> Verdict:
        """That of the model that the sentence speaks of: the primary one, where it names no other."""
        return next(iter(self.by_model.values()))

    @property
    def model(self) -> str:
        """The model that the sentence speaks of."""
        return next(iter(self.by_model))

    @property
    def is_broken(self) -> bool:
        """The text says one thing and the evidence another; too little of it contradicts nothing."""
        return self.verdict.verdict not in (self.asserted, "undetermined", "unmeasured")

    @property
    def is_undecided(self) -> bool:
        """The text says one thing, and what was measured does not decide it."""
        return self.verdict.verdict == "undetermined" and self.asserted != "undetermined"

    @property
    def hypothesis(self) -> str:
        """What the claim supposes, in the words of its spec or else as its predicate; without a full stop."""
        return hypothesis_of(self.claim)

    @property
    def says_the_hypothesis(self) -> bool:
        """The sentence says what was supposed, and that came out: one verdict is on both."""
        return self.asserted in ("supported", "found here") and not self.mark and not self._is_open

    @property
    def _is_open(self) -> bool:
        return self.verdict.verdict in ("undetermined", "unmeasured")

    @property
    def mark(self) -> str:
        """What a reader is told where text and evidence part; empty where they do not."""
        if self.is_broken:
            return f"broken: the text says {self.asserted}, measured {self.verdict.verdict}"
        return f"undetermined: the text says {self.asserted}" if self.is_undecided else ""


def css_class(verdict: str) -> str:
    """`mech-not-found-here`."""
    return "mech-" + re.sub(r"[^a-z]+", "-", verdict)


def verdict_of(ledger: Ledger, claim: str, model: str) -> Verdict:
    """The verdict on one model, `unmeasured` where none was reached."""
    return ledger.verdicts.get(model, {}).get(claim) or Verdict(
        claim, "unmeasured", None, "not evaluated", ""
    )


def hypothesis_of(claim: Claim) -> str:
    """What a claim supposes, in the words of its spec or else as its predicate; without a full stop."""
    return (claim.says or claim.holds).rstrip(". ")


def decided_by_requirement(verdict: Verdict) -> bool:
    """Whether the claim's own comparison came out, and what it requires or is valid by left it open."""
    if verdict.verdict != "undetermined" or verdict.share is None:
        return False
    return not LEVEL < verdict.share < 1 - LEVEL


def share_of(verdict: Verdict) -> str:
    """`99.2 %` of replicates; rounding never reaches a bound that the share does not.

    Empty for none, and where a requirement decided: then no share of the claim itself says why.
    """
    if verdict.share is None or decided_by_requirement(verdict):
        return ""
    percent = 100 * verdict.share
    text = f"{percent:.1f}".removesuffix(".0")
    if text in ("0", "100") and percent != float(text):
        return "less than 0.1 %" if text == "0" else "more than 99.9 %"
    return f"{text} %"


def why(verdict: Verdict) -> str:
    """`holds in 99.2 % of replicates (24 relations like these); reason`, as far as there is any of it."""
    share = share_of(verdict)
    whom = f" ({verdict.population})" if verdict.population else ""
    return "; ".join(
        t for t in (f"holds in {share} of replicates{whom}" if share else "", verdict.reason) if t
    )


def verdict_in_words(verdict: Verdict) -> str:
    """`supported (published): holds in 99.2 % of replicates; reason`."""
    mark = " (published)" if verdict.source == "published" else ""
    more = why(verdict)
    return f"{verdict.verdict}{mark}: {more}" if more else f"{verdict.verdict}{mark}"


def family_in_words(ledger: Ledger, model: str) -> str:
    """How many claims were judged on a model, and which verdicts stand if they are taken as one family."""
    verdicts = [verdict_of(ledger, claim, model) for claim in ledger.spec.claims]
    stands = decided_family_wise(verdicts)
    if not stands:
        return ""
    alone = [v.claim for v in verdicts if v.claim in stands and v.verdict != "undetermined"]
    fallen = [claim for claim in alone if not stands[claim]]
    said = f"{model}: {counted(len(stands), 'claim')} judged, {len(alone)} decided one by one"
    together = f"{len(alone) - len(fallen)} as one family (Holm, 5 %)"
    return f"{said}, {together}; not then: {', '.join(fallen)}." if fallen else f"{said}, {together}."


def verdict_and_share(verdict: Verdict) -> str:
    """`supported, 99.2 %`."""
    share = share_of(verdict)
    return f"{verdict.verdict}, {share}" if share else verdict.verdict


def sentence_in_words(cited: ClaimSentence, sentence: str, escape: Callable[[object], Markup]) -> Markup:
    """The sentence, and where it does not say what was supposed: that, with what was found of it."""
    if cited.says_the_hypothesis:
        return Markup(sentence)
    outcome = cited.mark or cited.verdict.verdict
    return Markup(f"{sentence} [") + escape(f"Hypothesis: {cited.hypothesis} ({outcome})") + Markup("]")
