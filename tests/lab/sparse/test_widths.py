"""Sources side by side in a row, against loops over the pieces of each row."""

import pytest
import torch

from engine.lab.sparse.widths import by_source, mean_width, norms_by_source, over_source

WIDTHS = (2, 3, 1)
ROWS = torch.tensor([[1.0, 2, 3, 4, 5, 6], [-3, 4, 2, 0, -2, 0]])


def test_sums_are_over_the_places_of_each_source():
    assert by_source(ROWS, WIDTHS).tolist() == [[3, 12, 6], [1, 0, 0]]


def test_norms_are_of_each_source_by_itself():
    seen = norms_by_source(ROWS, WIDTHS)
    assert seen.tolist() == [pytest.approx([5**0.5, 50**0.5, 6]), pytest.approx([5, 8**0.5, 0])]


def test_squared_norms_are_sums_of_squares():
    rows = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(norms_by_source(rows, WIDTHS).square(), by_source(rows.square(), WIDTHS))


def test_a_value_of_each_source_stands_at_each_of_its_places():
    assert over_source(torch.tensor([7.0, 8, 9]), WIDTHS).tolist() == [7, 7, 8, 8, 8, 9]


def test_one_source_is_a_plain_sum_over_the_row():
    assert by_source(ROWS, (6,)).flatten().tolist() == ROWS.sum(dim=1).tolist()
    assert mean_width((6,)) == 6


def test_the_mean_width_is_what_sources_share():
    assert mean_width(WIDTHS) == 2
    assert mean_width((4, 7)) == 5.5


def test_rows_that_are_not_as_wide_as_their_sources_are_refused():
    with pytest.raises(RuntimeError, match="split"):
        by_source(ROWS, (2, 3))
