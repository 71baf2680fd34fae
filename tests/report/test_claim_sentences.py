"""What a sentence says of a claim against what was measured, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.evidence.verdicts import Verdict
from engine.report.claim_sentences import (
    ClaimSentence,
    family_in_words,
    sentence_in_words,
    share_of,
    verdict_and_share,
    verdict_in_words,
    verdict_of,
    why,
)
from engine.spec.models import Claim

CLAIM = Claim(holds="lens.final_rank < 20")


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
    assert sentence_in_words(sentence, "It is so.") == (f"It is so. [{mark}]" if mark else "It is so.")


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


def test_a_broken_sentence_says_what_was_measured_instead() -> None:
    assert sentence_in_words(cited("supported", "supported"), "It falls.") == "It falls."
    told = sentence_in_words(cited("supported", "contradicted"), "It falls.")
    assert told == "It falls. [broken: the text says supported, measured contradicted]"


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
