"""The count of live tensors: each once, for as long as it is there."""

import torch

from tests.bench.memory import tensor_peak

KB = torch.zeros(256)


def test_what_is_held_together_is_counted_and_what_was_let_go_of_is_not():
    def apart() -> None:
        for _ in range(3):
            torch.ones(256)

    def together() -> None:
        held = [torch.ones(256) for _ in range(3)]
        held.clear()
        torch.ones(256)

    assert tensor_peak(apart) == KB.nbytes
    assert tensor_peak(together) == 3 * KB.nbytes


def test_views_and_what_was_there_before_count_nothing():
    weight = torch.ones(16, 16)

    def work() -> None:
        views = [weight.T, weight[0], weight.flatten()]
        views[0].add_(1)

    assert tensor_peak(work) == 0


def test_a_product_counts_its_result_alone():
    left = torch.ones(16, 16)
    assert tensor_peak(lambda: torch.nn.functional.linear(left, left)) == left.nbytes


def test_the_number_of_threads_is_put_back():
    before = torch.get_num_threads()
    tensor_peak(lambda: None)
    assert torch.get_num_threads() == before
