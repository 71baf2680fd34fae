"""Key numbers: each beside its control, written as the headline writes it."""

from __future__ import annotations

from dataclasses import replace

from engine.report.key_numbers import wrong_key_numbers
from engine.report.render import render
from engine.runs.ledger import Ledger
from engine.spec.models import KeyNumber
from tests.report.test_render import PATH

RANK = KeyNumber(number="lens.final_rank", says="rank of the answer")
SHARE = KeyNumber(number="lens.share_known", says="of the facts", percent=True, control="lens.n_kept")


def with_key_numbers(ledger: Ledger, *numbers: KeyNumber, headline: str = "") -> Ledger:
    spec = ledger.spec.model_copy(update={"key_numbers": list(numbers), "headline": headline})
    return replace(ledger, spec=spec)


def kinds(ledger: Ledger) -> list[str]:
    return [c.kind for c in render(ledger, "", PATH).concerns if c.kind != "uncited-claim"]


def test_as_text_a_number_stands_with_its_interval_beside_its_control(ledger: Ledger) -> None:
    opened = render(with_key_numbers(ledger, RANK, SHARE), "", PATH, target="text").opening
    rank, share = [line for line in opened.splitlines() if line.startswith("- ")]
    assert rank == (
        "- 13 (95 % CI 9 to 16, n = 120 prompts): rank of the answer. "
        "Control: 375 (95 % CI 350 to 401, n = 120 prompts), Another answer"
    )
    assert share.startswith("- 75 % (95 % CI 71 % to 79 %") and "Control: 12,000 %" in share


def test_a_number_without_a_control_says_only_what_it_is(ledger: Ledger) -> None:
    bare = KeyNumber(number="lens.share_known", says="of the facts")
    (concern,) = render(with_key_numbers(ledger, bare), "", PATH).concerns[-1:]
    assert concern.kind == "key-number-without-control" and "`control:`" in concern.message
    counted = KeyNumber(number="lens.n_kept", says="prompts")
    assert kinds(with_key_numbers(ledger, counted)) == []


def test_what_the_headline_writes_otherwise_needs_a_person(ledger: Ledger) -> None:
    plain = "{{ lens.share_known }} of the facts."
    assert kinds(with_key_numbers(ledger, SHARE, headline=plain)) == ["number-written-two-ways"]
    percent = "{{ lens.share_known | percent }} of the facts."
    assert kinds(with_key_numbers(ledger, SHARE, headline=percent)) == []


def test_a_wrong_name_is_told_with_its_place_and_the_nearest(ledger: Ledger) -> None:
    wrong = KeyNumber(number="lens.fnal_rank", says="s", control="lens.othr_rank")
    told = list(wrong_key_numbers(with_key_numbers(ledger, RANK, wrong), PATH))
    assert [e.where for e in told] == [f"{PATH}: key_numbers[1].number", f"{PATH}: key_numbers[1].control"]
    assert [e.near[0] for e in told] == ["final_rank", "other_rank"]


def test_of_what_was_not_measured_the_marker_stands(ledger: Ledger) -> None:
    spec = ledger.spec.model_copy(update={"models": ["far-away"]})
    away = with_key_numbers(replace(ledger, spec=spec), RANK)
    opened = render(away, "", PATH, target="text").opening
    assert "- [not measured here]: rank of the answer" in opened and "Control" not in opened
