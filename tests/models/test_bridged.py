"""Models that are read through a bridge: the same interface and numbers, and what cannot be had is said."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.errors import ModelError
from engine.lab.attribution import attribute
from engine.lab.attribution_patching import estimated_sweep
from engine.lab.patch_pairs import PatchPairs, answer_direction
from engine.lab.patching import sweep
from engine.lab.receipts import base_receipts
from engine.lab.slow_patching import patch_one
from engine.models.bridged import BridgedBlocks, _absent, _probe
from engine.models.forward import Extent, differentiate, forward, read_activations
from engine.models.hooked import HookedModel
from engine.models.huggingface import parity, require_parity
from engine.models.sites import Site
from engine.spec.sites import ATTN_OUT, MLP_OUT, MLP_POST, RESID_MID, RESID_POST, RESID_PRE, Z
from tests.models.random_models import BRIDGED_NAMES, N_LAYERS, PAIR, random_model, token_ids

BOTH_WAYS = ("llama", "gpt_neox", "gemma2", "olmo2")
"""Ways of putting blocks together that the plain path has too: the one must be the other."""


def by_the_bridge(name: str) -> HookedModel:
    """A model of the plain path's, as if the engine had no blocks for it."""
    model = random_model(name)
    return dataclasses.replace(model, anatomy=dataclasses.replace(model.anatomy, style="bridge"))


def pairs_of(model: HookedModel) -> PatchPairs:
    base, source = (torch.tensor(model.token_ids([text])) for text in PAIR)
    return PatchPairs(base, source, torch.tensor([base.shape[1] - 1]), torch.tensor([5]), torch.tensor([9]))


def close(seen: Tensor, expected: Tensor, limit: float = 1e-5) -> bool:
    assert seen.shape == expected.shape
    return bool((seen - expected).abs().max() <= limit * expected.abs().max().clamp(min=1.0))


@pytest.fixture(params=BRIDGED_NAMES)
def bridged(request: pytest.FixtureRequest) -> HookedModel:
    return random_model(request.param)


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_both_ways_give_the_same_activations_and_gradients(name: str) -> None:
    plain, slow = random_model(name), by_the_bridge(name)
    assert plain.site_kinds == slow.site_kinds and isinstance(slow.path, BridgedBlocks)
    ids, mask, last = plain.pad(plain.token_ids(["the capital city of France is Paris", "a red cat"]))
    sites = plain.sites(*plain.site_kinds)
    with torch.no_grad():
        assert close(slow.embed(ids), plain.embed(ids))
        runs = [model.forward(ids, read=sites, attention_mask=mask) for model in (slow, plain)]
        assert list(runs[0].activations) == list(runs[1].activations)
        for row, end in enumerate(last.tolist()):
            for site in sites:
                seen, expected = (run.activations[site][row, : end + 1] for run in runs)
                assert close(seen, expected), site
        assert close(slow.unembed(runs[0].resid[0, -1]), plain.unembed(runs[1].resid[0, -1]))
        some = [Site(0, Z), Site(1, RESID_PRE)]
        early = read_activations(slow.path, slow.embed(ids[:1]), some)
        assert all(close(early[site], runs[1].activations[site][:1]) for site in some)
    edited = [Site(1, kind) for kind in (RESID_PRE, Z, ATTN_OUT, MLP_POST, MLP_OUT, RESID_POST)]
    found = [
        differentiate(m.path, m.embed(ids[:1]), edited, lambda r, m=m: m.unembed(r[:, -1])[:, 5])
        for m in (slow, plain)
    ]
    for site in edited:
        assert close(found[0].gradients[site], found[1].gradients[site], 1e-4), site


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_both_ways_patch_alike(name: str) -> None:
    plain, slow = random_model(name), by_the_bridge(name)
    pairs = pairs_of(plain)
    where = np.zeros((1, pairs.base.shape[1]), dtype=bool)
    where[0, [3, 6, -1]] = True
    fast, edits = (sweep(model, pairs, positions=where) for model in (plain, slow))
    for site, values in fast.patched.items():
        np.testing.assert_allclose(
            edits.patched[site], values, atol=1e-5 * max(1.0, np.nanmax(np.abs(values)))
        )
        assert np.nanmax(values) - np.nanmin(values) > 1e-3
    quick, traced = (estimated_sweep(model, pairs) for model in (plain, slow))
    for site, values in quick.patched.items():
        np.testing.assert_allclose(traced.patched[site], values, atol=1e-3)


def test_a_bridged_models_forward_is_hugging_faces(bridged: HookedModel) -> None:
    assert not bridged.is_plain
    found = parity(bridged)
    require_parity(found, bridged)
    assert found.largest_logit > 0.5


def test_its_sites_are_read_and_edited(bridged: HookedModel) -> None:
    ids = token_ids(bridged)
    sites = bridged.sites(*bridged.site_kinds)
    with torch.no_grad():
        run = bridged.forward(ids, read=sites)
        _, cache = bridged.bridge.run_with_cache(ids, prepend_bos=False)
        for site in sites:
            assert close(run.activations[site], cache[str(site)]), site
        plain = bridged.logits(ids)
        for kind in bridged.site_kinds:
            if kind == RESID_MID:
                continue
            site = Site(1, kind)
            seen = bridged.unembed(bridged.forward(ids, edit={site: lambda x: x.flip(-1)}).resid)
            hooks: list[Any] = [(str(site), lambda value, hook: value.flip(-1))]
            expected = bridged.bridge.run_with_hooks(ids, fwd_hooks=hooks, prepend_bos=False)
            assert close(seen, expected, 2e-5) and not close(seen, plain, 1e-3), site


def test_it_owes_the_receipts_of_every_model(bridged: HookedModel) -> None:
    pairs = pairs_of(bridged)
    assert [c.name for c in base_receipts(bridged, pairs.source, pairs.last) if not c.passed] == []


def test_a_patch_is_that_of_transformer_lens() -> None:
    model = random_model("opt")
    pairs = pairs_of(model)
    where = np.zeros((1, pairs.base.shape[1]), dtype=bool)
    where[0, 4] = True
    found = sweep(model, pairs, positions=where, layers=[1])
    for site, head in (("resid_pre", None), ("z", 2), ("attn_out", None), ("mlp_out", None)):
        place = (0, 1, 4) if head is None else (0, 1, 4, head)
        assert found.patched[site][place] == pytest.approx(
            patch_one(model, pairs, 0, site, 1, 4, head), abs=1e-5
        )


def test_contributions_add_up() -> None:
    model = random_model("opt")
    pairs = pairs_of(model)
    found = attribute(model, pairs.source, pairs.last, answer_direction(model, pairs)[:, None])
    assert found.largest_residue <= 1e-4
    logits = model.hf(pairs.source, use_cache=False).logits[0, -1]
    assert found.values.sum() == pytest.approx(float(logits[5] - logits[9]), abs=1e-4)


@pytest.mark.parametrize("name", ["gemma2", "olmo2", "granite"])
def test_where_a_norm_or_a_factor_follows_the_heads_what_they_write_is_not_known(name: str) -> None:
    model = by_the_bridge(name)
    with pytest.raises(ModelError, match=r"(?s)what single heads write.*a norm or a factor"):
        model.W_O(0)


def test_a_site_that_does_not_hold_what_is_added_is_absent() -> None:
    model = random_model("opt")
    assert isinstance(model.path, BridgedBlocks)
    held, fired = _probe(model.path)
    assert _absent(N_LAYERS, held, fired) == {}
    # As where a factor stands between the hook and the stream.
    scaled = held | {Site(1, MLP_OUT): 2 * held[Site(1, MLP_OUT)]}
    absent = _absent(N_LAYERS, scaled, fired)
    assert set(absent) == {ATTN_OUT, MLP_OUT}
    without = dataclasses.replace(model.path, absent=absent)
    with pytest.raises(ModelError, match=r"(?s)not what is added.*blocks\.0\.hook_attn_out"):
        forward(without, model.embed(token_ids(model)), read=[Site(0, ATTN_OUT)])
    assert set(_absent(N_LAYERS, held, fired - Counter({Site(2, Z): 1}))) == {Z}
    # As of a mixture of experts, whose hook_post is what it writes; and of one among dense layers.
    experts = {Site(layer, MLP_POST): held[Site(layer, MLP_OUT)] for layer in range(N_LAYERS)}
    assert set(_absent(N_LAYERS, held | experts, fired)) == {MLP_POST}
    mixed = held | {Site(1, MLP_POST): held[Site(1, MLP_POST)][..., :40]}
    assert set(_absent(N_LAYERS, mixed, fired)) == {MLP_POST}


def test_what_a_bridge_cannot_do_is_refused_by_name() -> None:
    model = random_model("opt")
    ids = token_ids(model)
    with pytest.raises(ModelError, match="keeps no keys and values"):
        model.forward(ids, keep_prefix=True)
    with pytest.raises(ModelError, match="keeps no keys and values"):
        forward(model.path, model.embed(ids), extent=Extent(first_position=2))
    with pytest.raises(ModelError, match="what the MLP reads"):
        model.forward(ids, edit={Site(0, RESID_MID): lambda x: x})
    with pytest.raises(ModelError, match="does not reach"):
        model.forward(ids, read=[Site(9, Z)])
    with pytest.raises(ModelError, match=r"edit at blocks\.1\.hook_mlp_out changes the shape"):
        model.forward(ids, edit={Site(1, MLP_OUT): lambda x: x[:, :1]})
    with pytest.raises(ModelError, match="parts of opt's blocks"):
        _ = model.decoder


def test_a_hook_that_does_not_fire_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model("opt")
    blocks = model.path
    assert isinstance(blocks, BridgedBlocks)
    whole = blocks.bridge.run_with_hooks

    def deaf(ids: Tensor, fwd_hooks: list[Any] = [], **options: Any) -> Any:  # noqa: B006
        return whole(ids, fwd_hooks=[hook for hook in fwd_hooks if "hook_z" not in hook[0]], **options)

    monkeypatch.setattr(blocks.bridge, "run_with_hooks", deaf)
    with pytest.raises(ModelError, match=r"(?s)does not reach.*hook_z"):
        model.forward(token_ids(model), read=[Site(0, Z)])
