"""The crosscoder: gradients against autograd, what it learns of planted sources, and what it refuses."""

from dataclasses import replace

import pytest
import torch

from engine.errors import DataError
from engine.families.crosscoder.planted_sources import planted_sources
from engine.lab.sparse.architectures import batchtopk
from engine.lab.sparse.crosscoder import Crosscoder, start, train
from engine.lab.sparse.gradients import AUX_COEFFICIENT, Objective, Weights, step
from engine.lab.sparse.widths import by_source

WIDTHS, N, K = (4, 6, 8), 20, 4
D = 6  # their mean


@pytest.fixture
def rows() -> torch.Tensor:
    return torch.randn(50, sum(WIDTHS), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def coder(rows):
    made = start(rows, WIDTHS, N, K, seed=1)
    generator = torch.Generator().manual_seed(2)
    lengths = 0.5 + torch.rand(N, 1, generator=generator)
    noise = 0.1 * torch.randn(N, generator=generator)
    return replace(made, dec=made.dec * lengths, b_enc=noise, b_dec=made.b_dec + 0.1)


def weights_of(coder: Crosscoder) -> Weights:
    return Weights(coder.enc, coder.dec, coder.b_enc, coder.b_dec)


def slow_loss(coder, x, dead, k_aux, weights):
    """The dense loss, for autograd."""
    enc, b_enc, dec, b_dec = weights
    before = x @ enc.T + b_enc
    norms = sum(part.norm(dim=1) for part in dec.detach().split(WIDTHS, dim=1))
    weighted = before.detach().relu() * norms
    smallest = weighted.flatten().sort(descending=True).values[len(x) * coder.k - 1]
    codes = before.relu() * (weighted >= smallest)
    rebuilt = codes @ dec + b_dec
    loss = (rebuilt - x).square().sum() / len(x)
    if dead.any():
        near = before[:, dead].relu()
        if k_aux < int(dead.sum()):
            near = near * (near >= near.topk(k_aux, dim=1).values[:, -1:])
        left_over = (x - rebuilt).detach()
        loss = loss + AUX_COEFFICIENT * (near @ dec[dead] - left_over).square().sum() / len(x)
    return loss


@pytest.mark.parametrize("n_dead", [0, 2, 7])
def test_gradients_equal_autograd(coder, rows, n_dead):
    x, dead = coder.scaled(rows), torch.arange(N) < n_dead
    weights = [w.clone().requires_grad_() for w in (coder.enc, coder.b_enc, coder.dec, coder.b_dec)]
    slow_loss(coder, x, dead, 3, weights).backward()
    found = step(weights_of(coder), x, Objective("batchtopk", K, WIDTHS, k_aux=3), dead)
    assert len(found.codes.rows) <= len(rows) * K
    gradients = [getattr(found.gradients, name) for name in ("W_enc", "b_enc", "W_dec", "b_dec")]
    for weight, gradient in zip(weights, gradients, strict=True):
        assert weight.grad is not None
        assert (gradient - weight.grad).abs().max() < 1e-5
    plain = slow_loss(coder, x, torch.zeros(N, dtype=torch.bool), 3, weights)
    assert float(found.squared_error) == pytest.approx(plain.item(), rel=1e-5)


def test_what_is_kept_is_largest_by_activation_times_norm(coder, rows):
    before = torch.addmm(coder.b_enc, coder.scaled(rows), coder.enc.T)
    kept, smallest = batchtopk.select(before, K, coder.norms.sum(dim=1))
    weighted = before.relu() * coder.norms.sum(dim=1)
    chosen = torch.zeros_like(before, dtype=torch.bool)
    chosen[kept.rows, kept.latents] = True
    assert weighted[chosen].min() >= weighted[~chosen].max()
    assert weighted[chosen].min().item() == pytest.approx(smallest)
    assert chosen.sum() <= len(rows) * K


def test_scaling_is_undone(coder, rows):
    squares = by_source(coder.scaled(rows).square(), WIDTHS)
    assert squares.mean(dim=0).numpy() == pytest.approx([D] * len(WIDTHS), rel=1e-4)
    exact = replace(coder, b_dec=torch.zeros_like(coder.b_dec), dec=torch.eye(N, sum(WIDTHS)))
    codes = torch.cat([coder.scaled(rows), torch.zeros(len(rows), N - sum(WIDTHS))], dim=1)
    assert exact.decode(codes) == pytest.approx(rows.numpy(), abs=1e-5)


def test_the_threshold_keeps_about_k_a_row():
    sources = planted_sources(16, 4, widths=(24, 24))
    batches = (sources.draw(256, seed) for seed in range(300))
    trained = train(batches, (24, 24), 32, 2, n_steps=300, lr=3e-3)
    l0 = (trained.coder.encode(sources.draw(2000, 999)) > 0).sum(dim=1).float().mean()
    assert 1 < l0 < 3
    assert trained.history["loss"].iloc[-1] < 0.5 * trained.history["loss"].iloc[0]


def test_the_same_seed_trains_the_same_crosscoder(rows):
    one, other, third = (
        train([rows] * 5, WIDTHS, N, K, n_steps=5, seed=seed).coder.dec for seed in (3, 3, 4)
    )
    assert torch.equal(one, other)
    assert not torch.equal(one, third)


def test_dead_latents_learn_from_what_is_left_over(rows):
    plain = train([rows] * 40, WIDTHS, 64, 1, n_steps=40, dead_after_tokens=10**9)
    helped = train([rows] * 40, WIDTHS, 64, 1, n_steps=40, dead_after_tokens=100)
    assert max(helped.history["aux_latents"].tolist()) > 0
    assert max(plain.history["aux_latents"].tolist()) == 0
    assert not torch.equal(plain.coder.enc, helped.coder.enc)


def test_what_cannot_be_trained_is_refused(rows):
    with pytest.raises(DataError, match="1 to n_features = 8"):
        train([rows], WIDTHS, 8, 9, n_steps=1)
    with pytest.raises(DataError, match="nothing to train on"):
        train([], WIDTHS, N, K, n_steps=1)
    with pytest.raises(DataError, match="several sources"):
        train([rows], (sum(WIDTHS),), N, K, n_steps=1)
    with pytest.raises(DataError, match=r"4 \+ 6"):
        train([rows], WIDTHS[:2], N, K, n_steps=1)
    with pytest.raises(DataError, match="2 batches"):
        train([rows], WIDTHS, N, K, n_steps=2)
