"""The specification curve: sorted, complete, valid by the schema, and said in words."""

from __future__ import annotations

import itertools
import json

import altair
import pytest
from jsonschema import Draft7Validator

from engine.evidence.multiverse import margin_scale
from engine.evidence.verdicts import Margin, SpecifiedVerdict, Verdict
from engine.report.charts.specification_curve import (
    LOOKS,
    curve_table,
    parameter_name,
    specification_curve,
)
from engine.report.multiverse_words import which_choices_flip

SCALE = margin_scale("p.first > p.second")


def specified(metric: str, ablation: str, value: float | None, verdict: str) -> SpecifiedVerdict:
    margin = None if value is None else Margin(value, value - 0.1, value + 0.1)
    found = Verdict("c", verdict, None if value is None else 0.9)  # type: ignore[arg-type]
    return SpecifiedVerdict({"p.metric": metric, "p.ablation": ablation}, found, margin)


FOUND = [
    specified("logit_diff", "interchange", 0.5, "supported"),
    specified("kl", "interchange", 0.2, "supported"),
    specified("logit_diff", "zero", -0.3, "contradicted"),
    specified("kl", "zero", None, "unmeasured"),
]


def test_specifications_are_sorted_by_their_margin_and_what_is_missing_stands_last() -> None:
    table = curve_table(FOUND)
    assert table["margin"].tolist()[:3] == [-0.3, 0.2, 0.5]
    assert table["verdict"].tolist()[-1] == "unmeasured"
    assert table["place"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("scale", [SCALE, None])
def test_it_is_valid_by_the_schema_and_compiles(scale) -> None:
    import vl_convert

    chart = specification_curve("It holds", FOUND, scale)
    spec = json.loads(json.dumps(chart.spec, allow_nan=False))
    Draft7Validator(altair.load_schema()).validate(spec)
    assert vl_convert.vegalite_to_vega(spec, vl_version="6.4")["marks"]
    assert spec["config"]["background"] == "transparent" and spec["description"] == chart.alt
    assert not {"labelColor", "titleColor"} & set(str(spec).replace("'", " ").split())


def test_every_specification_has_a_dot_for_each_of_its_choices() -> None:
    chart = specification_curve("It holds", FOUND, SCALE)
    dots = chart.spec["vconcat"][1]["data"]["values"]
    assert len(dots) == 8
    first = [dot["choice"] for dot in dots if dot["place"] == 1]
    assert first == ["metric: logit_diff", "ablation: zero"]


def test_colour_and_shape_both_say_the_verdict_in_both_panels() -> None:
    chart = specification_curve("It holds", FOUND, SCALE)
    point, dots = chart.spec["vconcat"][0]["layer"][-1], chart.spec["vconcat"][1]
    for encoding in (point["encoding"], dots["encoding"]):
        assert encoding["color"]["field"] == encoding["shape"]["field"] == "verdict"
        assert encoding["color"]["scale"]["domain"] == ["supported", "contradicted", "unmeasured"]
    assert len({shape for _, shape in (LOOKS[v] for v in ("supported", "contradicted", "unmeasured"))}) == 3


def test_it_is_said_in_words() -> None:
    assert specification_curve("It holds.", FOUND, SCALE).alt == (
        "It holds. Specification curve of 4 specifications: 2 supported, 1 contradicted, 1 unmeasured; "
        "p.first - p.second from -0.3 to 0.5; the claim turns at 0. "
        "metric: logit_diff, kl; ablation: zero, interchange."
    )


def test_two_parameters_of_one_name_are_told_with_their_experiments() -> None:
    assert parameter_name("p.k", ["p.k", "q.k"]) == "p.k"
    assert parameter_name("p.k", ["p.k", "q.n"]) == "k"


def test_the_sentence_says_which_choices_flip_the_claim() -> None:
    assert which_choices_flip(FOUND) == (
        "The choice of ablation flips the claim: it holds in 2 of 2 with interchange, in 0 of 1 with zero. "
        "metric changes nothing."
    )


def test_where_no_choice_flips_it_the_sentence_says_so() -> None:
    found = [specified(m, a, 1.0, "supported") for m, a in itertools.product(("x", "y"), ("u", "v"))]
    assert which_choices_flip(found) == (
        "No choice flips the claim: it is supported under all 4 specifications."
    )
    some = [*found[:3], specified("y", "v", None, "unmeasured")]
    assert which_choices_flip(some) == (
        "No choice flips the claim: it is supported under all 3 of 4 specifications that are measured."
    )
    none = [specified(m, "u", None, "unmeasured") for m in ("x", "y")]
    assert which_choices_flip(none) == "None of its specifications is measured here."


def test_a_claim_that_is_open_under_one_choice_and_contradicted_under_none_is_not_flipped() -> None:
    found = [specified("x", "u", 1.0, "supported"), specified("x", "v", 1.0, "undetermined")]
    assert which_choices_flip(found) == (
        "The choice of ablation changes the verdict: it holds in 1 of 1 with u, in 0 of 1 with v. "
        "metric changes nothing."
    )
