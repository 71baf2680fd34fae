"""What a ledger is asked for by name, and what it answers where there is none."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import TemplateError


def test_a_number_comes_with_its_entry(toy: Any) -> None:
    toy.spec(swept={"sweep": {"seed": [0, 1]}})
    ledger = toy.ledger()
    measurement, entry = ledger.number("swept[seed=1].score")
    assert measurement is not None
    assert (measurement.name, entry.label, entry.model) == ("score", "swept[seed=1]", ledger.primary)


def test_a_name_that_is_not_there_is_told_with_the_nearest(toy: Any) -> None:
    ledger = toy.ledger()
    with pytest.raises(TemplateError, match=r"report\.md:3: no experiment 'coutn'(?s:.)*nearest: count"):
        ledger.number("coutn.score", where="report.md:3")
    with pytest.raises(TemplateError, match=r"count has no number 'scoer'(?s:.)*nearest: score"):
        ledger.number("count.scoer")


def test_a_number_of_what_was_not_measured_is_none_and_no_mistake(toy: Any) -> None:
    measurement, entry = toy.ledger(budget=0.0).number("count.anything")
    assert measurement is None
    assert entry.state == "unmeasured"
    assert not entry.withheld


def test_what_was_measured_without_a_hook_site_names_none(toy: Any) -> None:
    assert toy.ledger().entry("count").provenance.hook_site == ""
