import pytest
import torch

from engine.errors import SpecError
from engine.models.micro import micro_model
from engine.spec.sites import (
    BLOCK_SITES,
    MODEL_SITES,
    READABLE_SITES,
    resolve_site,
    resolve_sites,
    validate_site,
)


@pytest.mark.parametrize(
    ("site", "n_layers", "resolved"),
    [
        ("blocks.50%.hook_resid_pre", 30, "blocks.15.hook_resid_pre"),
        ("blocks.0%.attn.hook_z", 30, "blocks.0.attn.hook_z"),
        ("blocks.100%.hook_attn_out", 30, "blocks.29.hook_attn_out"),
        ("blocks.33%.hook_resid_mid", 12, "blocks.4.hook_resid_mid"),  # 3.96
        ("blocks.12.5%.hook_mlp_out", 12, "blocks.2.hook_mlp_out"),  # 1.5, halves up
        ("blocks.29.hook_resid_post", 30, "blocks.29.hook_resid_post"),
    ],
)
def test_a_relative_depth_is_the_nearest_layer(site, n_layers, resolved):
    assert validate_site(site) == site
    assert resolve_site(site, n_layers) == resolved


@pytest.mark.parametrize(
    ("site", "told"),
    [
        ("blocks.6.hook_resid_pr", "nearest: blocks.6.hook_resid_pre"),
        ("blocks.6.attn.hook_patern", "nearest: blocks.6.attn.hook_z"),
        ("block.50%.hook_resid_pre", "nearest: blocks.50%.hook_resid_pre"),
        ("hook_embeds", "is not a hook site"),
        ("hook_resid_pre", "nearest: blocks.0.hook_resid_pre"),
        ("blocks.-1.hook_resid_pre", "'-1' is not a layer"),
        ("blocks.101%.hook_resid_pre", "'101%' is not a layer"),
        ("blocks.06.hook_resid_pre", "'06' is not a layer"),
        ("blocks.*.hook_resid_pre", r"'\*' is not a layer"),
        ("blocks.3", "is not a hook site"),
        ("blocks.3.hook_resid_pre\n", "is not a hook site"),
        ("", "is not a hook site"),
    ],
)
def test_an_impossible_site_is_refused(site, told):
    with pytest.raises(SpecError, match=f"(?s){told}"):
        validate_site(site)


def test_a_layer_must_be_in_the_model():
    with pytest.raises(SpecError, match=r"(?s)no layer 30.*from 0 to 29"):
        resolve_site("blocks.30.hook_resid_pre", 30)


def test_sites_that_are_one_layer_of_a_shallow_model_are_told_with_what_was_written():
    written = ["blocks.50%.hook_resid_post", "blocks.53%.hook_resid_post"]
    resolved = ["blocks.15.hook_resid_post", "blocks.16.hook_resid_post"]
    assert resolve_sites(written, 30) == resolved
    told = r"(?s)given twice.*blocks\.50%.* and blocks\.53%.*of 12 layers both blocks\.6\.hook_resid_post"
    with pytest.raises(SpecError, match=told):
        resolve_sites(written, 12)


UNREADABLE = [kind.name for kind in BLOCK_SITES if not kind.readable]


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_site_that_only_transformer_lens_reads_is_refused_with_those_that_can_be(name):
    told = r"(?s)that the engine does not read.*one of blocks\.50%\.hook_resid_pre, .*nearest: blocks\.50%\."
    with pytest.raises(SpecError, match=told):
        validate_site(f"blocks.50%.{name}")


@pytest.mark.parametrize("kind", MODEL_SITES)
def test_a_site_outside_the_blocks_is_refused(kind):
    with pytest.raises(SpecError, match=r"(?s)does not read.*nearest: blocks\.0\.hook_resid_pre"):
        validate_site(kind.name)


def test_every_site_is_one_of_transformer_lens():
    theirs = {name for style in ("gpt2", "llama") for name in micro_model(style).bridge.hook_dict}
    names = [kind.name for kind in MODEL_SITES] + [f"blocks.1.{kind.name}" for kind in BLOCK_SITES]
    assert len(set(names)) == len(names) == 27
    assert set(names) <= theirs


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_the_axes_of_every_site_are_those_of_transformer_lens(architecture):
    model = micro_model(architecture)
    input_ids = torch.tensor(model.token_ids(["The capital city of France"]))
    _, cache = model.bridge.run_with_cache(input_ids, prepend_bos=False)
    sizes = vars(model.shape) | {"batch": 1, "1": 1}
    sizes |= dict.fromkeys(("pos", "query", "key"), input_ids.shape[1])
    sizes |= {"head": model.shape.n_heads, "key_value_head": model.shape.n_key_value_heads}
    seen = []
    for prefix, kinds in (("", MODEL_SITES), ("blocks.1.", BLOCK_SITES)):
        for kind in kinds:
            if f"{prefix}{kind.name}" in cache:
                expected = tuple(sizes[axis] for axis in kind.axes.split())
                assert tuple(cache[f"{prefix}{kind.name}"].shape) == expected, kind.name
                seen.append(kind)
    assert set(READABLE_SITES) < set(seen)
