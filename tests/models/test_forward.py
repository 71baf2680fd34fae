"""The one forward: read, edited, stopped, continued and differentiated, against the bridge or the whole."""

import pytest
import torch

from engine.errors import ModelError
from engine.models.forward import Extent, differentiate, forward, read_activations, visited_sites
from engine.models.micro import micro_model
from engine.models.sites import Site
from engine.spec.sites import ATTN_OUT, MLP_OUT, MLP_POST, READABLE_SITES, RESID_MID, RESID_POST, RESID_PRE, Z

TEXTS = ["the capital city of France is", "a red cat sat on Paris", "people speak"]


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request):
    return micro_model(request.param, n_layers=3, seed=1)


@pytest.fixture(scope="module")
def padded(model):
    return model.pad(model.token_ids(TEXTS))


def test_sites_are_visited_in_the_order_of_the_list(model, padded):
    order = [site for site, _ in visited_sites(model.decoder, model.embed(padded[0]))]
    assert order == [Site(layer, kind) for layer in range(3) for kind in READABLE_SITES]


def test_it_is_the_sum_of_its_blocks_bit_for_bit(model, padded):
    """The loop written out once more, with nothing between the steps."""
    input_ids, mask, _ = padded
    resid = model.embed(input_ids)
    span = model.span(resid, mask)
    expected = {}
    for layer, block in enumerate(model.decoder.blocks):
        expected[Site(layer, RESID_PRE)] = resid
        z = block.attend(*block.query_key_value(resid, span), span)
        attn_out = block.attn_out(z)
        mid = resid + attn_out
        post = block.mlp_post(mid)
        mlp_out = block.mlp_out(mid)
        resid = mid + mlp_out
        here = {Z: z, ATTN_OUT: attn_out, RESID_MID: mid, MLP_POST: post, MLP_OUT: mlp_out, RESID_POST: resid}
        expected |= {Site(layer, kind): value for kind, value in here.items()}
    run = model.forward(input_ids, attention_mask=mask, read=list(expected))
    assert torch.equal(run.resid, resid)
    assert list(run.activations) == list(expected)
    assert all(torch.equal(run.activations[site], value) for site, value in expected.items())


def test_reading_and_editing_by_the_identity_change_nothing(model, padded):
    sites = model.sites(*READABLE_SITES)
    run = model.forward(padded[0], read=sites, edit=dict.fromkeys(sites, lambda x: x))
    assert torch.equal(model.unembed(run.resid), model.logits(padded[0]))
    assert set(run.activations) == set(sites)


@pytest.mark.parametrize("kind", [RESID_PRE, Z, ATTN_OUT, MLP_POST, MLP_OUT, RESID_POST])
def test_an_edit_is_what_a_hook_of_transformer_lens_does(model, padded, kind):
    input_ids = padded[0][:1]
    site = Site(1, kind)
    run = model.forward(input_ids, read=[site, Site(1, RESID_POST)], edit={site: lambda x: 0.5 * x})
    hooks = [(str(site), lambda value, hook: 0.5 * value)]
    with torch.no_grad():
        expected = model.bridge.run_with_hooks(input_ids, fwd_hooks=hooks, prepend_bos=False)
    assert (model.unembed(run.resid) - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))
    plain = model.forward(input_ids, read=[site]).activations[site]
    assert torch.equal(run.activations[site], 0.5 * plain)  # what is read is what goes on


def test_nothing_beyond_the_last_site_is_computed(model, padded, monkeypatch):
    computed = []
    block = type(model.decoder.blocks[0])
    attend = block.attend
    mlp_post = block.mlp_post
    monkeypatch.setattr(block, "attend", lambda self, *a: (computed.append("z"), attend(self, *a))[1])
    monkeypatch.setattr(block, "mlp_post", lambda self, x: (computed.append("mlp"), mlp_post(self, x))[1])
    resid = model.embed(padded[0])
    read_activations(model.decoder, resid, [Site(1, RESID_PRE), Site(0, ATTN_OUT)])
    assert computed == ["z", "mlp"]
    read_activations(model.decoder, resid, [Site(1, RESID_MID)])
    assert computed == ["z", "mlp", "z", "mlp", "z"]
    assert read_activations(model.decoder, resid, []) == {}
    assert len(computed) == 5


@pytest.mark.parametrize("start", [0, 2])
def test_it_starts_at_a_layer_and_a_position(model, padded, start):
    input_ids, mask, _ = padded
    whole = model.forward(input_ids, attention_mask=mask, read=model.sites(RESID_PRE), keep_prefix=True)
    resid = whole.activations[Site(start, RESID_PRE)][:, 2:]
    extent = Extent(start, None, mask, 2, whole.prefix)
    part = forward(model.decoder, resid, extent=extent, keep_prefix=True)
    torch.testing.assert_close(part.resid, whole.resid[:, 2:], atol=1e-5, rtol=0)
    for layer, keys in enumerate(part.prefix.keys, start):
        torch.testing.assert_close(keys, whole.prefix.keys[layer], atol=1e-5, rtol=0)


def test_it_stops_before_a_layer(model, padded):
    whole = model.forward(padded[0], read=model.sites(RESID_PRE))
    for stop in range(3):
        resid = model.layers(model.embed(padded[0]), 0, stop)
        assert torch.equal(resid, whole.activations[Site(stop, RESID_PRE)])


def test_a_gradient_is_the_bridges(model, padded):
    input_ids = padded[0][:1]
    sites = model.sites(RESID_PRE, Z, ATTN_OUT, MLP_POST, MLP_OUT)
    found = differentiate(
        model.decoder, model.embed(input_ids), sites, lambda resid: model.unembed(resid[:, -1])[:, 5]
    )
    assert set(found.gradients) == set(sites)
    for site in sites:
        leaf = found.activations[site].clone().requires_grad_()
        hooks = [(str(site), lambda value, hook, leaf=leaf: leaf)]
        logit = model.bridge.run_with_hooks(input_ids, fwd_hooks=hooks, prepend_bos=False)[0, -1, 5]
        logit.backward()
        assert found.objective.tolist() == pytest.approx([logit.item()], abs=1e-5)
        assert leaf.grad is not None
        torch.testing.assert_close(found.gradients[site], leaf.grad, atol=1e-5, rtol=1e-4)
        assert not found.activations[site].requires_grad


def test_rows_have_gradients_of_their_own(model, padded):
    input_ids = padded[0]
    site = Site(0, Z)

    def first_logit(resid):
        return model.unembed(resid[:, -1])[:, 5]

    together = differentiate(model.decoder, model.embed(input_ids), [site], first_logit)
    for row in range(len(input_ids)):
        alone = differentiate(model.decoder, model.embed(input_ids[[row]]), [site], first_logit)
        torch.testing.assert_close(
            together.gradients[site][[row]], alone.gradients[site], atol=1e-6, rtol=1e-4
        )


def test_a_gradient_is_recorded_only_where_it_is_asked_for(model, padded):
    with torch.no_grad():
        found = differentiate(model.decoder, model.embed(padded[0]), [Site(1, Z)], lambda r: r.sum((1, 2)))
    assert found.gradients[Site(1, Z)].abs().max() > 0
    assert not model.forward(padded[0]).resid.requires_grad


def test_a_site_that_is_never_reached_is_an_error(model, padded):
    resid = model.embed(padded[0])
    beyond = Site(3, RESID_PRE)
    with pytest.raises(
        ModelError, match=r"(?s)does not reach.*blocks that are run, of 3.*blocks\.3\.hook_resid_pre"
    ):
        forward(model.decoder, resid, read=[Site(0, Z), beyond])
    with pytest.raises(ModelError, match="does not reach"):
        forward(model.decoder, resid, edit={beyond: lambda x: x})
    with pytest.raises(ModelError, match="does not reach"):
        read_activations(model.decoder, resid, [Site(0, Z), beyond])
    with pytest.raises(ModelError, match=r"blocks\.0\.attn\.hook_z"):
        forward(model.decoder, resid, read=[Site(0, Z)], extent=Extent(start=1))


def test_an_edit_that_changes_the_shape_is_an_error(model, padded):
    site = Site(0, MLP_OUT)
    with pytest.raises(ModelError, match=r"(?s)edit at blocks\.0\.hook_mlp_out.*batch pos d_model"):
        model.forward(padded[0], edit={site: lambda x: x[:, :1]})


class RowStore:
    """A store in its simplest form: each row's new keys and values go to that row's position."""

    def __init__(self, prefix, positions):
        self.prefix = prefix
        self.positions = positions

    def extended(self, layer, key, value):
        rows = torch.arange(len(key))
        keys = self.prefix.keys[layer].clone()
        values = self.prefix.values[layer].clone()
        keys[rows, :, self.positions] = key[:, :, 0]
        values[rows, :, self.positions] = value[:, :, 0]
        return keys, values


def test_rows_are_continued_each_at_a_position_of_its_own(model, padded):
    input_ids, mask, last = padded
    whole = model.forward(input_ids, attention_mask=mask)
    every = torch.arange(len(input_ids))
    # The last token of each row is hidden from the first call and computed in the second.
    hidden = input_ids.clone()
    hidden[every, last] = 0
    store = RowStore(model.forward(hidden, keep_prefix=True).prefix, last)
    resid = model.decoder.embed(input_ids[every, last][:, None], last[:, None])
    step = forward(model.decoder, resid, extent=Extent(store=store, next_positions=last))
    torch.testing.assert_close(step.resid[:, 0], whole.resid[every, last], atol=1e-5, rtol=0)
