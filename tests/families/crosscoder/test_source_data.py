"""What a crosscoder reads: rows anew at each call; shuffled sources keep all but their partners."""

import torch

from engine.families.crosscoder.source_data import SourceData, misaligned

ROWS = torch.arange(60, dtype=torch.float32).reshape(20, 3)
CONTEXT = torch.arange(20) // 5


def test_misaligned_sources_keep_their_rows_and_lose_their_partners():
    rows = torch.arange(60, dtype=torch.float32).reshape(20, 3)
    (shuffled,) = misaligned(iter([rows]), (1, 1, 1), seed=0)
    assert torch.equal(shuffled[:, 0], rows[:, 0])
    for source in (1, 2):
        assert torch.equal(shuffled[:, source].sort(dim=0).values, rows[:, source])
        assert not torch.equal(shuffled[:, source], rows[:, source])
    assert not torch.equal(shuffled[:, 1] - rows[:, 1], shuffled[:, 2] - rows[:, 2])


def test_wide_sources_are_shuffled_row_by_row_and_each_batch_by_itself():
    batches = list(misaligned(iter([ROWS[:12], ROWS[12:]]), (1, 2), seed=0))
    for given, shuffled in zip((ROWS[:12], ROWS[12:]), batches, strict=True):
        assert torch.equal(shuffled[:, 0], given[:, 0])
        assert sorted(shuffled[:, 1:].tolist()) == given[:, 1:].tolist()
        assert not torch.equal(shuffled, given)


def test_the_order_is_its_seeds():
    one, same, other = (next(misaligned(iter([ROWS]), (1, 2), seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_misaligned_data_can_be_read_again_keeps_contexts_and_shuffles_held_out_rows_by_another_seed():
    data = SourceData(lambda: iter([ROWS]), lambda: iter([(ROWS, CONTEXT)]), 1, 4, ["a", "b"], (1, 2))
    shuffled = data.misaligned(seed=0)
    assert torch.equal(next(shuffled.train()), next(shuffled.train()))
    ((held, context),) = list(shuffled.held())
    assert torch.equal(context, CONTEXT)
    assert torch.equal(held, next(misaligned(iter([ROWS]), (1, 2), seed=1)))
    assert not torch.equal(held, next(shuffled.train()))
    assert (shuffled.sources, shuffled.widths, shuffled.n_contexts) == (data.sources, data.widths, 4)
    assert torch.equal(next(data.train()), ROWS)
