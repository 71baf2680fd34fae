"""A site as a value: its name, its layer in a given model, its width."""

import pytest

from engine.errors import SpecError
from engine.models.micro import micro_model
from engine.models.sites import Site, site_of, width
from engine.spec.sites import MLP_OUT, MLP_POST, READABLE_SITES, RESID_PRE, Z


def test_a_site_reads_as_transformer_lens_names_it() -> None:
    assert str(Site(3, Z)) == "blocks.3.attn.hook_z"
    assert [str(Site(0, kind)) for kind in (RESID_PRE, MLP_OUT)] == [
        "blocks.0.hook_resid_pre",
        "blocks.0.hook_mlp_out",
    ]


@pytest.mark.parametrize("kind", READABLE_SITES)
def test_a_name_becomes_the_site_and_back(kind) -> None:
    assert site_of(str(Site(2, kind)), n_layers=3) == Site(2, kind)


def test_a_relative_depth_becomes_a_layer() -> None:
    assert site_of("blocks.50%.hook_resid_pre", n_layers=30) == Site(15, RESID_PRE)


def test_a_layer_that_the_model_lacks_and_a_site_that_is_not_read_are_refused() -> None:
    with pytest.raises(SpecError, match="no layer 9"):
        site_of("blocks.9.hook_resid_pre", n_layers=3)
    with pytest.raises(SpecError, match="does not read"):
        site_of("blocks.0.attn.hook_pattern", n_layers=3)


def test_the_width_follows_from_the_axes() -> None:
    shape = micro_model(d_model=32, n_heads=4, d_mlp=80).shape
    assert {width(kind, shape) for kind in READABLE_SITES if kind != MLP_POST} == {32}
    assert width(MLP_POST, shape) == 80
    assert width(Z, shape) == shape.n_heads * shape.d_head


def test_short_names_are_those_of_transformer_lens() -> None:
    short = [kind.short for kind in READABLE_SITES]
    assert short == ["resid_pre", "z", "attn_out", "resid_mid", "post", "mlp_out", "resid_post"]
