"""The fast sweep against one patch at a time, and what it may leave out."""

import itertools

import numpy as np
import pytest
import torch

from engine.errors import DataError
from engine.lab.patch_metrics import patch_metric
from engine.lab.patch_pairs import SITES, PatchPairs
from engine.lab.patching import BothRuns, sweep
from engine.lab.slow_patching import patch_one
from tests.bench.memory import tensor_peak


def test_every_patch_equals_one_patch_at_a_time(model, pairs):
    found = sweep(model, pairs).patched
    scale = max(np.nanmax(np.abs(values)) for values in found.values())
    for pair, site, layer in itertools.product((1, 2), SITES, (0, model.n_layers - 1)):
        for position in (2, int(pairs.last[pair])):
            head = (1,) if site == "z" else ()
            slow = patch_one(model, pairs, pair, site, layer, position, 1 if site == "z" else None)
            assert abs(found[site][pair, layer, position, *head] - slow) <= 1e-5 * scale


def test_batching_changes_nothing(model, pairs):
    whole = sweep(model, pairs)
    pieces = sweep(model, pairs, prompts_at_once=1, tokens_at_once=1)
    for site in SITES:
        np.testing.assert_allclose(pieces.patched[site], whole.patched[site], atol=1e-5)


def test_only_what_was_asked_for_is_measured(model, pairs):
    whole = sweep(model, pairs, sites=["mlp_out"]).patched["mlp_out"]
    asked = np.zeros(pairs.base.shape, dtype=bool)
    asked[0, 4] = asked[1, 2] = True
    some = sweep(model, pairs, sites=["mlp_out"], positions=asked, layers=[1]).patched["mlp_out"]
    assert np.argwhere(np.isfinite(some)).tolist() == [[0, 1, 4], [1, 1, 2]]
    assert some[0, 1, 4] == pytest.approx(whole[0, 1, 4], abs=1e-5)


def test_nothing_is_measured_beyond_a_prompts_end(model, pairs):
    effect = sweep(model, pairs, sites=["resid_pre"]).patched["resid_pre"]
    last = int(pairs.last[1])
    assert np.isnan(effect[1, :, last + 1 :]).all()
    assert np.isfinite(effect[1, :, : last + 1]).all()


def test_positions_before_the_first_difference_have_no_effect(model, pairs):
    effects = sweep(model, pairs).normalised()
    for site in SITES:
        assert (effects[site][0, :, :4] == 0).all()  # "the capital city of" is common


def test_the_whole_stream_carries_the_whole_difference(model, pairs):
    """Patching the only differing token of pair 0 before any block makes the source run."""
    effect = sweep(model, pairs, sites=["resid_pre"]).normalised()["resid_pre"]
    assert effect[0, 0, 4] == pytest.approx(1.0, abs=1e-5)


def test_noising_is_denoising_with_the_runs_exchanged(model, pairs):
    there, back = sweep(model, pairs), sweep(model, pairs.reversed())
    np.testing.assert_allclose(there.base, back.source, atol=1e-5)
    np.testing.assert_allclose(there.source, back.base, atol=1e-5)


def test_an_unknown_site_is_refused(model, pairs):
    with pytest.raises(DataError, match="one of resid_pre, attn_out, mlp_out, z"):
        sweep(model, pairs, sites=["mlp"])


def test_positions_may_differ_from_site_to_site(model, pairs):
    whole = sweep(model, pairs).patched
    nowhere, one = np.zeros(pairs.base.shape, dtype=bool), np.zeros(pairs.base.shape, dtype=bool)
    one[0, 5] = True
    asked = {"resid_pre": None, "attn_out": one, "mlp_out": nowhere, "z": one}
    some = sweep(model, pairs, positions=asked).patched
    np.testing.assert_allclose(some["resid_pre"], whole["resid_pre"], atol=1e-5)
    np.testing.assert_allclose(some["z"][0, :, 5], whole["z"][0, :, 5], atol=1e-5)
    assert np.isfinite(some["attn_out"]).sum() == model.n_layers
    assert np.isnan(some["mlp_out"]).all()


def test_threads_change_nothing(model, pairs):
    alone = sweep(model, pairs)
    torch.set_num_threads(2)
    try:
        together = sweep(model, pairs)
    finally:
        torch.set_num_threads(1)
    for site in SITES:
        np.testing.assert_allclose(together.patched[site], alone.patched[site], atol=1e-5)


def test_the_first_difference_is_found_by_walking_along(model, pairs):
    for index, walked in enumerate((4, 0, 5)):
        alone = pairs.rows([index])
        runs = BothRuns.of(model, alone, patch_metric(model, alone))
        assert runs.first_change().tolist() == [walked]


def test_a_pair_of_one_text_differs_nowhere_and_says_position_0(model):
    same = torch.tensor([[1, 2, 3]])
    one = torch.tensor([1])
    alone = PatchPairs(same, same, torch.tensor([2]), one, one)
    assert BothRuns.of(model, alone, patch_metric(model, alone)).first_change().tolist() == [0]


def test_a_sweep_holds_every_change_once_and_the_source_run_no_longer_than_it_must(model, pairs):
    shape = model.shape
    alike = pairs.rows([1] * 4)  # in one group, and different from the first token on
    places = len(alike) * (int(alike.last[0]) + 1) * shape.n_layers
    # Three sites and each head change the stream, in fp32.
    changes = 4 * places * (3 + shape.n_heads) * shape.d_model
    # resid_pre, z, attn_out and mlp_out, with keys and values, of either run.
    run = 4 * places * (4 * shape.d_model + 2 * shape.n_key_value_heads * shape.d_head)
    peak = tensor_peak(lambda: sweep(model, alike, tokens_at_once=1))
    # A second copy of the changes is made of one position at a time, beside what one patch computes.
    assert peak < 2 * run + 2 * changes
