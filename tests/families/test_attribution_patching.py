"""Attribution patching on known circuits: methods agree with exact patches, and find the edges."""

import numpy as np
import pytest

from engine.errors import DataError
from engine.families.attribution_patching import Params, calibrate, effects, paired, run
from engine.lab.circuits.edge_attribution import attribute_graph
from engine.lab.circuits.graph import Graph
from engine.lab.circuits.planted_circuit import INDUCTION, induction_circuit
from engine.lab.profiles import pearson
from engine.spec.family_params import AttributionMethod

METHODS: tuple[AttributionMethod, ...] = ("eap", "eap_ig_inputs", "eap_ig_activations", "relp")


@pytest.fixture(scope="module")
def found():
    lab = induction_circuit().lab
    params = Params(prompts_per_relation=4, methods=METHODS, steps=4)
    return run(lab, params).validated()


def test_every_kind_has_a_correlation_by_every_method_beside_chance(found):
    for kind in ("residual", "attention", "mlp", "heads", "edges"):
        for method in METHODS:
            if kind != "edges" and method == "eap_ig_activations":
                assert f"{kind}_{method}_correlation" not in found.measurements
                continue
            measured = found.measurements[f"{kind}_{method}_correlation"]
            assert measured.control == f"{kind}_{method}_chance"
            assert measured.unit == "prompt" and measured.n == 12
    for method in METHODS:
        assert found.measurements[f"edges_{method}_correlation"].value > 0.85
        assert abs(found.measurements[f"edges_{method}_chance"].value) < 0.4


def test_integrated_gradients_follow_attention_where_one_gradient_does_not(found):
    values = {method: found.measurements[f"edges_{method}_correlation"].value for method in METHODS}
    assert values["eap_ig_inputs"] > 0.99 > values["eap"]


def test_the_circuits_edges_are_the_highest(found):
    table = found.tables["top_edges"]
    assert set(table["edge"].head(len(INDUCTION))) == set(INDUCTION)
    assert (table["score"].head(len(INDUCTION)) > 0).all()
    assert set(METHODS[1:]) <= set(table.columns)
    assert found.measurements["n_edges"].value == found.arrays["scores_eap"].size


def test_what_is_low_is_marked(found):
    table = found.tables["agreement"].set_index(["kind", "method"])
    # MLPs of this model write nothing: nothing can be correlated with them.
    assert table.loc[("mlp", "eap"), "mark"] == "low: below 0.5"
    assert table.loc[("edges", "relp"), "mark"] == ""
    marks = sum(mark != "" for mark in table["mark"])
    assert found.measurements["low_correlations"].value == marks


def test_places_after_a_prompts_end_count_for_neither_side():
    estimate = np.array([[1.0, 2.0, np.nan], [3.0, 1.0, 2.0]])
    one, other = paired(estimate[:, None], 2 * estimate[:, None])
    assert one.shape == (2, 3) and np.isfinite(one).all()
    np.testing.assert_allclose(pearson(one, other), 1.0)
    np.testing.assert_allclose(effects(estimate[:, None], np.array([1.0, 1.0]))[1], [[2.0, 0.0, 1.0]])


def test_too_little_memory_is_refused_with_what_would_do():
    lab = induction_circuit().lab
    pairs = lab.known_facts(known_rank=0, both_sides=True).denoising
    with pytest.raises(DataError, match="does not fit the memory limit") as error:
        attribute_graph(lab.model, Graph.of(lab.model), pairs, memory_mb=0.01)
    assert "memory_mb of at least" in str(error.value.expected)


def test_fewer_exact_edges_than_tell_anything_are_refused():
    with pytest.raises(ValueError, match="greater than or equal to 500"):
        Params(exact_edges=100)


def test_the_calibrations_pass():
    assert all(calibration.passed for calibration in calibrate())
