"""Hand-written gradients against autograd, alone and over ten steps of training."""

import pytest
import torch

from engine.lab.sparse.coder import unit_rows
from engine.lab.sparse.gradients import Objective, Weights, step
from engine.lab.sparse.slow import slow_gradients, slow_loss
from engine.lab.sparse.trainer import Recipe, Training

D, LATENTS, K = 24, 160, 6


def weights(seed: int = 0, dtype=torch.float32) -> Weights:
    g = torch.Generator().manual_seed(seed)
    rows = [torch.randn(LATENTS, D, generator=g, dtype=dtype) for _ in range(2)]
    biases = [0.1 * torch.randn(n, generator=g, dtype=dtype) for n in (LATENTS, D)]
    return Weights(rows[0] / D**0.5, unit_rows(rows[1]), *biases)


def activations(n: int = 90, seed: int = 1, dtype=torch.float32) -> torch.Tensor:
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def dead_latents(n: int) -> torch.Tensor:
    return torch.arange(LATENTS) < n


def relative(seen: torch.Tensor, expected: torch.Tensor) -> float:
    return float((seen - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
@pytest.mark.parametrize("n_dead", [0, 5, 60], ids=["no dead", "all dead at work", "some dead at work"])
def test_gradients_and_loss_equal_autograd(architecture, n_dead):
    objective = Objective(architecture, K, (D,), D // 2)
    w, x, dead = weights(), activations(), dead_latents(n_dead)
    fast, slow = step(w, x, objective, dead), slow_gradients(w, x, objective, dead)
    for seen, expected in zip(fast.gradients.all(), slow.all(), strict=True):
        assert relative(seen, expected) <= 1e-5
    loss = fast.squared_error + objective.aux_coefficient * fast.aux_error
    assert float(loss) == pytest.approx(float(slow_loss(w, x, objective, dead)), rel=1e-5)


def test_a_batch_in_which_nothing_fires_has_gradients():
    w = weights()
    w.b_enc.fill_(-100.0)
    found = step(w, activations(), Objective("topk", K, (D,), 4))
    assert len(found.codes.values) == 0
    assert not found.gradients.W_enc.any() and not found.gradients.W_dec.any()
    assert found.gradients.b_dec.abs().min() > 0


@pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
def test_ten_steps_equal_ten_of_autograd(architecture):
    recipe = Recipe(Objective(architecture, K, (D,), D // 2), lr=1e-3, n_steps=10, dead_after_tokens=90)
    fast = Training.start(recipe, torch.zeros(D, dtype=torch.float64), LATENTS, seed=3)
    slow = Weights(*(w.detach().clone() for w in fast.weights.all()))
    adam = torch.optim.Adam(slow.all(), fused=False, foreach=False)
    dead_seen = 0
    for n in range(10):
        x = activations(seed=n, dtype=torch.float64)
        x[:, : D // 2] *= 3
        dead = fast.dead
        dead_seen += 0 if dead is None else int(dead.sum())
        gradients = slow_gradients(slow, x, recipe.objective, dead)
        for weight, gradient in zip(slow.all(), gradients.all(), strict=True):
            weight.grad = gradient
        adam.param_groups[0]["lr"] = recipe.rate(n)
        with torch.no_grad():
            adam.step()
            slow.W_dec.copy_(unit_rows(slow.W_dec))
        fast.advance(x)
    for seen, expected in zip(fast.weights.all(), slow.all(), strict=True):
        assert relative(seen, expected) <= 1e-5
    assert dead_seen > 0, "AuxK was never at work"
    assert fast.weights.W_dec.norm(dim=1).sub(1).abs().max() < 1e-6
