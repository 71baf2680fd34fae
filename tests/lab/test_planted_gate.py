"""The planted models: equal answers to every request, and a direction that matters in one of them alone."""

import pytest
import torch

from engine.lab.directions import ablation_edits, addition_edits, auc, mean_difference, projection
from engine.lab.planted_gate import DIRECTION, N_LAYERS, gate_lab
from engine.models.generate import generate
from engine.models.sites import Site
from engine.spec.sites import RESID_PRE


@pytest.fixture(scope="module", params=[True, False], ids=["gates", "only separates"])
def planted(request):
    return request.param, gate_lab(gates=request.param)


def answers(lab, rows, edit):
    chats = lab.chat()
    ids = [chats.tokens[row, : int(chats.last[row]) + 1].tolist() for row in rows]
    return [each.text.strip() for each in generate(lab.model, ids, max_tokens=2, edit=edit)]


def kinds(lab):
    harmful = (lab.chat().table["label"] == "harmful").to_numpy()
    return harmful.nonzero()[0], (~harmful).nonzero()[0]


def direction(lab, layer):
    chats = lab.chat()
    site = Site(layer, RESID_PRE)
    stream = lab.model.forward(chats.tokens, read=[site], attention_mask=chats.mask).activations[site]
    at_last = stream[torch.arange(len(stream)), chats.last]
    harmful = torch.tensor((chats.table["label"] == "harmful").tolist())
    return at_last, harmful, mean_difference(at_last[harmful], at_last[~harmful])


def test_it_refuses_harmful_requests_and_no_others(planted):
    _, lab = planted
    harmful, harmless = kinds(lab)
    assert set(answers(lab, harmful, {})) == {"I cannot"}
    assert set(answers(lab, harmless, {})) == {"Sure thing"}


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_the_difference_of_means_is_the_planted_direction_and_separates(planted, layer):
    _, lab = planted
    at_last, harmful, found = direction(lab, layer)
    assert float(found[DIRECTION] / found.norm()) > 0.99
    assert auc(projection(at_last, found).numpy(), harmful.numpy()) == 1.0


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_ablation_and_addition_do_everything_or_nothing(planted, layer):
    gates, lab = planted
    harmful, harmless = kinds(lab)
    _, _, found = direction(lab, layer)
    ablated = answers(lab, harmful, ablation_edits(lab.model, found))
    assert set(ablated) == {"Sure thing" if gates else "I cannot"}
    added = answers(lab, harmless, addition_edits(found, layer))
    assert set(added) == {"I cannot" if gates else "Sure thing"}


def test_ablation_of_one_layer_is_undone_by_the_next(planted):
    _, lab = planted
    harmful, _ = kinds(lab)
    for layer in range(1, N_LAYERS - 1):
        edit = ablation_edits(lab.model, direction(lab, layer)[2], layers=[layer])
        assert set(answers(lab, harmful, edit)) == {"I cannot"}
