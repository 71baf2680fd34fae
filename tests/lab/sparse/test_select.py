"""The fast selection against torch.topk, ties, odd widths and every width of k."""

import pytest
import torch

from engine.lab.sparse.select import largest, slow_largest


@pytest.mark.parametrize(("rows", "columns"), [(1, 7), (5, 64), (33, 500), (64, 1031), (1, 40_003)])
@pytest.mark.parametrize("k", [1, 3, 32])
def test_it_equals_torch(rows, columns, k):
    values = torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows * columns + k))
    assert largest(values, k).tolist() == slow_largest(values, k).tolist()


def test_ties_are_broken_by_column():
    values = torch.tensor([[1.0, 2.0, 2.0, 2.0, 0.0], [3.0, 3.0, 3.0, 3.0, 3.0]])
    assert largest(values, 2).tolist() == [1, 2, 5, 6]


def test_equal_values_of_a_wide_matrix_still_give_k():
    values = torch.ones(3, 700)
    values[1, 300:] = 2.0
    found = largest(values, 20)
    assert len(found) == 60
    assert found[20:40].tolist() == list(range(1000, 1020))


def test_rows_that_hold_nan_still_give_k():
    values = torch.randn(4, 100)
    values[2] = float("nan")
    assert len(largest(values, 5)) == 20


def test_all_entries_where_k_reaches_the_width():
    assert largest(torch.randn(2, 3), 5).tolist() == list(range(6))
