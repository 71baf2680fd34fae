"""Causal scrubbing as a family, on a model in which two heads in a row carry each answer."""

from typing import Any

import pytest
from pydantic import ValidationError

from engine.errors import DataError
from engine.families.causal_scrubbing import Params, run, with_openings
from engine.lab.circuits.planted_chain import planted_chain_lab

CHAIN = {"embedding": ["subject"], "L0H1": ["subject"], "L2H3": ["answer"]}


def measured(**changed: Any):
    given = {"hypothesis": CHAIN, "prompts_per_relation": 4, "random_hypotheses": 2, "draws": 2} | changed
    return run(with_openings(planted_chain_lab()), Params.model_validate(given)).validated()


@pytest.fixture(scope="module")
def found():
    return measured()


def test_the_planted_chain_recovers_all_and_random_hypotheses_little(found):
    numbers = found.measurements
    for of in ("metric", "loss"):
        assert numbers[f"{of}_recovered"].value == pytest.approx(1, abs=1e-4)
        assert numbers[f"{of}_recovered"].control == f"random_{of}_recovered"
        assert numbers[f"random_{of}_recovered"].value < 0.5
        assert numbers[f"full_{of}_recovered"].value == pytest.approx(1, abs=1e-6)
        assert abs(numbers[f"empty_{of}_recovered"].value) < 0.3
    assert numbers["full_logit_diff"].value > 0 > numbers["empty_logit_diff"].value
    assert not found.failed_checks


def test_it_says_how_much_is_claimed_and_how_much_was_resampled(found):
    numbers = found.measurements
    assert numbers["nodes"].value == 3
    # Four prompts of each subject at most, one of which is the prompt itself.
    assert 0.4 < numbers["resampled"].value < 0.95
    assert measured(hypothesis={"L0H1": ["id"]}).measurements["resampled"].value == 0


def test_every_node_of_the_chain_adds_all_of_it(found):
    nodes = found.tables["nodes"].set_index("node")
    # Without the first head the second reads a prompt of its own, which is now and then of the same subject.
    assert nodes.loc["L0H1", "adds"] == pytest.approx(1, abs=0.3)
    assert nodes.loc["L2H3", "adds"] == pytest.approx(1, abs=1e-4)
    assert set(found.figures) == {"hypotheses", "nodes"}


def test_a_wrong_column_recovers_little():
    wrong = measured(hypothesis={node: ["opening"] for node in CHAIN})
    assert wrong.measurements["metric_recovered"].value < 0.3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hypothesis": {"L7H1": ["subject"]}}, "no node 'L7H1'"),
        ({"hypothesis": {"L2H3": ["subjects"]}}, "nearest: subject"),
        ({"edges": ["L0H1 -> L2H2.v"]}, "does not name"),
    ],
)
def test_a_hypothesis_of_what_is_not_there_is_refused(changed, message):
    with pytest.raises(DataError, match=message):
        measured(**changed)


@pytest.mark.parametrize("hypothesis", [{}, {"L0H1": []}, {"L0H1": "subject"}])
def test_a_hypothesis_that_says_nothing_is_refused_before_a_model_is_loaded(hypothesis):
    with pytest.raises(ValidationError):
        Params.model_validate({"hypothesis": hypothesis})
