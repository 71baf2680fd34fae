"""The sampler of the packaged corpus: its cache equals the plain forward, its draws the distribution."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.data import make_smollm2_samples
from engine.data.make_smollm2_samples import (
    PACKED,
    KeyValueCache,
    draw,
    joined,
    next_logits,
    put_shard,
    sample_shard,
    unpack,
    write_shard,
)
from engine.data.packed import read_packed, write_packed
from engine.models.hooked import HookedModel
from engine.models.micro import micro_model


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request) -> HookedModel:
    return micro_model(request.param)


def test_token_by_token_equals_the_whole_forward_also_after_documents_left(model: HookedModel):
    ids = torch.randint(model.shape.vocab, (5, 12), generator=torch.Generator().manual_seed(0))
    cache, rows = KeyValueCache(model, 5, 12), torch.arange(5)
    with torch.no_grad():
        expected = model.logits(ids)
        for position in range(12):
            got = next_logits(model, cache, ids[rows, position], position)
            torch.testing.assert_close(got, expected[rows, position], atol=1e-5, rtol=0)
            if position == 6:
                rows = torch.tensor([0, 3])
                cache.keep(rows, position + 1)


@pytest.mark.parametrize("vocab", [5, 256, 300])
def test_draws_follow_the_distribution(vocab: int):
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(1, vocab, generator=generator)
    drawn = draw(logits.expand(20_000, -1), generator)
    seen = torch.bincount(drawn, minlength=vocab) / len(drawn)
    expected = logits.softmax(-1)[0]
    chi_square = float(((seen - expected) ** 2 / expected).sum() * len(drawn))
    assert abs(chi_square - (vocab - 1)) < 5 * (2 * (vocab - 1)) ** 0.5


def test_a_shard_is_the_same_each_time_and_ends_where_it_should(model: HookedModel):
    ends = {*range(4, 16), 28, 33}

    def shard(seed: int, spare: float = 0.1) -> list[list[int]]:
        return sample_shard(model, seed, start=2, ends=ends, n_documents=20, longest=30, spare=spare)

    documents = shard(0)
    assert documents == shard(0)
    assert documents != shard(1)
    assert all(1 <= len(d) <= 30 and not ends & {*d} for d in documents)
    assert min(map(len, documents)) < 30


def test_shards_are_written_once_and_joined_up_to_the_first_gap(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(make_smollm2_samples, "sample_shard", lambda model, seed, **_: [[seed, 7], [8]])
    model: Any = None
    write = [write_shard(model, tmp_path / f"{n:04}.npz", n, 2, [3]) for n in (0, 1, 1, 3)]
    assert write == [True, True, False, True]
    assert joined(tmp_path, 10**9) == [[[0, 7], [8]], [[1, 7], [8]]]
    assert joined(tmp_path, 1) == [[[0, 7], [8]]]


def test_a_packed_corpus_gives_its_shards_back_and_leaves_others_alone(tmp_path: Path):
    packed, folder = tmp_path / "samples.xz", tmp_path / "shards"
    write_packed(packed, [[1, 2], [3], [4, 5, 6]], [b"a"] * 7, {"documents_per_shard": [2, 1]})
    folder.mkdir()
    put_shard(folder / "0001.npz", [[9]])
    unpack(packed, folder)
    assert joined(folder, 10**9) == [[[1, 2], [3]], [[9]]]


def test_without_a_packed_corpus_there_is_nothing_to_unpack(tmp_path: Path):
    unpack(tmp_path / "samples.xz", tmp_path / "shards")
    assert not (tmp_path / "shards").exists()


def test_the_packaged_card_tells_the_shards_of_the_packaged_corpus():
    card = json.loads(PACKED.with_suffix(".json").read_text())
    assert sum(card["documents_per_shard"]) == card["documents"] == len(read_packed(PACKED).starts)
