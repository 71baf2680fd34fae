"""Separability: an AUC of 1 has an interval all the same, which is never narrower than it may be."""

import numpy as np

from engine.evidence.builder import Evidence
from engine.families.refusal_direction.separability import bounded
from engine.lab.directions import auc_samples

POSITIVE = np.arange(40) < 20
GROUPS = np.array([f"topic {i % 10}" for i in range(40)])


def measured(scores):
    ev = Evidence("prompt", np.arange(40), groups=GROUPS, group_unit="topic", chosen_on="train: ...")
    over, values = bounded(ev, auc_samples(scores, POSITIVE), POSITIVE)
    return over.measured("auc", values, bounds=(0.0, 1.0))


def test_requests_that_are_all_told_apart_have_an_interval_below_one():
    found = measured(np.where(POSITIVE, 2.0, 0.0) + np.linspace(0, 1, 40))
    assert (found.value, found.n) == (1.0, 20)
    assert found.low is not None and 0.3 < found.low < 1
    assert found.chosen_on == "train: ..."


def test_any_other_auc_is_over_all_requests():
    draw = np.random.default_rng(0)
    found = measured(draw.normal(size=40) + POSITIVE)
    assert found.n == 40
    assert found.low is not None and found.low < found.value < 1
