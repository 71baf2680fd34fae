"""A claim's choices become specifications, and these the runs that they need, each once."""

import pytest

from engine.spec.specifications import specifications, specified_settings

SPEC = """
title: T
question: Q
models: [tiny]
experiments:
  a:
    family: lens
    parameters: {commit_rank: 4}
  b:
    family: stability
    uses: {it: a}
  c:
    family: coder
    parameters: {n_features: 64}
    sweep: {seed: [0, 1]}
claims:
  first:
    holds: a.x > b.y and c[seed=0].z > c[seed=1].z
    across: {c.k: [32, 8], a.commit_rank: [0, 4]}
  second:
    holds: a.x > 1
    across: {a.commit_rank: [4, 0], a.normalise: [true, false]}
"""


@pytest.fixture
def spec(load):
    return load(SPEC)


def test_every_combination_is_a_specification_and_the_last_choice_varies_fastest(spec, catalog):
    found = specifications(spec, spec.claims["first"], catalog)
    assert [tuple(each.choices.values()) for each in found] == [(32, 0), (32, 4), (8, 0), (8, 4)]


def test_what_the_spec_has_itself_is_no_setting(spec, catalog):
    found = specifications(spec, spec.claims["first"], catalog)
    assert [each.settings for each in found] == [
        (("a.commit_rank", 0),),
        (),
        (("a.commit_rank", 0), ("c.k", 8)),
        (("c.k", 8),),
    ]


def test_a_number_is_that_of_the_changed_run_and_of_what_builds_on_it(spec, catalog):
    both = specifications(spec, spec.claims["first"], catalog)[2]
    assert both.number("a.x", spec) == "a[commit_rank=0].x"
    assert both.number("b.y", spec) == "b[a.commit_rank=0].y"
    assert both.number("c[seed=1].z", spec) == "c[seed=1,k=8].z"


def test_under_the_specs_own_values_a_number_is_itself(spec, catalog):
    own = specifications(spec, spec.claims["first"], catalog)[1]
    for name in ("a.x", "b.y", "c[seed=1].z"):
        assert own.number(name, spec) == name


def test_claims_share_the_runs_of_equal_combinations(spec, catalog):
    found = specified_settings(spec, catalog)
    assert found["c"] == [(("c.k", 8),)]
    assert found["b"] == [(("a.commit_rank", 0),)]
    assert found["a"] == [
        (("a.commit_rank", 0),),
        (("a.normalise", False),),
        (("a.commit_rank", 0), ("a.normalise", False)),
    ]
