"""Rules of relevance propagation: they change no activation, and each its own part of the gradient."""

from dataclasses import replace

import pytest
import torch

from engine.models.forward import differentiate, forward
from engine.models.micro import micro_model
from engine.models.propagation import GRADIENT, RELP, Propagation, halved, linearised
from engine.models.sites import Site
from engine.spec.sites import RESID_PRE
from tests.models.random_models import NAMES, random_model

IDS = torch.tensor([[3, 5, 7, 2]])


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_no_rule_changes_an_activation(name):
    model = random_model(name)
    every_rule = model.propagating(Propagation(True, True, True, True))
    torch.testing.assert_close(every_rule.logits(IDS), model.logits(IDS), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_with_every_rule_the_relevance_of_the_input_is_the_output(architecture):
    """Relevance is conserved: what is linear without biases is its own gradient times its input."""
    model = micro_model(architecture).propagating(Propagation(True, True, True, True))
    without_biases = {n: w * 0 if n.endswith("bias") else w for n, w in model.weights.items()}
    model = replace(model, weights=without_biases)
    direction = torch.randn(model.shape.d_model, generator=torch.Generator().manual_seed(0))
    site = Site(0, RESID_PRE)
    found = differentiate(model.decoder, model.embed(IDS), [site], lambda resid: resid[:, -1] @ direction)
    relevance = (found.activations[site] * found.gradients[site]).sum()
    assert float(relevance) == pytest.approx(float(found.objective), rel=1e-4)


@pytest.mark.parametrize(
    "rule", ["frozen_norms", "linear_activations", "halved_products", "frozen_attention"]
)
def test_each_rule_changes_the_gradient(rule):
    model = micro_model("llama")

    def gradient(rules: Propagation) -> torch.Tensor:
        site = Site(0, RESID_PRE)
        ruled = model.propagating(rules)
        found = differentiate(ruled.decoder, ruled.embed(IDS), [site], lambda resid: resid[:, -1].sum(-1))
        return found.gradients[site]

    assert float((gradient(Propagation(**{rule: True})) - gradient(GRADIENT)).abs().max()) > 1e-3


def test_relp_is_the_rules_of_its_authors():
    assert Propagation(frozen_norms=True, linear_activations=True, halved_products=True) == RELP
    model = micro_model("gpt2").propagating(RELP)
    assert model.decoder.final_norm.frozen and all(b.propagation == RELP for b in model.decoder.blocks)
    assert forward(model.decoder, model.embed(IDS)).resid.shape == (1, 4, model.shape.d_model)


def test_an_activation_is_a_product_with_a_constant():
    x = torch.tensor([-2.0, 0.0, 3.0], requires_grad=True)
    value = linearised(torch.nn.functional.silu, x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    torch.testing.assert_close(value, torch.nn.functional.silu(x))
    torch.testing.assert_close(slope, torch.sigmoid(x))
    (half,) = torch.autograd.grad(halved(x * x).sum(), x)
    torch.testing.assert_close(half, x.detach())
