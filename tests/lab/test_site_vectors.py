"""The stopped and the spliced forward against TransformerLens's own cache and hooks."""

from __future__ import annotations

import pytest
import torch

from engine.errors import SpecError
from engine.lab.site_vectors import KINDS, activations_at, readable_site, run_with_replacement, width

SITES = [f"blocks.{layer}.{kind}" for layer in (0, 1, 2) for kind in KINDS]


@pytest.fixture(scope="module")
def input_ids(model):
    ids, _, _ = model.pad(model.token_ids(["the capital city of France is", "a red cat sat on Paris"]))
    return ids


def test_every_site_equals_the_cache_of_transformer_lens(model, input_ids):
    found = activations_at(model, input_ids, SITES)
    with torch.no_grad():
        _, cache = model.bridge.run_with_cache(input_ids, prepend_bos=False)
    for site in SITES:
        expected = cache[site].flatten(2)
        assert (found[site] - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max())), site
        assert found[site].shape[-1] == width(model, site)


def test_nothing_beyond_the_last_site_is_computed(model, input_ids, monkeypatch):
    computed = []
    block = type(model.decoder.blocks[0])
    attend, mlp_post = block.attend, block.mlp_post
    monkeypatch.setattr(block, "attend", lambda self, *a: (computed.append("z"), attend(self, *a))[1])
    monkeypatch.setattr(block, "mlp_post", lambda self, x: (computed.append("mlp"), mlp_post(self, x))[1])
    activations_at(model, input_ids, ["blocks.1.hook_resid_pre", "blocks.0.hook_attn_out"])
    assert computed == ["z", "mlp"]
    activations_at(model, input_ids, ["blocks.1.hook_resid_mid"])
    assert computed == ["z", "mlp"] + ["z", "mlp", "z"]


@pytest.mark.parametrize("site", SITES)
def test_the_identity_spliced_in_changes_nothing(model, input_ids, site):
    with torch.no_grad():
        assert torch.equal(run_with_replacement(model, input_ids, site, lambda x: x), model.logits(input_ids))


def hooks_that_halve(kind: str) -> list[tuple]:
    """Hooks that halve block 1's activations from position 2 on. The bridge's hook_resid_mid changes what the
    MLP reads and not the residual stream, so that there attention's output makes up the difference."""

    def half(value, hook):
        return torch.cat((value[:, :2], 0.5 * value[:, 2:]), dim=1)

    if kind != "hook_resid_mid":
        return [(f"blocks.1.{kind}", half)]
    before = []
    return [
        ("blocks.1.hook_resid_pre", lambda value, hook: before.append(value)),
        ("blocks.1.hook_attn_out", lambda value, hook: half(before[0] + value, hook) - before[0]),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_replacement_equals_a_hook_of_transformer_lens(model, input_ids, kind):
    site = f"blocks.1.{kind}"
    spliced = run_with_replacement(model, input_ids, site, lambda x: 0.5 * x, first_position=2)

    with torch.no_grad():
        hooks = hooks_that_halve(kind)
        expected = model.bridge.run_with_hooks(input_ids, fwd_hooks=hooks, prepend_bos=False)
        plain = model.logits(input_ids)
    scale = max(1.0, float(expected.abs().max()))
    assert (spliced - expected).abs().max() <= 1e-5 * scale
    assert (spliced - plain).abs().max() > 1e-3
    torch.testing.assert_close(spliced[:, :2], plain[:, :2], atol=1e-6 * scale, rtol=0)


def test_a_relative_depth_is_resolved_and_other_sites_are_refused(model):
    assert readable_site(model, "blocks.50%.hook_resid_pre") == "blocks.2.hook_resid_pre"
    with pytest.raises(SpecError, match=r"does not read.*\n.*hook_resid_pre"):
        readable_site(model, "blocks.0.attn.hook_pattern")
    with pytest.raises(SpecError, match="no layer 9"):
        readable_site(model, "blocks.9.hook_resid_pre")
    with pytest.raises(SpecError, match="does not read"):
        readable_site(model, "hook_embed")
