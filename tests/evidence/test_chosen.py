"""The interval of a number about something chosen, by simulation and against the law of total variance."""

from typing import Any

import numpy as np
import pytest

from engine.errors import ResultError
from engine.evidence.bootstrap import measure
from engine.evidence.builder import Evidence
from engine.evidence.chosen import with_choices


def measured(values: np.ndarray) -> Any:
    return measure("f", values, unit="prompt", ids=[f"p{i}" for i in range(len(values))])


def test_its_variance_is_that_of_prompts_and_that_of_choices():
    rng = np.random.default_rng(0)
    prompts = rng.normal(size=60)
    shifts = rng.normal(scale=0.4, size=40)
    choices = [measured(prompts + shift) for shift in shifts]
    found: Any = with_choices(measured(prompts), choices)
    within = np.var(measured(prompts).replicates)
    freedom = len(shifts) - 1
    between = np.var(shifts, ddof=1) * freedom / (freedom - 2)  # of Student's t
    assert np.var(found.replicates) == pytest.approx(within + between, rel=0.06)
    assert found.value == pytest.approx(prompts.mean())
    assert "40 choices" in found.note


def test_choices_that_agree_leave_the_interval_as_it_was():
    prompts = np.random.default_rng(1).normal(size=50)
    plain = measured(prompts)
    found = with_choices(plain, [plain, plain, plain])
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high))


def test_five_choices_cover_as_often_as_they_say():
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(120):
        # The circuit chosen here and five that resamples choose, each off by the same spread.
        shift, *others = rng.normal(scale=0.5, size=6)
        prompts = rng.normal(scale=0.3, size=30)
        choices = [measured(prompts + other) for other in others]
        found: Any = with_choices(measured(prompts + shift), choices)
        hits += found.low <= 0 <= found.high
    assert hits / 120 >= 0.92


def test_both_populations_contain_the_choice_and_bounds_hold():
    rng = np.random.default_rng(3)
    groups = [f"r{i % 8}" for i in range(40)]
    ev = Evidence("prompt", [f"p{i}" for i in range(40)], groups=groups, group_unit="relation")
    values = rng.uniform(0.4, 0.9, size=40)
    plain: Any = ev.measured("f", values)
    choices = [ev.measured("f", values + shift) for shift in rng.normal(scale=0.3, size=20)]
    found: Any = with_choices(plain, choices, bounds=(0.0, 1.0))
    for name in ("replicates", "cluster_replicates"):
        assert np.std(getattr(found, name)) > np.std(getattr(plain, name))
        assert getattr(found, name).max() <= 1.0
    assert found.low < plain.low
    assert found.these_low < plain.these_low


def test_a_single_choice_is_refused_and_a_withheld_interval_stays_withheld():
    plain = measured(np.arange(20.0))
    with pytest.raises(ResultError, match="the choice cannot vary"):
        with_choices(plain, [plain])
    few = measured(np.arange(3.0))
    assert few.low is None
    assert with_choices(few, [few, few]).low is None
