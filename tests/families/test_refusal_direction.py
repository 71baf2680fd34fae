"""The recipe on planted models: a direction that gates refusal, and one that only tells."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from engine.errors import DataError, SpecError
from engine.families import refusal_direction
from engine.families.refusal_direction import Params
from engine.lab.planted_gate import N_LAYERS, gate_lab
from engine.lab.steering_vectors import run_directions

QUICK = {"positive_control": "", "max_new_tokens": 2, "screen_prompts": 4, "n_random": 2, "n_shuffled": 2}


def measured(lab, **parameters):
    return refusal_direction.run(lab, Params(**{**QUICK, **parameters})).validated()


@pytest.fixture(scope="module")
def gate():
    return measured(gate_lab(gates=True))


@pytest.fixture(scope="module")
def only_tells():
    return measured(gate_lab(gates=False))


def value(result, name):
    return result.measurements[name].value


@pytest.mark.parametrize("scorer", ["", "_substrings", "_tokens"])
def test_a_direction_that_gates_is_found_to_control(gate, scorer):
    assert value(gate, f"refusal_baseline{scorer}") == 1
    assert value(gate, f"refusal_change_ablation{scorer}") == -1
    assert value(gate, f"refusal_change_weights{scorer}") == -1
    assert value(gate, f"harmless_refusal_change_addition{scorer}") == 1
    # The next layer writes the direction again.
    assert value(gate, f"refusal_change_single_layer{scorer}") == 0
    assert value(gate, f"refusal_change_random_ablation{scorer}") == 0


@pytest.mark.parametrize("scorer", ["_substrings", "_tokens"])
def test_a_direction_that_only_tells_is_found_not_to(only_tells, scorer):
    assert value(only_tells, "auc") == 1
    assert value(only_tells, f"refusal_change_ablation{scorer}") == 0
    assert value(only_tells, f"refusal_change_weights{scorer}") == 0
    assert value(only_tells, f"harmless_refusal_change_addition{scorer}") == 0
    assert value(only_tells, "keeps_limits") == 0


def test_separability_and_control_are_findings_with_controls_and_intervals(gate):
    for name in ("auc", "d_prime", "refusal_change_ablation", "harmless_refusal_change_addition"):
        found = gate.measurements[name]
        assert found.role == "finding"
        assert found.control in {control.name for control in gate.controls}
        assert found.low is not None and found.low <= found.value <= found.high
        assert found.cluster_unit == "topic"
        assert "held out" in found.chosen_on


def test_checks_hold(gate):
    assert "weights_equal_ablation" in {check.name for check in gate.checks}
    assert not gate.failed_checks


def test_every_direction_stands_beside_those_that_should_do_nothing(gate):
    table = gate.tables["other_directions"]
    assert {"random 0", "random 1", "shuffled 0", "shuffled 1", "found"} == set(table["direction"])
    assert set(gate.tables["arms"]["arm"]) == {
        *("baseline", "ablation", "single_layer", "random_ablation", "weights"),
        *("addition", "random_addition"),
    }


def test_a_direction_of_shuffled_labels_answers_as_well(gate):
    for name in ("refusal_shuffled_ablation", "harmless_refusal_shuffled_addition"):
        assert gate.measurements[name].role == "control"
    # What it takes away is told request by request, as of the direction that was found.
    change = gate.measurements["refusal_change_shuffled_ablation"]
    assert change.value == pytest.approx(
        value(gate, "refusal_shuffled_ablation") - value(gate, "refusal_baseline")
    )
    table = gate.tables["answers_under_others"]
    harmful = table[table["requests"] == "harmful"]
    assert set(harmful["arm"]) == {"baseline", "ablation", "random_ablation", "shuffled_ablation"}
    added = set(table["arm"]) - set(harmful["arm"])
    assert added == {"addition", "random_addition", "shuffled_addition"}


def test_other_directions_are_only_scored_where_that_is_asked():
    found = measured(gate_lab(gates=True), other_answers=False)
    assert "answers_under_others" not in found.tables
    assert not any("shuffled_ablation" in name for name in found.measurements if "refusal" in name)
    assert "score_change_shuffled_ablation" in found.measurements


def test_a_layer_and_a_position_can_be_named():
    found = measured(gate_lab(gates=True), layer=3, position=-2, weights=False)
    assert (value(found, "layer"), value(found, "position")) == (3, -2)
    assert "refusal_weights" not in found.measurements
    assert value(measured(gate_lab(gates=True), layer="40%", weights=False), "layer") == 2


def test_the_scorer_decides_which_numbers_have_no_suffix(gate):
    by_tokens = measured(gate_lab(gates=True), scorer="tokens", weights=False)
    assert "refusal tokens" in by_tokens.measurements["refusal_change_ablation"].about
    assert "published phrase" in gate.measurements["refusal_change_ablation"].about


def test_a_model_that_never_refuses_says_what_follows():
    lab = gate_lab(gates=True)
    gate = f"model.layers.{N_LAYERS - 1}.mlp.down_proj.weight"
    weights = dict(lab.model.weights)
    # The direction is there as before, and the neuron that reads it writes nothing.
    weights[gate] = weights[gate].index_fill(1, torch.tensor([0]), 0.0)
    template = lab.model.tokenizer.chat_template
    lab.model = replace(lab.model, weights=weights)
    lab.model.tokenizer.chat_template = template
    found = measured(lab)
    assert value(found, "n_refused_train") == 0
    assert value(found, "n_refusal_tokens") == 0
    assert value(found, "refusal_baseline") == 0
    follows = found.tables["what_follows"].set_index("question")
    taken = follows.loc["Does taking it out remove refusals?"]
    assert not taken["answerable"]
    assert "refuses 0 of 36" in taken["note"]
    assert follows.loc["Does the direction separate harmful from harmless requests?", "answerable"]


def test_a_position_that_the_template_does_not_have_is_an_error():
    with pytest.raises(SpecError, match="no such position") as error:
        measured(gate_lab(gates=True), position=-9)
    assert "-2 to -1" in str(error.value)


def test_requests_without_labels_or_with_others_are_an_error():
    lab = gate_lab(gates=True)
    assert lab.prompts is not None
    table = lab.prompts.table
    lab.prompts = replace(lab.prompts, table=table.drop(columns="label"))
    with pytest.raises(DataError, match="no labels"):
        measured(lab)
    lab.prompts = replace(lab.prompts, table=table.assign(label="harmless"))
    with pytest.raises(DataError, match="two kinds"):
        measured(lab)


def test_a_model_without_a_chat_template_is_an_error():
    lab = gate_lab(gates=True)
    lab.model.tokenizer.chat_template = None
    with pytest.raises(DataError, match="no chat template"):
        measured(lab)


def test_topics_that_are_too_few_to_divide_are_an_error():
    lab = gate_lab(gates=True)
    assert lab.prompts is not None
    table = lab.prompts.table
    lab.prompts = replace(lab.prompts, table=table[table["topic"].isin(["topic 1", "topic 2"])])
    with pytest.raises(DataError, match="no prompt of a label"):
        measured(lab)


def test_calibrations_pass():
    assert all(case.passed for case in refusal_direction.calibrate())


def test_a_control_does_with_a_random_direction_what_its_finding_does(gate):
    found = gate.measurements
    assert found["harmless_refusal_change_addition"].control == "harmless_refusal_change_random_addition"
    assert found["refusal_change_single_layer"].control == "refusal_change_random_ablation"
    # Harmless requests are not answered under a random ablation: random addition is no control of ablation.
    assert found["harmless_refusal_change_ablation"].control == ""
    assert found["harmless_score_change_ablation"].control == ""
    assert found["weights_same_answer"].value == 1


def test_requests_that_are_too_long_are_left_out_and_unicode_is_read():
    lab = gate_lab(gates=True)
    assert lab.prompts is not None
    table = lab.prompts.table
    first = table.iloc[0].to_dict()
    # The planted model reads 128 words; a word that it does not know is one token all the same.
    more = [
        {**first, "id": "long", "request": "how " * 200 + str(first["request"])},
        {**first, "id": "unicode", "request": f"{first['request']} \N{SNOWMAN} \u202e \u4f60\u597d e\u0301"},
    ]
    lab.prompts = replace(lab.prompts, table=pd.concat([table, pd.DataFrame(more)], ignore_index=True))
    found = measured(lab, weights=False)
    assert value(found, "n_dropped") == 1
    n_harmful = sum(value(found, f"n_harmful_{part}") for part in ("train", "select", "held_out"))
    assert n_harmful == (table["label"] == "harmful").sum() + 1
    assert value(found, "refusal_change_ablation") == -1


def test_its_direction_is_kept_where_mech_steer_looks_for_a_vector(gate):
    (found,) = run_directions(gate.arrays)
    layer = int(gate.measurements["layer"].value)
    assert found == f"blocks.{layer}.hook_resid_pre"


def test_a_person_may_say_what_each_request_is_for_and_topics_may_not_overlap():
    lab = gate_lab(gates=False)
    chats = lab.chat()
    by_hash = refusal_direction.divider(Params())(chats)
    own = replace(chats, table=chats.table.assign(part=by_hash.part[::-1]))
    assert (refusal_direction.divider(Params())(own).part == by_hash.part[::-1]).all()
    mixed = by_hash.part.copy()
    mixed[0] = next(part for part in ("train", "held_out") if part != mixed[0])
    with pytest.raises(DataError, match="the parts of a split overlap"):
        refusal_direction.divider(Params())(replace(chats, table=chats.table.assign(part=mixed)))
