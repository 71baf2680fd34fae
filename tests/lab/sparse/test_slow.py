"""The slow twin of training, by which the fast one is judged, against sums by hand and finite differences."""

import pytest
import torch

from engine.lab.sparse.gradients import AUX_COEFFICIENT, Objective, Weights
from engine.lab.sparse.slow import slow_gradients, slow_loss

# Two latents that read and write one dimension each, no biases.
PLAIN = Weights(torch.eye(2), torch.eye(2), torch.zeros(2), torch.zeros(2))
TOPK = Objective("topk", 1, (2,), 1)


def drawn(d: int = 4, latents: int = 7) -> Weights:
    g = torch.Generator().manual_seed(0)
    rows = [torch.randn(latents, d, generator=g, dtype=torch.float64) for _ in range(2)]
    biases = [0.1 * torch.randn(n, generator=g, dtype=torch.float64) for n in (latents, d)]
    return Weights(rows[0], rows[1] / rows[1].norm(dim=1, keepdim=True), *biases)


def test_the_loss_is_the_squared_error_of_a_row_on_average():
    x = torch.tensor([[3.0, 1.0], [-1.0, 2.0]])
    # Row 1 keeps 3 and loses 1; row 2 keeps 2 and loses -1: (1 + 1) / 2.
    assert slow_loss(PLAIN, x, TOPK).item() == 1.0


def test_what_is_negative_is_kept_by_no_row():
    assert slow_loss(PLAIN, torch.tensor([[-3.0, -4.0]]), TOPK).item() == 25.0


def test_batchtopk_keeps_the_largest_of_the_whole_batch():
    x = torch.tensor([[3.0, 2.0], [1.0, 0.5]])
    # Two of four are kept, both in row 1; row 2 is lost: (0 + 1.25) / 2.
    assert slow_loss(PLAIN, x, Objective("batchtopk", 1, (2,), 1)).item() == 0.625


def test_dead_latents_are_held_to_what_is_left_over():
    x = torch.tensor([[3.0, 1.0]])
    dead = torch.tensor([False, True])
    # The dead latent would write the missing 1 exactly: no auxiliary error.
    assert slow_loss(PLAIN, x, TOPK, dead).item() == 1.0
    # Latent 2 reads twice what it should: it writes 2 where 1 is missing.
    twice = Weights(torch.diag(torch.tensor([1.0, 2.0])), *PLAIN.all()[1:])
    assert slow_loss(twice, x, TOPK, dead).item() == pytest.approx(1 + AUX_COEFFICIENT)


def test_where_none_is_dead_the_auxiliary_loss_is_nothing():
    x = torch.tensor([[3.0, 1.0]])
    assert slow_loss(PLAIN, x, TOPK, torch.tensor([False, False])) == slow_loss(PLAIN, x, TOPK)


@pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
def test_gradients_are_finite_differences_of_the_loss(architecture):
    weights = drawn()
    objective = Objective(architecture, 2, (4,), 2)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = slow_gradients(weights, x, objective)
    for name in ("W_enc", "b_enc", "b_dec"):
        gradient = getattr(found, name)
        for place in list(torch.ones_like(gradient).nonzero())[:8]:
            at = tuple(place.tolist())
            losses = []
            for step in (1e-6, -1e-6):
                moved = {k: getattr(weights, k).clone() for k in ("W_enc", "W_dec", "b_enc", "b_dec")}
                moved[name][at] += step
                losses.append(slow_loss(Weights(**moved), x, objective).item())
            assert gradient[at].item() == pytest.approx((losses[0] - losses[1]) / 2e-6, abs=1e-5)


def test_a_decoder_rows_gradient_has_no_part_along_the_row():
    weights = drawn()
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = slow_gradients(weights, x, Objective("topk", 2, (4,), 2)).W_dec
    assert found.abs().max() > 1e-3
    assert (found * weights.W_dec).sum(dim=1).abs().max() < 1e-12
