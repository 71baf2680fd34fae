"""The positive control: a behaviour that can be steered is found to be."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.evidence.builder import Evidence
from engine.families.refusal_direction import CONTROL_LAYERS, Params, control_settings, divider
from engine.families.refusal_direction.positive_control import (
    ControlSettings,
    _answer_streams,
    positive_control,
)
from engine.lab.planted_gate import gate_lab
from engine.models.generate import Completion
from engine.models.sites import Site
from engine.spec.sites import RESID_PRE

PARAMS = Params(screen_prompts=4)
SETTINGS = ControlSettings(
    layers=[1, 2, 3],
    coefficient=1.0,
    train_prompts=8,
    selected_on=4,
    answered=12,
    max_new_tokens=2,
    batch_size=8,
    seed=0,
)


def begins_with_i(text: str) -> bool:
    return text.split()[:1] == ["I"]


def controlled(ev: Evidence, *, gates: bool, settings: ControlSettings = SETTINGS, shows=begins_with_i):
    """The control on a planted model, in which an answer that begins with `I` stands for one in French."""
    lab = gate_lab(gates=gates, strength=100.0)
    assert lab.prompts is not None
    table = lab.prompts.table
    labels = table["label"].replace({"harmful": "french", "harmless": "plain"})
    return positive_control(
        ev,
        lab.model,
        replace(lab.prompts, table=table.assign(label=labels)),
        shows,
        divider(PARAMS),
        settings,
        lambda *_: None,
    )


@pytest.mark.parametrize("gates", [True, False])
def test_a_planted_behaviour_is_steered_where_its_direction_gates_it(gates):
    ev = Evidence("prompt")
    controlled(ev, gates=gates)
    found = ev.result().measurements
    assert found["language_baseline"].value == 1
    assert found["plain_language_baseline"].value == 0
    assert found["language_baseline"].n == 12
    assert found["language_n_french_train"].value == 8
    assert found["language_change_ablation"].control == "language_change_random_ablation"
    if not gates:
        # Ablation takes it away here too: with the words of the answer, of which the direction holds a part.
        assert found["plain_language_change_addition"].value == 0
        return
    assert found["plain_language_change_addition"].value == 1
    assert found["plain_language_change_random_addition"].value == 0
    assert found["language_change_ablation"].value == -1
    assert found["language_change_random_ablation"].value == 0
    # At one layer the next block writes it again.
    assert found["language_change_single_layer"].value == 0
    layers = ev.result().tables["language_layers"]
    assert layers["layer"].tolist() == [1, 2, 3]
    assert layers["selected"].tolist() == [True, False, False]
    assert layers["n"].tolist() == [4, 4, 4]


def test_where_answers_have_no_second_token_there_is_no_direction_and_no_finding():
    ev = Evidence("prompt")
    assert controlled(ev, gates=True, settings=replace(SETTINGS, max_new_tokens=1)) is None
    assert "language_baseline" not in ev.result().measurements


@pytest.mark.parametrize("in_french", [True, False])
def test_where_all_answers_are_in_one_language_there_is_no_direction(in_french):
    ev = Evidence("prompt")
    assert controlled(ev, gates=True, shows=lambda text: in_french) is None
    assert "language_baseline" not in ev.result().measurements


def test_where_few_answers_are_told_french_what_was_asked_for_decides():
    # One of eight is told so, which is too few for a mean.
    told = iter([True] + [False] * 100)
    ev = Evidence("prompt")
    found = controlled(ev, gates=True, shows=lambda text: begins_with_i(text) and next(told))
    assert found is not None
    assert ev.result().measurements["language_n_french_train"].value == 1


@pytest.mark.parametrize("n_layers", [1, 5, 12, 28, 30])
def test_the_control_looks_at_a_few_layers_that_the_recipe_considers(n_layers):
    params = Params(token_prompts=10, screen_prompts=7, positive_control_prompts=9, coefficient=2.0)
    told = control_settings(n_layers, params)
    assert 1 <= len(told.layers) <= CONTROL_LAYERS
    assert max(told.layers) < np.ceil(params.max_depth * n_layers)
    assert (told.train_prompts, told.selected_on, told.answered, told.coefficient) == (5, 7, 9, 2.0)


def test_streams_are_the_mean_over_the_positions_of_each_answer():
    model = gate_lab(gates=True).model
    prompts = [[2, 3, 4, 5], [2, 6, 4]]
    tokens = [(7, 8), (8, 7, 7)]
    answers = [Completion("", ids, (0.0,) * len(ids), "max_tokens") for ids in tokens]
    found = _answer_streams(model, prompts, answers, [1, 3])
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        ids = torch.tensor([[*prompt, *answer.token_ids]])
        for place, layer in enumerate((1, 3)):
            site = Site(layer, RESID_PRE)
            slow = model.forward(ids, read=[site]).activations[site][0, len(prompt) :].mean(0)
            assert torch.allclose(found[row, place], slow, atol=1e-5)
