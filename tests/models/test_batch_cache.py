"""What is put into the cache is what comes out, by row and position, however it grows and shrinks."""

import pytest
import torch

from engine.models import batch_cache
from engine.models.batch_cache import BatchCache, closed_up
from engine.models.forward import KVPrefix


def numbered(*shape):
    return torch.arange(1.0, 1.0 + torch.Size(shape).numel()).view(shape)


@pytest.mark.parametrize("chunk", [1, 2, 256])
def test_blocks_and_then_single_positions_are_found_where_they_were_put(monkeypatch, chunk):
    monkeypatch.setattr(batch_cache, "CHUNK", chunk)
    cache = BatchCache(3, limit=9)
    key = numbered(3, 2, 4, 5)
    for rows in (slice(0, 2), slice(2, 3)):
        cache.write_block(rows, 0)
        keys, values = cache.extended(0, key[rows], -key[rows])
        assert torch.equal(keys, key[rows]) and torch.equal(values, -key[rows])
    positions = torch.tensor([2, 4, 3])
    new = 1000 + numbered(3, 2, 1, 5)
    cache.write_next(positions, longest=5)
    keys, values = cache.extended(0, new, -new)
    assert keys.shape == (3, 2, 5, 5)
    for row, position in enumerate(positions.tolist()):
        assert torch.equal(keys[row, :, position], new[row, :, 0])
        assert torch.equal(keys[row, :, :position], key[row, :, :position])
        assert torch.equal(values[row], -keys[row])
    # Behind a row's own position lie numbers, which a mask hides, and no NaN, which it would not.
    assert keys.isfinite().all()
    assert cache.keys[0].shape[2] <= 9


def test_a_prefix_stands_before_every_row():
    cache = BatchCache(3, limit=9)
    key = numbered(1, 2, 4, 5)
    cache.fill(KVPrefix((key, 2 * key), (-key, -2 * key)))
    cache.write_block(slice(1, 3), 4)
    new = 1000 + numbered(2, 2, 1, 5)
    for layer in (0, 1):
        keys, values = cache.extended(layer, new, -new)
        assert torch.equal(keys, torch.cat(((layer + 1) * key.expand(2, -1, -1, -1), new), dim=2))
        assert torch.equal(values, -keys)


def test_rows_that_are_given_up_leave_the_others_as_they_are():
    cache = BatchCache(5, limit=9)
    key = numbered(5, 2, 3, 4)
    cache.write_block(slice(0, 5), 0)
    cache.extended(0, key, -key)
    order = closed_up([1, 3, 4])
    cache.keep(order)
    new = numbered(3, 2, 1, 4)
    cache.write_next(torch.tensor([3, 3, 3]), longest=4)
    keys, values = cache.extended(0, new, -new)
    assert torch.equal(keys[:, :, :3], key[order])
    assert torch.equal(values, -keys)


@pytest.mark.parametrize(
    ("kept", "order"),
    [([0, 1, 2], [0, 1, 2]), ([1, 3, 4], [3, 1, 4]), ([4], [4]), ([0, 2], [0, 2]), ([1, 2], [2, 1])],
)
def test_as_few_rows_move_as_possible(kept, order):
    assert closed_up(kept) == order
    assert sorted(order) == kept
