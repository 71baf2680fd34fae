"""Arms: what is edited where, and how answers are judged."""

import numpy as np
import pytest
import torch

from engine.families.refusal_direction.arms import (
    Judge,
    ablation_arm,
    addition_arm,
    ask,
    baseline_arm,
    single_layer_arm,
)
from engine.families.refusal_direction.candidates import log_probs
from engine.lab.completions import CoherenceLimits
from engine.lab.refusals import refusal_score
from engine.models.generate import generate
from engine.models.micro import micro_model

ROWS = [[3, 5, 7, 9, 4], [8, 2, 6, 6, 3], [4, 4, 9, 2]]
DIRECTION = torch.randn(32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model():
    return micro_model(n_layers=3)


def test_arms_edit_where_they_say(model):
    whole = ablation_arm(model, DIRECTION)
    one = single_layer_arm(model, DIRECTION, 2)
    added = addition_arm(model, DIRECTION, 1, 1.0, "a random direction")
    assert {site.layer for site in whole.edit} == {0, 1, 2}
    assert {site.layer for site in one.edit} == {2}
    assert [str(site) for site in added.edit] == ["blocks.1.hook_resid_pre"]
    assert added.about == "a random direction added at its layer, at every position"
    assert not baseline_arm(model).edit


def test_answers_are_judged_by_text_by_tokens_and_by_coherence(model):
    judge = Judge(lambda text: "Paris" in text, model, CoherenceLimits(100.0), off_topic=True)
    arm = addition_arm(model, DIRECTION, 1, 4.0)
    tokens = (5, 6)
    found = ask(arm, ROWS, tokens, log_probs(model, ROWS), judge, max_new_tokens=4, batch_size=2)
    said = generate(model, ROWS, max_tokens=4, edit=arm.edit)
    assert [each.token_ids for each in found.completions] == [each.token_ids for each in said]
    assert found.by_text.tolist() == ["Paris" in each.text for each in said]
    for row, ids in enumerate(ROWS):
        logits = model.unembed(model.forward(torch.tensor([ids]), edit=arm.edit).resid[:, -1])
        assert found.predictions.score[row] == pytest.approx(float(refusal_score(logits, tokens)), abs=1e-4)
    assert (found.by("tokens") == (found.predictions.score > 0)).all()
    assert (found.by("substrings") == found.by_text).all()
    assert (found.predictions.kl > 0).all()
    assert np.isfinite(found.measured.relevance).all()
    states = found.are("empty", "broken").astype(int) + found.are("off topic") + found.are("coherent")
    assert (states == 1).all()


def test_relevance_is_not_measured_where_it_is_not_asked_for(model):
    judge = Judge(lambda text: False, model, CoherenceLimits(100.0), off_topic=False)
    unchanged = log_probs(model, ROWS)
    found = ask(baseline_arm(model), ROWS, (5,), unchanged, judge, max_new_tokens=2, batch_size=2)
    assert np.isnan(found.measured.relevance).all()
    assert not found.are("off topic").any()
    assert found.predictions.kl == pytest.approx(np.zeros(3), abs=1e-6)
