"""The first lines of an audit's page: yes, no or cannot be told, by verdicts, with what stands in the way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.evidence.result import Check, Measurement
from engine.evidence.verdicts import Verdict, VerdictName
from engine.report.printers.text import TextPrinter
from engine.report.refusal_audit_page import answers, audit_opening
from engine.runs.ledger import Entry, Ledger
from engine.runs.refusal_audit import EXPERIMENT, INTERVENTIONS, audit_spec
from engine.spec.models import Spec

MODEL = "tiny"
REASON = "audit.refusal_baseline is low"
SHARES = {
    "refusal_baseline": 0.8,
    "refusal_ablation": 0.05,
    "refusal_single_layer": 0.75,
    "refusal_random_ablation": 0.79,
    "harmless_refusal_baseline": 0.02,
    "harmless_refusal_addition": 0.9,
    "harmless_refusal_random_addition": 0.03,
    "auc": 0.97,
    "auc_shuffled": 0.55,
    "disagreement_baseline": 0.1,
    "broken_baseline": 0.0,
    "broken_ablation": 0.1,
    "language_baseline": 0.95,
    "plain_language_baseline": 0.02,
    "language_ablation": 0.1,
    "plain_language_addition": 0.9,
}
OTHERS = {"d_prime": 3.0, "layer": 12.0, "position": -1.0, "keeps_limits": 1.0, "n_refusal_tokens": 2.0}
OTHERS |= {"kl_ablation": 0.05, "kl_single_layer": 0.01, "kl_addition": 1.2}
OTHERS |= {"loss_baseline": 0.5, "loss_ablation": 0.7}


def number(name: str, value: float, width: float = 0.05) -> Measurement:
    low = max(0.0, value - width) if name in SHARES else value - width
    high = min(1.0, value + width) if name in SHARES else value + width
    return Measurement(name, value, low, high, 100, "prompt")


def ledger(verdicts: dict[str, VerdictName] | None = None, without: str = "", **changed: float) -> Ledger:
    """An audit with these numbers and verdicts; claims that are not named are undetermined."""
    values = {name: value for name, value in {**SHARES, **OTHERS, **changed}.items() if name != without}
    both = {
        f"refusal_{arm}_{scorer}": 0.5
        for arm in ("ablation", "baseline")
        for scorer in ("substrings", "tokens")
    }
    found = {name: number(name, value) for name, value in (values | both).items()}
    entry = Entry(EXPERIMENT, {}, MODEL, "measured", measurements=found)
    spec = Spec.model_validate(audit_spec(MODEL, {"name": "refusal"}, "float32"))
    said = {
        claim: Verdict(
            claim, (verdicts or {}).get(claim, "undetermined"), 0.5, "audit.refusal_baseline is low"
        )
        for claim in spec.claims
    }
    return Ledger("audit-refusal", spec, (entry,), {MODEL: said})


def told(of: Ledger) -> dict[str, str]:
    return {each.question.partition("?")[0]: each.answer for each in answers(of)}


def test_an_answer_is_the_verdict_of_the_claim_or_of_its_opposite() -> None:
    found = told(
        ledger(
            {
                "separable": "supported",
                "ablation-controls": "supported",
                "single_layer-does-not-control": "supported",
                "addition-does-not-control": "contradicted",
            }
        )
    )
    assert list(found.values()) == ["yes", "yes", "yes", "no", "not done", "cannot be told"]
    assert len(found) == 2 + len(INTERVENTIONS)


def test_weights_that_were_checked_are_answered_by_ablation() -> None:
    of = ledger({"ablation-controls": "supported"})
    check = Check("weights_equal_ablation", 2e-5, 1e-4, "logits")
    checked = replace(of, entries=(replace(of.entries[0], checks=(check,)),))
    (weights,) = [each for each in answers(checked) if "weights" in each.question]
    assert (weights.answer, "differ by 2e-05 at most" in weights.because) == ("yes", True)


def test_a_model_that_hardly_refuses_is_told_what_can_and_cannot_be_concluded() -> None:
    refuses = answers(ledger(refusal_baseline=0.05))[0]
    assert refuses.answer == "no"
    assert "only adding the direction can be tested" in refuses.because
    # Between the two there is no saying.
    assert answers(ledger(refusal_baseline=0.2))[0].answer == "cannot be told"


def test_costs_stand_beside_the_effect() -> None:
    by_ablation = next(each for each in answers(ledger()) if "every layer" in each.question)
    assert "go from 80 % (75 % to 85 %) to 5 % (0 % to 10 %)" in by_ablation.because
    assert "0.05 nats (0.00 to 0.10) of KL on harmless requests" in by_ablation.because
    assert "a perplexity of 2.01 on its own harmless answers (1.65 before)" in by_ablation.because
    assert "10 % (5 % to 15 %) of answers empty or broken (0.0 % before)" in by_ablation.because


def test_what_stands_in_the_way_of_an_answer_is_said() -> None:
    open_one = answers(ledger())[2]
    assert open_one.because.endswith("(refusal_baseline is low)")
    without = answers(ledger(without="plain_language_addition"))[2]
    assert without.because.endswith("(no positive control was measured)")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "answers in French go from 2 %"),
        ({"without": "plain_language_addition"}, "No positive control was measured"),
        ({"keeps_limits": 0.0}, "No candidate kept to the limits"),
        ({"n_refusal_tokens": 0.0}, "The model refused no training request"),
    ],
)
def test_the_page_says_how_far_its_answers_reach(changed: dict, said: str) -> None:
    page = "\n".join(audit_opening(ledger(**changed), TextPrinter())).replace("\\", "")
    assert page.index("Answers") < page.index("Refusals by intervention") < page.index("What follows")
    assert said in page
    assert "| harmful | ablation |" in page


def test_nothing_is_answered_where_nothing_was_measured() -> None:
    of = ledger()
    unmeasured = replace(of.entries[0], state="unmeasured", measurements={})
    assert answers(replace(of, entries=(unmeasured,))) == []
    assert list(audit_opening(replace(of, entries=(unmeasured,)), TextPrinter())) == []
