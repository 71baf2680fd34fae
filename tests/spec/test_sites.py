import pytest

from engine.errors import SpecError
from engine.spec.sites import BLOCK_SITES, MODEL_SITES, resolve_site, validate_site


@pytest.mark.parametrize(
    ("site", "n_layers", "resolved"),
    [
        ("blocks.50%.hook_resid_pre", 30, "blocks.15.hook_resid_pre"),
        ("blocks.0%.attn.hook_z", 30, "blocks.0.attn.hook_z"),
        ("blocks.100%.mlp.hook_post", 30, "blocks.29.mlp.hook_post"),
        ("blocks.33%.hook_resid_mid", 12, "blocks.4.hook_resid_mid"),  # 3.96
        ("blocks.12.5%.hook_mlp_out", 12, "blocks.2.hook_mlp_out"),  # 1.5, halves up
        ("blocks.29.hook_resid_post", 30, "blocks.29.hook_resid_post"),
        ("hook_embed", 1, "hook_embed"),
        ("ln_final.hook_normalized", 12, "ln_final.hook_normalized"),
    ],
)
def test_a_relative_depth_is_the_nearest_layer(site, n_layers, resolved):
    assert validate_site(site) == site
    assert resolve_site(site, n_layers) == resolved


@pytest.mark.parametrize(
    ("site", "told"),
    [
        ("blocks.6.hook_resid_pr", "nearest: blocks.6.hook_resid_pre"),
        ("blocks.6.attn.hook_patern", "nearest: blocks.6.attn.hook_pattern"),
        ("block.50%.hook_resid_pre", "nearest: blocks.50%.hook_resid_pre"),
        ("hook_embeds", "nearest: hook_embed"),
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


def test_every_site_is_one_of_transformer_lens():
    from engine.models.micro import micro_model

    theirs = {name for style in ("gpt2", "llama") for name in micro_model(style).bridge.hook_dict}
    assert {*MODEL_SITES, *(f"blocks.1.{site}" for site in BLOCK_SITES)} <= theirs
