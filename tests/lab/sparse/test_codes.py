"""Codes: products over active entries, their order by latent, batches joined, and codes without an entry."""

import pytest
import torch

from engine.errors import DataError
from engine.lab.sparse.codes import Codes, codes_at, joined

ROWS, D, LATENTS = 30, 12, 40
GENERATOR = torch.Generator().manual_seed(0)
PRE = torch.randn(ROWS, LATENTS, generator=GENERATOR)
CODES = codes_at((PRE > 1).flatten().nonzero().flatten(), PRE)


def test_dots_and_order_of_active_entries():
    codes = CODES
    left, right = torch.randn(ROWS, D), torch.randn(LATENTS, D)
    expected = (left[codes.rows] * right[codes.latents]).sum(dim=1)
    torch.testing.assert_close(codes.dots(left, right), expected)
    order, starts = codes.by_latent()
    assert codes.latents[order].tolist() == sorted(codes.latents.tolist())
    assert starts.diff().tolist() == codes.fired().tolist()


def test_codes_without_an_entry():
    none = Codes(torch.zeros(4, dtype=torch.long), torch.zeros(0, dtype=torch.long), torch.zeros(0), 6)
    assert none.dense().shape == (3, 6) and not none.fired().any()
    assert none.times(torch.ones(6, 2)).tolist() == [[0, 0]] * 3


def test_codes_are_the_positive_entries_among_those_chosen():
    every = codes_at(torch.arange(PRE.numel()), PRE)
    assert torch.equal(every.dense(), PRE.relu())
    assert torch.equal(CODES.dense(), PRE * (PRE > 1))


def test_batches_are_joined_in_their_order():
    halves = [codes_at((half > 1).flatten().nonzero().flatten(), half) for half in PRE.split(11)]
    together = joined(halves)
    assert torch.equal(together.dense(), CODES.dense())
    assert together.starts.tolist() == CODES.starts.tolist()
    with pytest.raises(DataError, match="no codes"):
        joined([])
