"""Patching, attribution patching and direct attribution on every way in which blocks are put together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.lab.attribution import answer_directions, attribute
from engine.lab.attribution_patching import estimated_sweep
from engine.lab.patch_metrics import patch_metric
from engine.lab.patch_pairs import PatchPairs
from engine.lab.patching import sweep
from engine.lab.receipts import attribution_receipt, base_receipts
from engine.lab.slow_patching import edited_sweep, patch_one
from engine.models.hooked import HookedModel
from tests.models.random_models import NAMES, PAIR, random_model


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest) -> HookedModel:
    return random_model(request.param)


def pairs_of(model: HookedModel) -> PatchPairs:
    base, source = (torch.tensor(model.token_ids([text])) for text in PAIR)
    return PatchPairs(base, source, torch.tensor([base.shape[1] - 1]), torch.tensor([5]), torch.tensor([9]))


@torch.no_grad()
def test_a_sweep_is_every_patch_by_itself(model: HookedModel) -> None:
    pairs = pairs_of(model)
    found = sweep(model, pairs)
    everywhere = torch.ones_like(pairs.base, dtype=torch.bool)
    masks = dict.fromkeys(found.patched, everywhere)
    metric = patch_metric(model, pairs)
    slow = edited_sweep(model, pairs, masks, range(model.n_layers), metric, None, 4000, lambda done: None)
    size = max(1.0, float(np.ptp(found.patched["z"])))
    for site, values in found.patched.items():
        assert np.abs(values - slow.patched[site]).max() <= 1e-5 * size, site
        # That it would show: patches of every site have effects.
        assert np.ptp(values) > 1e-2, site
    assert found.base == pytest.approx(slow.base, abs=1e-5) and found.source == pytest.approx(
        slow.source, abs=1e-5
    )


@pytest.mark.parametrize("metric", ["logit_diff", "kl"])
def test_a_patch_is_that_of_transformer_lens(model: HookedModel, metric: str) -> None:
    pairs = pairs_of(model)
    found = sweep(model, pairs, metric=patch_metric(model, pairs, metric))  # pyright: ignore[reportArgumentType]
    for site, layer, position, head in (("z", 1, 5, 2), ("attn_out", 0, 9, None), ("mlp_out", 1, 3, None)):
        place = (0, layer, position) if head is None else (0, layer, position, head)
        slow = patch_one(model, pairs, 0, site, layer, position, head, metric)  # pyright: ignore[reportArgumentType]
        assert found.patched[site][place] == pytest.approx(slow, abs=2e-5), site


def test_the_gradient_is_that_of_the_metric(model: HookedModel) -> None:
    """To first order: between a run and one that is a thousandth of the way to the other."""
    pairs = pairs_of(model)
    base, source = model.embed(pairs.base), model.embed(pairs.source)
    near = PatchPairs(
        pairs.base,
        pairs.source,
        pairs.last,
        pairs.answer,
        pairs.wrong_answer,
        base_start=base.double().float(),
        source_start=base + 1e-3 * (source - base),
    )
    exact = sweep(model, near, sites=["resid_pre"])
    estimate = estimated_sweep(model, near, sites=["resid_pre"])
    effects = exact.patched["resid_pre"] - exact.base[0]
    np.testing.assert_allclose(
        estimate.patched["resid_pre"] - exact.base[0], effects, atol=0.05 * np.abs(effects).max() + 2e-6
    )


@torch.no_grad()
def test_contributions_add_up_to_the_logit_difference(model: HookedModel) -> None:
    pairs = pairs_of(model)
    answers = torch.stack((pairs.answer, pairs.answer + 1), dim=1)
    directions = answer_directions(model, pairs.source, pairs.last, answers, pairs.wrong_answer)
    found = attribute(model, pairs.source, pairs.last, directions)
    logits = model.hf(pairs.source, use_cache=False).logits[0, -1]
    expected = logits[answers[0]] - logits[pairs.wrong_answer[0]]
    np.testing.assert_allclose(found.logit_diff[0], expected.numpy(), atol=2e-5)
    np.testing.assert_allclose(found.values[0].sum(-1), expected.numpy(), atol=5e-5)
    assert attribution_receipt(model, found).passed


def test_the_receipts_that_every_run_owes_pass(model: HookedModel) -> None:
    pairs = pairs_of(model)
    assert [check.name for check in base_receipts(model, pairs.source, pairs.last) if not check.passed] == []
