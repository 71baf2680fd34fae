"""Faithfulness by size, its areas and its stability, on a model in which three edges carry each answer."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.integrate import trapezoid

from engine.families.circuit_faithfulness import Params, run
from engine.lab.circuits.graph import Graph
from engine.lab.circuits.planted_chain import EDGES, planted_chain_lab, planted_edges

SMALL: dict[str, Any] = {"prompts_per_relation": 2, "fraction": 0.02, "tested_edges": 3, "random_circuits": 4}


def small(**changed: Any) -> Params:
    return Params.model_validate(SMALL | changed)


@pytest.fixture(scope="module")
def found():
    return run(planted_chain_lab(), small(method="eap")).validated()


def test_the_planted_edges_lead_the_curve_and_random_ones_do_not(found):
    numbers = found.measurements
    assert set(EDGES) <= set(found.tables["edges"]["edge"])
    assert numbers["faithfulness"].value == pytest.approx(1, abs=1e-2)
    assert numbers["random_faithfulness"].value < 0.2
    assert numbers["size_80"].value <= 5 < numbers["random_size_80"].value
    assert numbers["size_80"].value <= numbers["size_95"].value


def test_the_areas_are_those_of_the_curve_on_the_page(found):
    curve = found.tables["curve"]
    own = curve[curve["circuits"] == "circuit"]
    area = trapezoid(own["faithfulness"], own["fraction"])
    assert found.measurements["cpr"].value == pytest.approx(area, abs=1e-6)
    # Signed and absolute rankings agree here: no edge of the planted model lowers the answer.
    distance = trapezoid(np.abs(1 - own["faithfulness"]), own["fraction"])
    assert found.measurements["cmd"].value == pytest.approx(distance, abs=1e-3)
    assert found.measurements["cmd"].control == "random_cmd"


def test_every_finding_on_a_circuit_is_of_other_clusters_than_chose_it(found):
    for name in ("cpr", "cmd", "size_80", "faithfulness", "plain_ratio"):
        assert found.measurements[name].chosen_on, name
        assert found.measurements[name].n == 8, name


def test_choices_and_single_clusters_share_the_planted_edges(found):
    numbers = found.measurements
    assert numbers["edge_overlap"].value > 0.5 > numbers["random_edge_overlap"].value
    assert (numbers["edge_overlap"].n, numbers["cluster_edge_overlap"].n) == (20, 4)
    assert -1 <= numbers["cluster_score_correlation"].value <= 1


def test_all_five_tests_have_a_p(found):
    tests = found.tables["tests"]
    assert tests["test"].tolist() == [
        "equivalence",
        "independence",
        "minimality",
        "sufficiency",
        "partial necessity",
    ]
    assert tests["p"].between(0, 1).all()


@pytest.mark.parametrize(
    "choice",
    [
        {"method": "acdc", "choices": 5, "metric": "kl"},
        {
            "method": "relp",
            "granularity": "nodes",
            "fraction": 0.3,
            "ablation": "mean",
            "evaluated": "complement",
        },
        {"method": "eap_ig_inputs", "direction": "denoising", "positions": "last"},
    ],
    ids=str,
)
def test_the_planted_circuit_is_faithful_under_every_choice(choice):
    found = run(planted_chain_lab(), small(**choice)).validated()
    assert found.measurements["faithfulness"].value == pytest.approx(1, abs=0.05)
    graph = Graph.of(planted_chain_lab().model)
    assert found.arrays["circuit"][planted_edges(graph)].all()
    assert ("faithfulness_by_reference" in found.measurements) == (choice.get("ablation") == "mean")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"choices": 10}, "choices: 10 is too few"),
        ({"method": "acdc", "granularity": "nodes"}, "acdc scores edges"),
        ({"direction": "denoising", "ablation": "mean"}, "needs ablation: corrupted"),
        ({"choices": 3, "method": "acdc"}, "greater than or equal to 5"),
    ],
)
def test_parameters_that_do_not_fit_together_are_refused_with_the_spec(wrong, said):
    with pytest.raises(ValidationError, match=said):
        Params.model_validate(wrong)
