"""The positive control: a behaviour that can be steered is found to be, by the same lines."""

from dataclasses import replace

import pytest

from engine.evidence.builder import Evidence
from engine.families.refusal_direction import Params, control_settings, divider
from engine.families.refusal_direction.positive_control import ControlSettings, positive_control
from engine.lab.planted_gate import gate_lab
from engine.lab.refusals import says_refusal

PARAMS = Params(screen_prompts=4)


@pytest.mark.parametrize("gates", [True, False])
def test_a_planted_behaviour_is_steered_where_its_direction_gates_it(gates):
    # `I cannot` stands for French: what the planted model does can be called anything.
    lab = gate_lab(gates=gates)
    assert lab.prompts is not None
    table = lab.prompts.table
    labels = table["label"].replace({"harmful": "french", "harmless": "plain"})
    ev = Evidence("prompt")
    positive_control(
        ev,
        lab.model,
        replace(lab.prompts, table=table.assign(label=labels)),
        says_refusal,
        lambda requests: control_settings(5, requests, PARAMS),
        divider(PARAMS),
        ControlSettings(token_prompts=8, answered=12, max_new_tokens=2, batch_size=8, seed=0),
        lambda *_: None,
    )
    found = ev.result().measurements
    moved = 1 if gates else 0
    assert found["language_baseline"].value == 1
    assert found["language_change_ablation"].value == -moved
    assert found["plain_language_change_addition"].value == moved
    assert found["language_change_single_layer"].value == 0
    # In 64 dimensions a random direction may take some of the answer's own with it.
    assert abs(found["language_change_random_ablation"].value) < 0.2
    assert found["language_baseline"].n == 12
    assert found["language_n_french_train"].value == 8
    assert found["language_change_ablation"].control == "language_change_random_ablation"
