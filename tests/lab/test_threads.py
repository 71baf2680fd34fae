"""Pieces side by side: in order, on one thread each, without gradients, and loud."""

import pytest
import torch

from engine.lab.threads import side_by_side


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_order_and_threads_are_given_back(threads):
    weight = torch.ones(2, requires_grad=True)
    seen = side_by_side(lambda x: (x, torch.get_num_threads(), (weight * x).requires_grad), range(20))
    assert seen == [(x, 1, False) for x in range(20)]
    assert torch.get_num_threads() == threads


def test_what_a_piece_raises_is_raised_and_threads_are_given_back(threads):
    def work(x: int) -> int:
        if x == 3:
            raise ValueError("three")
        return x

    with pytest.raises(ValueError, match="three"):
        side_by_side(work, range(20))
    assert torch.get_num_threads() == threads
