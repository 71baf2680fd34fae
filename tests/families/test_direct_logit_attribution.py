"""Attribution on a model in which one head writes the whole answer."""

import pytest

from engine.families.direct_logit_attribution import Params, run
from engine.lab.planted import HEAD, LAYER, planted_lab


def test_the_planted_head_writes_it_all(attribution):
    found = attribution.measurements
    assert (found["top_head_layer"].value, found["top_head_index"].value) == (LAYER, HEAD)
    assert found["head_share"].value == pytest.approx(1.0)
    assert found["mlp_share"].value == pytest.approx(0.0)
    assert found["parts_for_80_percent"].value == 1
    strongest = attribution.tables["strongest"].iloc[0]
    assert strongest["part"] == f"L{LAYER}H{HEAD}"
    assert strongest["contribution"] == pytest.approx(found["logit_diff"].value)


def test_it_writes_nothing_towards_another_answer(attribution):
    found = attribution.measurements
    assert found["top_head_contribution"].control == "top_head_other_answer"
    assert found["top_head_other_answer"].value == pytest.approx(0.0, abs=1e-6)
    assert found["random_part_contribution"].value < found["top_head_contribution"].value


def test_parts_add_up_to_the_logit_difference(attribution):
    assert not attribution.failed_checks
    total = attribution.arrays["contribution"].sum(axis=1)
    assert total == pytest.approx(attribution.tables["per_prompt"]["logit_diff"].to_numpy(), rel=1e-5)


def test_another_seed_draws_other_random_parts(attribution):
    other = run(planted_lab(), Params(seed=1)).measurements["random_part_contribution"]
    assert (other.samples != attribution.measurements["random_part_contribution"].samples).any()
