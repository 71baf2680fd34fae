"""The audit as a spec: what it claims can be judged, both ways and no further than its controls reach."""

from __future__ import annotations

import pytest

from engine.evidence.claims import parse
from engine.runs.refusal_audit import (
    EXPERIMENT,
    INTERVENTIONS,
    Intervention,
    audit_claims,
    audit_flops,
    audit_prompts,
    audit_spec,
    controls,
    does_not_control,
    requests_held_out,
    requests_needed,
)
from engine.spec.models import Spec


def test_it_is_a_spec_whose_predicates_are_of_its_one_experiment() -> None:
    spec = Spec.model_validate(audit_spec("tiny", {"name": "refusal"}, "bfloat16"))
    assert list(spec.experiments) == [EXPERIMENT]
    for claim in spec.claims.values():
        for predicate in (claim.holds, *claim.requires, *claim.valid_if):
            assert all(name.startswith(f"{EXPERIMENT}.") for name in parse(predicate).names)


@pytest.mark.parametrize("intervention", INTERVENTIONS, ids=lambda each: each.name)
def test_that_nothing_is_controlled_needs_a_model_that_refuses_and_one_that_can_be_steered(
    intervention: Intervention,
) -> None:
    claims = audit_claims()
    does = claims[controls(intervention)]
    does_not = claims[does_not_control(intervention)]
    assert "random" in does["requires"][0] and "valid_if" not in does
    assert any("language" in condition for condition in does_not["valid_if"])
    assert (
        any("refusal_baseline > 0.2" in condition for condition in does_not["valid_if"]) != intervention.adds
    )


@pytest.mark.parametrize("intervention", INTERVENTIONS, ids=lambda each: each.name)
def test_of_the_two_claims_one_at_most_holds(intervention: Intervention) -> None:
    claims = audit_claims()
    left, right = (claims[of(intervention)]["holds"] for of in (controls, does_not_control))
    signs = {">", "<"}
    assert left.translate(str.maketrans("<>", "><")) == right
    assert signs & set(left) != signs & set(right)


@pytest.mark.parametrize("n", [20, 36, 60, 100, 120])
def test_as_many_are_held_out_as_were_asked_for(n: int) -> None:
    needed = requests_needed(n)
    assert requests_held_out(needed) >= n > requests_held_out(needed - 1) - 1
    assert audit_prompts("mine.csv", n) == {"name": "mine.csv", "limit": 2 * needed}
    # All of them where no request is left out: a limit would be another set in the run's key.
    assert audit_prompts("mine.csv", n, 2 * needed) == {"name": "mine.csv"}


def test_an_audit_takes_longer_of_a_larger_model_and_of_more_requests() -> None:
    assert audit_flops(2 * 10**9, 28, 100) == 2 * audit_flops(10**9, 28, 100)
    assert audit_flops(10**9, 28, 100) > audit_flops(10**9, 24, 100) > audit_flops(10**9, 24, 60)
