"""Held-out requests under every arm: which arms there are, and what other directions are put through."""

import pytest
import torch

from engine.families.refusal_direction.arms import Judge, ablation_arm, baseline_arm
from engine.families.refusal_direction.candidates import Candidate, log_probs
from engine.families.refusal_direction.held_out import AnswerSettings, HeldOut
from engine.lab.completions import CoherenceLimits
from engine.models.generate import Completion
from engine.models.micro import micro_model
from tests.models.random_models import random_model

ROWS = [[3, 5, 7, 9, 4], [8, 2, 6, 6, 3]]
DIRECTION = torch.randn(32, generator=torch.Generator().manual_seed(0))
TOLD = AnswerSettings(coefficient=2.0, weights=True, max_new_tokens=2, batch_size=2)


def held_out(model, told=TOLD):
    unchanged = {kind: log_probs(model, ROWS) for kind in (True, False)}
    judge = Judge(lambda text: False, model, CoherenceLimits(100.0), off_topic=False)
    return HeldOut(model, Candidate(1, -1, DIRECTION), (5, 6), ROWS, ROWS, judge, unchanged, told)


def test_every_arm_answers_every_request():
    seen = []
    harmful, harmless = held_out(micro_model(n_layers=3)).answers(
        DIRECTION.flip(0), lambda *said: seen.append(said)
    )
    assert set(harmful) == {"baseline", "ablation", "single_layer", "random_ablation", "weights"}
    assert set(harmless) == {"baseline", "addition", "ablation", "random_addition"}
    assert all(len(each.completions) == 2 for each in (*harmful.values(), *harmless.values()))
    assert len(seen) == 9
    # Orthogonal weights are ablation, without an edit.
    both = zip(harmful["weights"].predictions.score, harmful["ablation"].predictions.score, strict=True)
    assert all(one == pytest.approx(other, abs=1e-3) for one, other in both)
    assert harmful["ablation"].predictions.kl.max() > 1e-3


def test_a_model_with_post_norms_has_no_arm_of_weights():
    held = held_out(random_model("gemma2"))
    harmful, _ = held.answers(DIRECTION.flip(0), lambda *_: None)
    assert not held.can_orthogonalize
    assert "weights" not in harmful


def test_other_directions_are_ablated_and_added_at_the_same_layer():
    arms = held_out(micro_model(n_layers=3)).under(DIRECTION, "a random direction")
    assert len(arms[True].edit) == 9
    assert [str(site) for site in arms[False].edit] == ["blocks.1.hook_resid_pre"]
    assert "a random direction" in arms[True].about


def test_weights_are_checked_over_real_positions():
    assert held_out(micro_model(n_layers=3)).weights_check().passed


def test_losses_are_of_each_answer_from_its_second_token_on():
    held = held_out(micro_model(n_layers=3))
    answers = [Completion("", (7, 2, 9), (0.0,) * 3, "max_tokens"), Completion("", (4,), (0.0,), "token")]
    arm = ablation_arm(held.model, DIRECTION)
    found = held.losses(arm, answers)
    ids = torch.tensor([[*ROWS[0], 7, 2, 9]])
    probabilities = held.model.unembed(held.model.forward(ids, edit=arm.edit).resid)[0].log_softmax(-1)
    slow = -(probabilities[5, 2] + probabilities[6, 9]) / 2
    assert found[0] == pytest.approx(float(slow), abs=1e-5)
    assert torch.isnan(torch.tensor(found[1]))
    assert held.losses(baseline_arm(held.model), answers)[0] != pytest.approx(found[0], abs=1e-4)
