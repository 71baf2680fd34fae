"""One gradient against every patch: equal where the model is linear, and only there."""

import numpy as np
import pytest

from engine.lab.attribution_patching import estimated_sweep
from engine.lab.patch_pairs import SITES
from engine.lab.patching import sweep
from engine.lab.planted import linear_model


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_in_a_linear_model_the_estimate_is_exact(architecture, pairs):
    model = linear_model(architecture)
    exact, estimate = sweep(model, pairs), estimated_sweep(model, pairs)
    for site in SITES:
        scale = np.nanmax(np.abs(exact.patched[site]))
        np.testing.assert_allclose(estimate.patched[site], exact.patched[site], atol=1e-5 * scale)


def test_it_has_the_runs_and_the_gaps_of_the_exact_sweep(model, pairs):
    exact, estimate = sweep(model, pairs), estimated_sweep(model, pairs)
    np.testing.assert_allclose(estimate.base, exact.base, atol=1e-5)
    np.testing.assert_allclose(estimate.source, exact.source, atol=1e-5)
    for site in SITES:
        assert (np.isnan(estimate.patched[site]) == np.isnan(exact.patched[site])).all()


def test_in_a_model_that_is_not_linear_it_is_an_estimate(model, pairs):
    exact, estimate = (f(model, pairs, sites=["resid_pre"]).patched for f in (sweep, estimated_sweep))
    assert np.nanmax(np.abs(exact["resid_pre"] - estimate["resid_pre"])) > 0.01


@pytest.mark.parametrize("method", ["eap_ig_inputs", "relp"])
def test_other_methods_are_exact_in_a_linear_model_and_their_own_in_another(method, pairs, model):
    linear = linear_model("gpt2")
    exact, estimate = sweep(linear, pairs), estimated_sweep(linear, pairs, method=method, steps=2)
    for site in SITES:
        scale = np.nanmax(np.abs(exact.patched[site]))
        np.testing.assert_allclose(estimate.patched[site], exact.patched[site], atol=1e-5 * scale)
    plain, other = (estimated_sweep(model, pairs, method=m, steps=2) for m in ("eap", method))
    assert np.nanmax(np.abs(plain.patched["mlp_out"] - other.patched["mlp_out"])) > 1e-3
    np.testing.assert_allclose(other.base, plain.base, atol=1e-5)


def test_integrated_gradients_of_the_embedding_sum_to_the_whole_effect(pairs, model):
    found = estimated_sweep(model, pairs, sites=["resid_pre"], method="eap_ig_inputs", steps=32)
    moved = np.nansum(found.patched["resid_pre"][:, 0] - found.base[:, None], axis=1)
    np.testing.assert_allclose(moved, found.source - found.base, atol=0.02 * np.abs(found.source).max())
