"""Sources side by side: the same token in every one, shuffled or not, of one model or of two."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import ModelError, SpecError
from engine.families.crosscoder import sources as module
from engine.families.crosscoder.sources import AlignedSources, read_aligned
from engine.lab import harvest
from engine.lab.activation_cache import harvest_folders
from engine.lab.second_model import ExchangeLab
from engine.models.hooked import HookedModel
from engine.models.micro import micro_model
from engine.spec.family_params import HarvestParams
from tests.lab.texts import BOS, made_up

OWN = micro_model(d_model=32)
WIDE = micro_model(d_model=48, n_layers=3, seed=1)
SHORT = HarvestParams(context_tokens=16)
EMBEDDED = "blocks.0.hook_resid_pre"  # of a llama, nothing but the token


def lab(second: HookedModel = WIDE, folder: Path | None = None) -> ExchangeLab:
    models = {OWN.name: OWN, "second": second}
    return ExchangeLab(OWN, corpus=made_up(), folder=folder, load=models.__getitem__)


def tokens_of(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which token each half of some rows is the embedding of."""
    embeddings = [model.weights["model.embed_tokens.weight"] for model in (OWN, WIDE)]
    halves = zip(rows.split((32, 48), dim=1), embeddings, strict=True)
    exactly = "donot_use_mm_for_euclid_dist"
    found = [torch.cdist(half, table, compute_mode=exactly).min(dim=1) for half, table in halves]
    assert all(distance.max() < 1e-5 for distance, _ in found)
    return found[0][1], found[1][1]


@pytest.fixture
def two(monkeypatch, tmp_path) -> AlignedSources:
    """Two models over many small shards, of which few fit the buffer."""
    monkeypatch.setattr(harvest, "SHARD_TOKENS", 64)
    monkeypatch.setattr(module, "BUFFER_BYTES", 200 * 4 * (32 + 48))
    return read_aligned(lab(folder=tmp_path), [EMBEDDED], SHORT, against="second")


def test_row_r_is_the_same_token_in_both_models(two):
    ids = torch.from_numpy(made_up().ids).long()
    assert two.widths == (32, 48)
    assert two.n_tokens == len(ids)
    for half in tokens_of(two.rows(range(len(ids)))):
        assert torch.equal(half, ids)


def test_shuffled_batches_keep_rows_together_and_draw_each_once(two):
    train, held_out = two.split(0.2)
    assert train.n_contexts + held_out.n_contexts == two.n_contexts
    batches = list(train.batches(50, seed=0, epochs=2))
    assert sum(map(len, batches)) == 2 * train.n_tokens
    ours, theirs = tokens_of(torch.cat(batches))
    assert torch.equal(ours, theirs)
    kept_ids = torch.from_numpy(train.sources[0].activations.ids).long()
    assert torch.equal(ours.bincount(), 2 * kept_ids.bincount())
    assert not torch.equal(ours[: len(kept_ids)], kept_ids)


def test_sites_of_one_model_are_drawn_as_they_are_stacked():
    sites = [EMBEDDED, "blocks.1.hook_resid_post"]
    place = lab()
    found = read_aligned(place, sites, SHORT)
    assert (found.names, found.one_basis) == (sites, True)
    assert [check.name for check in place.receipts] == ["hugging_face_logits", "hooks_fired"]
    stacked = found.sources[0].activations.batches(sites, 50, 3, 2)
    for ours, theirs in zip(found.batches(50, 3, 2), stacked, strict=True):
        assert torch.equal(ours, theirs.flatten(1))


def test_each_model_has_its_own_depth_its_receipts_and_a_harvest_that_others_find(tmp_path):
    place = lab(folder=tmp_path)
    found = read_aligned(place, ["blocks.100%.hook_resid_post"], HarvestParams(), against="second")
    assert found.names == [f"{OWN.name} blocks.1.hook_resid_post", f"{WIDE.name} blocks.2.hook_resid_post"]
    assert not found.one_basis
    owed = ["hugging_face_logits", "hooks_fired"]
    assert [check.name for check in place.receipts] == [*owed, *(f"second_{name}" for name in owed)]
    assert all(check.passed for check in place.receipts)
    before = {k.folder: k.folder.stat().st_mtime_ns for k in harvest_folders(tmp_path)}
    assert len(before) == 2
    again = ExchangeLab(WIDE, corpus=made_up(), folder=tmp_path)
    alone = read_aligned(again, ["blocks.2.hook_resid_post"], HarvestParams())
    assert {k.folder: k.folder.stat().st_mtime_ns for k in harvest_folders(tmp_path)} == before
    index = np.arange(30)
    assert torch.equal(alone.rows(index), found.rows(index)[:, 32:])


def test_what_does_not_fit_the_second_model_is_refused():
    shallow = micro_model(d_model=48, n_layers=1)
    with pytest.raises(SpecError, match="no layer 1") as caught:
        read_aligned(lab(shallow), ["blocks.1.hook_resid_post"], SHORT, against="second")
    assert shallow.name in caught.value.where
    with pytest.raises(SpecError, match="given twice"):
        sites = ["blocks.0%.hook_resid_post", "blocks.50%.hook_resid_post"]
        read_aligned(lab(shallow), sites, SHORT, against="second")
    bos = replace(WIDE, config={**WIDE.config, "bos_token_id": BOS})
    with pytest.raises(ModelError, match="do not cut the text alike"):
        read_aligned(lab(bos), [EMBEDDED], SHORT, against="second")
