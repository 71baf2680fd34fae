"""Contributions: they add up, each is the right product, and b_O and the norm's bias are their own parts."""

import numpy as np
import pytest
import torch

from engine.lab.attribution import attribute
from engine.lab.patch_pairs import answer_direction


@pytest.fixture
def found(model, pairs):
    return attribute(model, pairs.source, pairs.last, answer_direction(model, pairs)[:, None])


def test_they_add_up_to_the_logit_difference(model, pairs, found):
    assert found.largest_residue < 1e-5
    for row, last in enumerate(pairs.last.tolist()):
        with torch.no_grad():
            logits = model.hf(pairs.source[[row], : last + 1]).logits[0, -1]
        expected = float(logits[pairs.answer[row]] - logits[pairs.wrong_answer[row]])
        assert found.values[row, 0].sum() == pytest.approx(expected, abs=1e-5)


def test_parts_are_what_the_hooks_see(model, pairs, found):
    ids = pairs.source[[1], : int(pairs.last[1]) + 1]
    with torch.no_grad():
        _, cache = model.bridge.run_with_cache(ids, prepend_bos=False)
        norm = model.frozen_norm(cache["blocks.2.hook_resid_post"][:, -1])
        direction = answer_direction(model, pairs)[1]
        z = cache["blocks.1.attn.hook_z"][0, -1, 3]
        head, mlp = z @ model.W_O(1)[3], cache["blocks.2.hook_mlp_out"][0, -1]
        expected = {"L1H3": float(norm.apply(head) @ direction), "MLP2": float(norm.apply(mlp) @ direction)}
    names = [c.name for c in found.components]
    for name, value in expected.items():
        assert found.values[1, 0, names.index(name)] == pytest.approx(value, abs=1e-5)


def test_layers_hold_all_but_the_embeddings_and_the_norms_bias(model, found):
    outside = found.of_kind("embedding", "position embedding", "norm bias")
    inside = found.by_layer(model.n_layers).sum(axis=-1)
    np.testing.assert_allclose(inside + found.values[..., outside].sum(-1), found.values.sum(-1), atol=1e-6)


def test_an_attribution_that_does_not_add_up_is_seen(found):
    found.values[0, 0, 0] += 1.0
    assert found.largest_residue > 1e-2
