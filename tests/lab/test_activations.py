"""Harvested rows: gathered in order, every one once an epoch, split by whole documents."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.errors import DataError, SpecError
from engine.lab import harvest as module
from engine.lab.activations import Activations
from engine.lab.harvest import harvest
from tests.lab.texts import made_up, with_bos

ONE, TWO = "blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre"


@pytest.fixture(scope="module")
def found() -> Activations:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SHARD_TOKENS", 64)
        return harvest(with_bos(), made_up(), [ONE, TWO], folder=None, context_tokens=16)


def as_rows(tensor: torch.Tensor) -> list[tuple[float, ...]]:
    return sorted(map(tuple, tensor.flatten(1).tolist()))


def test_rows_come_in_the_order_asked_for(found):
    every = found.rows(TWO, range(found.n_tokens))
    order = np.random.default_rng(0).permutation(found.n_tokens)
    assert torch.equal(found.rows(TWO, order), every[torch.from_numpy(order)])
    assert (found.d, found.site, every.shape) == (32, ONE, (found.n_tokens, 32))


def test_every_row_knows_its_token_and_context(found):
    for c in (0, 7, found.n_contexts - 1):
        input_ids, counted = found.inputs([c])
        assert found.ids[found.context == c].tolist() == input_ids[counted].tolist()


@pytest.mark.parametrize("buffer_bytes", [2**28, 20_000])
@pytest.mark.parametrize("sites", [TWO, [TWO], [ONE, TWO]])
def test_every_row_comes_once_an_epoch_in_random_order(found, sites, buffer_bytes):
    batches = list(found.batches(sites, 32, seed=0, epochs=2, buffer_bytes=buffer_bytes))
    several = [sites] if isinstance(sites, str) else sites
    expected = torch.stack([found.rows(site, range(found.n_tokens)) for site in several], 1)
    half = len(batches) // 2
    for epoch in (batches[:half], batches[half:]):
        assert [len(b) for b in epoch[:-1]] == [32] * (half - 1)
        assert as_rows(torch.cat(epoch)) == as_rows(expected)
    assert not torch.equal(batches[0], batches[half])
    assert batches[0].shape[1:] == ((32,) if isinstance(sites, str) else (len(sites), 32))
    again = list(found.batches(sites, 32, seed=0, epochs=2, buffer_bytes=buffer_bytes))
    assert all(torch.equal(a, b) for a, b in zip(batches, again, strict=True))
    other = next(iter(found.batches(sites, 32, seed=1, buffer_bytes=buffer_bytes)))
    assert not torch.equal(batches[0], other)


def test_sides_of_a_split_share_no_document(found):
    train, held_out = found.split(0.25)
    documents = found.contexts.documents
    assert len(set(documents.tolist())) < found.n_contexts
    assert not set(documents[train.chosen].tolist()) & set(documents[held_out.chosen].tolist())
    assert len(held_out.chosen) == round(0.25 * found.n_contexts)
    assert len(train.chosen) + len(held_out.chosen) == found.n_contexts
    assert train.n_tokens + held_out.n_tokens == found.n_tokens
    both = torch.cat([side.rows(TWO, range(side.n_tokens)) for side in (train, held_out)])
    assert as_rows(both) == as_rows(found.rows(TWO, range(found.n_tokens)))
    batches = torch.cat(list(held_out.batches(TWO, 10, 0, buffer_bytes=5000)))
    assert as_rows(batches) == as_rows(held_out.rows(TWO, range(held_out.n_tokens)))
    assert found.split(0.25)[1].chosen.tolist() == held_out.chosen.tolist()
    assert found.split(0.25, seed=1)[1].chosen.tolist() != held_out.chosen.tolist()
    for fraction in (0.0, 1.0):
        with pytest.raises(DataError, match="too few documents"):
            found.split(fraction)


def of_documents(found: Activations, documents: list[int]) -> Activations:
    """The first contexts, as if they were of these documents."""
    numbers = np.zeros(found.n_contexts, dtype=np.int64)
    numbers[: len(documents)] = documents
    contexts = replace(found.contexts, documents=numbers)
    return replace(found, contexts=contexts, chosen=np.arange(len(documents)))


def test_one_document_however_often_repeated_cannot_be_divided(found):
    with pytest.raises(DataError, match="too few documents to hold some out") as caught:
        of_documents(found, [0] * 12).split(0.25)
    assert caught.value.seen == "0.25 of 12 contexts in 1 documents"


def test_where_every_document_is_too_large_the_smallest_is_held_out(found):
    _, held_out = of_documents(found, [0] * 5 + [1] * 3 + [2] * 4).split(0.1)
    assert held_out.chosen.tolist() == [5, 6, 7]


def test_a_site_that_was_not_harvested_brings_the_nearest(found):
    with pytest.raises(SpecError, match=r"nearest: blocks\.1\.hook_resid_pre"):
        found.rows("blocks.1.hook_resid_post", [0])


def test_rows_that_are_left_out_count_nowhere(found):
    _, some = found.split(0.4)
    gone = np.array([0, 1, 7, some.n_tokens // 2, some.n_tokens - 1])
    kept = np.setdiff1d(np.arange(some.n_tokens), gone)
    fewer = some.without(gone)
    assert fewer.n_tokens == len(kept)
    every = some.rows(TWO, kept)
    assert torch.equal(fewer.rows(TWO, range(fewer.n_tokens)), every)
    assert fewer.ids.tolist() == some.ids[kept].tolist()
    assert fewer.context.tolist() == some.context[kept].tolist()
    for buffer_bytes in (2**28, 5000):
        batches = torch.cat(list(fewer.batches(TWO, 10, 0, buffer_bytes=buffer_bytes)))
        assert as_rows(batches) == as_rows(every)


def test_rows_are_left_out_one_after_another_and_by_a_split(found):
    once = found.without([3, 40, 90])
    twice = found.without([40]).without([3, 89])
    assert once.left_out.tolist() == twice.left_out.tolist()
    sides = once.split(0.3)
    assert sum(side.n_tokens for side in sides) == found.n_tokens - 3
    rows = torch.cat([side.rows(ONE, range(side.n_tokens)) for side in sides])
    assert as_rows(rows) == as_rows(once.rows(ONE, range(once.n_tokens)))
