"""A number in prose: its digits, what a template may ask of it, and what stands where there is none."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from markupsafe import Markup

from engine.errors import TemplateError
from engine.evidence.printing import counted
from engine.evidence.result import Check, Measurement
from engine.report.escape import as_it_is
from engine.report.numbers import (
    MARKERS,
    ExperimentNumbers,
    FormattedFloat,
    Number,
    digits_of,
    failed_checks,
    interval_of,
    is_withheld,
    known_one,
    number_in_words,
)
from engine.runs.ledger import Entry, Ledger
from engine.spec.models import Experiment, Spec
from tests.report.conftest import entry, measurements

LENS = {"lens": Experiment(family="logit_lens")}
LEDGER = Ledger("fact-recall", Spec(title="t", question="q", models=["tiny-llama"], experiments=LENS), (), {})
FAILED = Check("padding", 0.2, 1e-4, "alone as in a batch")


def number(name: str = "final_rank", at: Entry | None = None, percent: bool = False) -> Number:
    """A number of an entry, beside which others of the same entry are found."""
    at = at or entry()

    def find(wanted: str, model: str) -> Number:
        return number(wanted.rpartition(".")[2], replace(at, model=model))

    return Number(f"lens.{name}", at.measurements.get(name), at, LEDGER, find, _digits_alone, percent)


def _digits_alone(shown: Number) -> Markup:
    return Markup(shown.text)


@pytest.mark.parametrize(
    ("n", "unit", "words"),
    [
        (1, "prompt", "1 prompt"),
        (20, "prompt", "20 prompts"),
        (3, "category", "3 categories"),
        (2, "series", "2 series"),
        (12_000, "token", "12,000 tokens"),
    ],
)
def test_units_are_counted_as_in_prose(n: int, unit: str, words: str) -> None:
    assert counted(n, unit) == words


def test_a_percentage_scales_value_and_interval_alike() -> None:
    share = measurements()["share_known"]
    assert digits_of(share, percent=True) == "75 %"
    assert interval_of(share, percent=True) == "71 % to 79 %"
    assert interval_of(measurements()["seed_spread"]) == ""


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "measured"),
        ({"state": "published"}, "published"),
        ({"state": "unmeasured", "measurements": {}}, "unmeasured"),
        ({"checks": (FAILED,)}, "withheld"),
        ({"state": "published", "checks": (FAILED,)}, "published"),
    ],
)
def test_a_number_knows_where_it_comes_from(changes: dict, state: str) -> None:
    at = entry(**changes)
    found = number(at=at)
    assert found.state == state
    assert is_withheld(at) == (state == "withheld")
    assert (found.text == MARKERS.get(state)) == (state in MARKERS)


def test_the_failed_checks_are_told_with_what_was_allowed() -> None:
    passed = Check("parity", 1e-6, 5e-5, "equal")
    told = failed_checks(entry(checks=(passed, FAILED)))
    assert told == "check padding failed: 0.2, at most 0.0001 is allowed"


def test_values_are_numbers_to_reckon_with_and_print_their_digits() -> None:
    value = number().read("value")
    assert isinstance(value, FormattedFloat)
    assert str(value) == digits_of(measurements()["final_rank"])
    assert value == 12.84
    assert type(value * 2) is float
    assert number().read("low") == 9.1
    assert number().read("high") == 16.2


def test_of_a_number_that_is_not_there_no_comparison_holds() -> None:
    value = number(at=entry(state="unmeasured", measurements={})).read("value")
    assert math.isnan(value)
    assert str(value) == MARKERS["unmeasured"]
    assert not value > 1
    assert not value <= 1
    assert str(number("seed_spread").read("low")) == "[no interval]"
    withheld = number(at=entry(checks=(FAILED,)))
    assert math.isnan(withheld.read("value"))
    assert withheld.read("unit") == MARKERS["withheld"]


def test_a_template_may_ask_for_what_is_listed_and_nothing_else() -> None:
    assert number().read("n") == 120
    assert number().read("unit") == "prompt"
    assert number().read("measured") is True
    assert number().read("on")("tiny-gpt2").entry.model == "tiny-gpt2"
    for private in ("entry", "find", "show", "measurement", "__class__"):
        with pytest.raises(TemplateError):
            number().read(private)
    with pytest.raises(TemplateError) as caught:
        number().read("hihg")
    assert caught.value.near[0] == "high"


def test_a_control_is_found_on_the_same_model() -> None:
    control = number(at=entry(model="tiny-gpt2")).read("control")
    assert (control.name, control.entry.model) == ("lens.other_rank", "tiny-gpt2")
    with pytest.raises(TemplateError, match="names no control"):
        number("n_kept").read("control")


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("share_known", {}, "0.75 (95 % CI 0.71 to 0.79, n = 160 prompts)"),
        ("n_kept", {}, "120"),
        ("seed_spread", {}, "0.410 (no interval, n = 5 seeds)"),
        ("n_kept", {"state": "published"}, "120 [published]"),
        ("n_kept", {"checks": (FAILED,)}, "[withheld: a check failed]"),
    ],
)
def test_in_words_a_number_carries_interval_n_and_source(name: str, changes: dict, words: str) -> None:
    assert number_in_words(number(name, entry(**changes)), as_it_is) == words


def test_an_experiment_gives_numbers_also_at_a_sweep_point_and_is_none_itself() -> None:
    asked: list[str] = []

    def find(name: str, model: str) -> Number:
        asked.append(name)
        return number()

    numbers = ExperimentNumbers("sweep", find)
    numbers.read("final_rank")
    point = numbers.read("seed=3")
    assert isinstance(point, ExperimentNumbers)
    point.read("n_kept")
    assert asked == ["sweep.final_rank", "sweep[seed=3].n_kept"]
    with pytest.raises(TemplateError, match="an experiment, not a number"):
        numbers.__html__()


def test_what_is_unknown_is_told_with_what_there_is() -> None:
    assert known_one("this table", "layer", {"layer": 3}) == 3
    assert known_one("this table", "layer", ["layer"]) == "layer"
    with pytest.raises(TemplateError, match="this table has no 'layr'") as caught:
        known_one("this table", "layr", ["layer", "head"])
    assert caught.value.near[0] == "layer"
    assert caught.value.expected == "one of layer, head"


def test_a_measurement_without_samples_prints_too() -> None:
    assert digits_of(Measurement("x", 3.0, None, None, 3, "prompt", exact=True)) == "3"
