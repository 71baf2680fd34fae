"""ACDC as a family, on a model in which two heads in a row carry each answer."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from engine.errors import DataError
from engine.families.acdc import Params, roc_area, run
from engine.lab.circuits.graph import Graph
from engine.lab.circuits.planted_chain import EDGES, planted_chain_lab

SMALL: dict[str, Any] = {"prompts_per_relation": 2, "threshold": 0.05, "further_thresholds": [0.3]}


def small(**changed: Any) -> Params:
    return Params.model_validate(SMALL | changed)


@pytest.fixture(scope="module")
def found():
    return run(planted_chain_lab(), small()).validated()


def test_the_planted_edges_are_the_circuit_and_random_ones_are_not_faithful(found):
    assert set(found.tables["edges"]["edge"]) == set(EDGES)
    numbers = found.measurements
    assert numbers["circuit_edges"].value == 3
    assert numbers["faithfulness"].value == pytest.approx(1, abs=1e-4)
    assert numbers["plain_ratio"].value == pytest.approx(1, abs=1e-4)
    assert numbers["faithfulness"].control == "random_faithfulness"
    assert numbers["random_faithfulness"].value < 0.2
    assert not found.failed_checks


def test_every_choice_finds_the_same_edges_and_random_circuits_share_few(found):
    numbers = found.measurements
    assert (numbers["edge_overlap"].value, numbers["edge_overlap"].n) == (1, 5)
    assert numbers["edge_overlap"].unit == "choice"
    assert numbers["random_edge_overlap"].value < 0.6
    assert numbers["circuit_edges_by_choice"].value == 3
    assert found.tables["edges"]["chosen"].tolist() == [1, 1, 1]


def test_what_is_chosen_is_measured_on_other_clusters(found):
    faithfulness = found.measurements["faithfulness"]
    assert faithfulness.chosen_on
    assert faithfulness.n < found.measurements["prompts_used"].value
    assert found.tables["sizes"]["threshold"].tolist() == [0.05, 0.3]


@pytest.mark.parametrize(
    "choice",
    [
        {"direction": "denoising"},
        {"evaluated": "complement"},
        {"metric": "kl"},
        {"ablation": "zero"},
        {"start_share": 0.1},
        {"positions": "last"},
    ],
    ids=str,
)
def test_the_planted_circuit_is_faithful_under_every_choice(choice):
    numbers = run(planted_chain_lab(), small(**choice)).validated().measurements
    # With zeros, what is left of the prompts' own tokens counts as well.
    assert numbers["faithfulness"].value == pytest.approx(1, abs=0.05)
    with_ratio = "metric" not in choice and "evaluated" not in choice
    assert ("plain_ratio" in numbers) == with_ratio


def test_denoising_without_a_corrupted_run_is_refused_with_the_spec():
    with pytest.raises(ValidationError, match="needs ablation: corrupted"):
        Params(direction="denoising", ablation="zero")


def test_a_threshold_that_keeps_nothing_is_refused():
    with pytest.raises(DataError, match="keeps no path") as caught:
        run(planted_chain_lab(), small(threshold=5.0))
    assert caught.value.hint == "a smaller threshold"


def test_memory_is_judged_before_the_sweep():
    with pytest.raises(DataError, match="does not fit the memory limit"):
        run(planted_chain_lab(), small(memory_mb=0.01))


def test_the_area_under_a_roc_counts_ties_as_half():
    planted = np.array([True, False, False, True])
    assert roc_area(np.array([2.0, 1.0, 0.0, 3.0]), planted) == 1
    assert roc_area(np.zeros(4), planted) == 0.5
    assert roc_area(np.array([0.0, 1.0, 1.0, 2.0]), planted) == 0.5


def test_grouped_keys_may_be_swept_by_head():
    graph = Graph.of(planted_chain_lab().model, ungrouped=True)
    assert graph.n_edges == Graph.of(planted_chain_lab().model).n_edges  # here no head shares keys
