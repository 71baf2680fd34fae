"""The heat map of one pair against the sweep of all sites and heads, and one patch against the bridge's."""

import numpy as np
import pytest
import torch

from engine.errors import DataError
from engine.lab.facts import known_facts
from engine.lab.patch_grid import heads_grid, patch_grid, patch_outcome
from engine.lab.patch_pairs import SITES
from engine.lab.patching import sweep
from engine.lab.planted import HEAD, LAYER, planted_lab
from engine.lab.slow_patching import patch_one

HEADED = [(site, 1 if site == "z" else None) for site in SITES]


@pytest.fixture(scope="module")
def planted():
    """The planted model and its first pair, "prompt" 1."""
    lab = planted_lab()
    return lab.model, known_facts(lab.model, lab.tokenized()).denoising.rows([0])


@pytest.mark.parametrize("row", [0, 1, 2])
@pytest.mark.parametrize(("site", "head"), HEADED)
def test_every_cell_equals_the_sweeps(model, pairs, row, site, head):
    pair = pairs.rows([row])
    length = int(pair.last[0]) + 1
    swept = sweep(model, pair, sites=[site])
    values = swept.patched[site][0, :, :length]
    found = patch_grid(model, pair, site, head)
    assert found.patched.shape == (model.n_layers, length)
    np.testing.assert_allclose(found.patched, values if head is None else values[..., head], atol=1e-5)
    assert (found.base, found.source) == pytest.approx((swept.base[0], swept.source[0]), abs=1e-5)
    own = swept.normalised()[site][0, :, :length]
    np.testing.assert_allclose(found.effects, own if head is None else own[..., head], atol=1e-4)


def test_a_bridges_model_is_swept_whole(model, pairs, monkeypatch):
    pair = pairs.rows([1])
    expected = patch_grid(model, pair, "z", 2)
    monkeypatch.setattr(type(model), "is_plain", False)
    found = patch_grid(model, pair, "z", 2)
    np.testing.assert_allclose(found.patched, expected.patched, atol=1e-5)
    assert (found.base, found.source) == pytest.approx((expected.base, expected.source), abs=1e-5)


def test_heads_at_one_position_are_the_sweeps(model, pairs):
    pair = pairs.rows([2])
    expected = sweep(model, pair, sites=["z"]).patched["z"][0, :, 5]
    np.testing.assert_allclose(heads_grid(model, pair, 5), expected, atol=1e-5)


@pytest.mark.parametrize(("site", "head"), HEADED)
def test_one_patch_equals_the_bridges(model, pairs, site, head):
    pair = pairs.rows([2])
    found = patch_outcome(model, pair, site, 1, 5, head)
    assert found.logit_diffs[2] == pytest.approx(patch_one(model, pair, 0, site, 1, 5, head), abs=1e-5)
    for kind, ids in (("source", pair.source), ("base", pair.base)):
        with torch.no_grad():
            logits = model.hf(ids[:, : int(pair.last[0]) + 1]).logits[0, -1]
        torch.testing.assert_close(getattr(found, kind), logits.log_softmax(-1), atol=1e-5, rtol=0)


def test_one_patch_is_its_cell_of_the_map(model, pairs):
    pair = pairs.rows([0])
    grid = patch_grid(model, pair, "attn_out")
    found = patch_outcome(model, pair, "attn_out", 1, 6)
    assert found.logit_diffs == pytest.approx((grid.source, grid.base, grid.patched[1, 6]), abs=1e-5)


def test_the_planted_head_alone_restores_all(planted):
    model, pair = planted
    last = int(pair.last[0])
    effects = patch_grid(model, pair, "z", HEAD).effects
    assert effects[LAYER, last] == pytest.approx(1.0, abs=1e-5)
    assert np.abs(np.delete(effects, LAYER, axis=0)).max() < 1e-5
    by_head = heads_grid(model, pair, last)
    assert np.unravel_index(by_head.argmax(), by_head.shape) == (LAYER, HEAD)
    answer = int(patch_outcome(model, pair, "z", LAYER, last, HEAD).patched.argmax())
    assert answer == int(pair.answer[0])


def test_two_equal_runs_have_no_scale(model, pairs):
    pair = pairs.rows([0])
    same = type(pair)(pair.base, pair.base, pair.last, pair.answer, pair.wrong_answer)
    assert not patch_grid(model, same, "resid_pre").has_scale
    assert patch_grid(model, pair, "resid_pre").has_scale


def test_progress_rises_to_the_end_and_may_end_the_work(model, pairs):
    told: list[float] = []
    patch_grid(model, pairs.rows([2]), "mlp_out", progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) == 2  # positions that differ or come after: "Italy" and "is"

    class Stop(Exception):
        pass

    def stop(fraction: float) -> None:
        raise Stop

    with pytest.raises(Stop):
        patch_grid(model, pairs.rows([2]), "mlp_out", progress=stop)


@pytest.mark.parametrize(
    ("site", "head", "expected"),
    [
        ("mlp", None, "one of resid_pre"),
        ("z", None, "a head from 0 to 3"),
        ("z", 4, "a head from 0 to 3"),
        ("mlp_out", 0, "z, or no head"),
    ],
)
def test_a_place_that_is_not_there_is_refused(model, pairs, site, head, expected):
    with pytest.raises(DataError, match=expected):
        patch_grid(model, pairs.rows([0]), site, head)
