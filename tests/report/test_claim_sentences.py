"""What a sentence says of a claim against what was measured, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.evidence.verdicts import Verdict
from engine.report.claim_sentences import (
    ClaimSentence,
    decided_by_requirement,
    family_in_words,
    sentence_in_words,
    share_of,
    verdict_and_share,
    verdict_in_words,
    verdict_of,
    why,
)
from engine.report.escape import as_it_is
from engine.spec.models import Claim

CLAIM = Claim(holds="lens.final_rank < 20", says="The rank is low.")


def cited(asserted: str, *verdicts: str) -> ClaimSentence:
    """A sentence on one claim, with a verdict on each of some models."""
    by_model = {f"model-{n}": Verdict("c", verdict, 0.5) for n, verdict in enumerate(verdicts)}  # type: ignore[arg-type]
    return ClaimSentence("c", CLAIM, asserted, by_model)


@pytest.mark.parametrize(
    ("asserted", "measured", "broken"),
    [
        ("supported", "supported", False),
        ("supported", "contradicted", True),
        # Too little data is no mistake of the text.
        ("supported", "undetermined", False),
        ("contradicted", "undetermined", False),
        ("contradicted", "contradicted", False),
        ("contradicted", "supported", True),
        ("undetermined", "undetermined", False),
        ("undetermined", "supported", True),
        ("supported", "unmeasured", False),
    ],
)
def test_a_sentence_is_broken_where_the_evidence_says_another_thing(
    asserted: str, measured: str, broken: bool
) -> None:
    assert cited(asserted, measured).is_broken == broken


@pytest.mark.parametrize(
    ("asserted", "measured", "mark"),
    [
        ("supported", "undetermined", "undetermined: the text says supported"),
        ("contradicted", "undetermined", "undetermined: the text says contradicted"),
        ("found here", "undetermined", "undetermined: the text says found here"),
        ("undetermined", "undetermined", ""),
        ("supported", "unmeasured", ""),
        ("supported", "supported", ""),
        ("undetermined", "supported", "broken: the text says undetermined, measured supported"),
    ],
)
def test_what_the_evidence_does_not_decide_is_told_and_is_not_broken(
    asserted: str, measured: str, mark: str
) -> None:
    sentence = cited(asserted, measured)
    assert sentence.mark == mark
    assert sentence.is_undecided == mark.startswith("undetermined")
    assert (f"({mark})" in sentence_in_words(sentence, "It is so.", as_it_is)) == bool(mark)


def test_the_primary_model_decides() -> None:
    assert not cited("supported", "supported", "contradicted").is_broken
    assert cited("supported", "contradicted", "supported").is_broken


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (None, ""),
        (1.0, "100 %"),
        (0.0, "0 %"),
        (0.992, "99.2 %"),
        (0.99997, "more than 99.9 %"),
        (0.00002, "less than 0.1 %"),
        (0.5, "50 %"),
    ],
)
def test_a_share_is_never_rounded_to_a_bound_that_it_does_not_reach(share: float | None, text: str) -> None:
    assert share_of(Verdict("c", "supported", share)) == text


def test_a_verdict_says_its_share_its_reason_and_whether_it_is_the_published_one() -> None:
    here = Verdict("c", "undetermined", 0.6, "a control is not supported")
    assert why(here) == "holds in 60 % of replicates; a control is not supported"
    assert verdict_in_words(here) == f"undetermined: {why(here)}"
    before = Verdict("c", "supported", None, "", "published")
    assert verdict_in_words(before) == "supported (published)"
    assert verdict_and_share(before) == "supported"
    assert verdict_and_share(here) == "undetermined, 60 %"


@pytest.mark.parametrize(
    ("asserted", "measured", "told"),
    [
        ("supported", "supported", "It falls."),
        ("found here", "found here", "It falls."),
        ("contradicted", "contradicted", "It falls. [Hypothesis: The rank is low (contradicted)]"),
        ("undetermined", "undetermined", "It falls. [Hypothesis: The rank is low (undetermined)]"),
        ("supported", "unmeasured", "It falls. [Hypothesis: The rank is low (unmeasured)]"),
        (
            "supported",
            "contradicted",
            "It falls. [Hypothesis: The rank is low "
            "(broken: the text says supported, measured contradicted)]",
        ),
    ],
)
def test_a_verdict_stands_beside_its_hypothesis(asserted: str, measured: str, told: str) -> None:
    sentence = cited(asserted, measured)
    assert sentence_in_words(sentence, "It falls.", as_it_is) == told
    assert sentence.says_the_hypothesis == (told == "It falls.")


def test_without_words_of_its_own_a_hypothesis_is_its_predicate() -> None:
    bare = replace(cited("contradicted", "contradicted"), claim=Claim(holds="lens.final_rank < 20"))
    assert bare.hypothesis == "lens.final_rank < 20"


@pytest.mark.parametrize(
    ("share", "decided"), [(1.0, True), (0.976, True), (0.6, False), (0.0, True), (None, False)]
)
def test_where_a_requirement_decided_no_percentage_is_given(share: float | None, decided: bool) -> None:
    verdict = Verdict("c", "undetermined", share, "requires a.b > 0, which is contradicted")
    assert decided_by_requirement(verdict) == decided
    assert ("%" in verdict_and_share(verdict)) == (share is not None and not decided)
    assert ("%" in verdict_in_words(verdict)) == (share is not None and not decided)
    assert not decided_by_requirement(Verdict("c", "supported", share))


def test_a_claim_that_nobody_judged_is_unmeasured(ledger) -> None:
    assert verdict_of(ledger, "rank-falls", "tiny-llama").verdict == "supported"
    for claim, model in (("mostly-known", "far-away"), ("rank-falls", "another")):
        verdict = verdict_of(ledger, claim, model)
        assert (verdict.verdict, verdict.share) == ("unmeasured", None)


def test_a_verdict_says_of_whom_it_speaks() -> None:
    said = why(Verdict("c", "supported", 0.99, population="24 relations like these"))
    assert said == "holds in 99 % of replicates (24 relations like these)"


def test_a_page_says_which_verdicts_stand_if_its_claims_are_one_family(ledger) -> None:
    (model, *_) = ledger.spec.models
    verdicts = {
        "rank-falls": Verdict("rank-falls", "supported", 1.0, p=0.0004),
        "mostly-known": Verdict("mostly-known", "contradicted", 0.02, p=0.04),
    }
    judged = replace(ledger, verdicts={model: verdicts})
    assert family_in_words(judged, model) == (
        f"{model}: 2 claims judged, 2 decided one by one, 2 as one family (Holm, 5 %)."
    )
    verdicts["rank-falls"] = replace(verdicts["rank-falls"], p=0.03)
    assert family_in_words(replace(ledger, verdicts={model: verdicts}), model).endswith(
        "2 decided one by one, 0 as one family (Holm, 5 %); not then: rank-falls, mostly-known."
    )
    # What was published without a p is no part of it.
    assert family_in_words(ledger, model) == ""
