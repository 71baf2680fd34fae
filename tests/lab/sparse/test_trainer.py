"""The trainer of every sparse dictionary: its schedule, its history, and how dictionaries start."""

import subprocess
import sys

import pytest
import torch

from engine.lab.sparse.gradients import Objective
from engine.lab.sparse.trainer import Adam, Recipe, Training, starting_weights
from engine.lab.sparse.widths import norms_by_source
from tests.bench.memory import tensor_peak

D, N = 12, 400
OBJECTIVE = Objective("batchtopk", 2, (D,), D // 2)


def rows(seed: int) -> torch.Tensor:
    return torch.randn(64, D, generator=torch.Generator().manual_seed(seed))


def taken(recipe: Recipe) -> Training:
    """All steps of a recipe on made-up rows."""
    training = Training.start(recipe, torch.zeros(D), N, seed=0)
    for seed in range(recipe.n_steps):
        training.advance(rows(seed))
    return training


def test_the_learning_rate_warms_up_stays_and_decays():
    recipe = Recipe(OBJECTIVE, lr=1.0, n_steps=100, dead_after_tokens=1)
    rates = [recipe.rate(n) for n in range(100)]
    assert rates[0] == pytest.approx(0.2) and rates[4:81] == pytest.approx([1.0] * 77)
    assert rates[90] == pytest.approx(0.5) and 0 < rates[99] < 0.1


def test_a_long_training_warms_up_over_a_thousand_steps():
    long = Recipe(OBJECTIVE, lr=1.0, n_steps=100_000, dead_after_tokens=1)
    assert [long.rate(n) for n in (499, 999, 4000)] == pytest.approx([0.5, 1.0, 1.0])
    # Up to 20,000 steps a twentieth of them is as long or shorter.
    assert Recipe(OBJECTIVE, lr=1.0, n_steps=20_000, dead_after_tokens=1).rate(499) == pytest.approx(0.5)


def test_the_history_has_the_first_the_last_and_the_steps_that_were_asked_for():
    recipe = Recipe(OBJECTIVE, 1e-2, n_steps=9, dead_after_tokens=10**6, noted_steps=frozenset({3, 6}))
    assert [row["step"] for row in taken(recipe).history] == [1, 3, 6, 9]


def test_the_threshold_is_a_running_mean_of_the_smallest_that_was_kept():
    still = taken(Recipe(OBJECTIVE, 1e-2, 5, dead_after_tokens=10**6, threshold_rate=0.0))
    latest = taken(Recipe(OBJECTIVE, 1e-2, 5, dead_after_tokens=10**6, threshold_rate=1.0))
    assert still.threshold == taken(Recipe(OBJECTIVE, 1e-2, 1, 10**6)).threshold
    assert latest.threshold != still.threshold


def test_auxiliary_latents_are_those_that_were_dead_before_the_step():
    recipe = Recipe(OBJECTIVE, 1e-2, n_steps=4, dead_after_tokens=128, noted_steps=frozenset({2, 3}))
    history = taken(recipe).history
    assert [row["aux_latents"] > 0 for row in history] == [False, False, True, True]
    assert history[2]["aux_latents"] == history[1]["dead"]


def test_rows_of_one_source_stay_at_norm_one_and_those_of_several_do_not():
    recipe = Recipe(OBJECTIVE, 1e-2, n_steps=3, dead_after_tokens=10**6)
    assert taken(recipe).weights.W_dec.norm(dim=1).sub(1).abs().max() < 1e-6
    free = Recipe(Objective("batchtopk", 2, (4, 8), 3), 1e-2, n_steps=3, dead_after_tokens=10**6)
    assert taken(free).weights.W_dec.norm(dim=1).sub(1).abs().max() > 1e-3


def test_no_source_begins_ahead():
    weights = starting_weights(4000, (4, 6, 8), torch.zeros(18), seed=0)
    assert weights.W_dec.norm(dim=1).sub(1).abs().max() < 1e-6
    squares = norms_by_source(weights.W_dec, (4, 6, 8)).square()
    assert squares.mean(dim=0).numpy() == pytest.approx([1 / 3] * 3, abs=0.02)


def test_adam_is_torchs_own_to_the_last_bit():
    generator = torch.Generator().manual_seed(0)
    ours = [torch.randn(shape, generator=generator) for shape in ((40, 12), (40,))]
    theirs = [weight.clone().requires_grad_() for weight in ours]
    adam = Adam.of(ours)
    reference = torch.optim.Adam(theirs, fused=True)
    for lr in (1e-2, 3e-3, 1e-2):
        gradients = [torch.randn(weight.shape, generator=generator) for weight in ours]
        adam.step(gradients, lr)
        reference.param_groups[0]["lr"] = lr
        for weight, gradient in zip(theirs, gradients, strict=True):
            weight.grad = gradient
        reference.step()
        assert all(map(torch.equal, ours, theirs))


TRAINS = """
import sys
import torch
from tests.lab.sparse.test_trainer import OBJECTIVE, Recipe, taken
taken(Recipe(OBJECTIVE, 1e-2, 2, dead_after_tokens=64))
print("torch._dynamo" in sys.modules)
"""


def test_training_does_not_load_torchs_compiler():
    """It takes 80 MB and a second, in every process that trains."""
    done = subprocess.run([sys.executable, "-c", TRAINS], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_steps_gradients_are_gone_before_the_next_ones_are_made():
    training = taken(Recipe(OBJECTIVE, 1e-2, 2, dead_after_tokens=10**6))
    one_step = tensor_peak(lambda: training.advance(rows(2)))
    two_steps = tensor_peak(lambda: [training.advance(rows(seed)) for seed in (3, 4)])
    # Counts per latent are new at each step; a gradient is wider than they are.
    assert two_steps - one_step < training.weights.W_dec.nbytes
