"""What a patch is measured by: each metric against plain logits, and the fast sweep against the slow one."""

import itertools

import numpy as np
import pytest
import torch

from engine.lab.attribution_patching import estimated_sweep
from engine.lab.patch_metrics import patch_metric
from engine.lab.patch_pairs import SITES
from engine.lab.patching import sweep
from engine.lab.slow_patching import patch_one
from engine.spec.family_params import MetricName

METRICS: tuple[MetricName, ...] = ("logit_diff", "probability", "log_probability", "kl")


@pytest.mark.parametrize("name", METRICS)
def test_every_patch_equals_one_patch_at_a_time_by_any_metric(model, pairs, name):
    found = sweep(model, pairs, metric=patch_metric(model, pairs, name)).patched
    scale = max(np.nanmax(np.abs(values)) for values in found.values())
    for site, layer in itertools.product(SITES, (0, model.n_layers - 1)):
        head = (1,) if site == "z" else ()
        last = int(pairs.last[1])
        slow = patch_one(model, pairs, 1, site, layer, last, 1 if site == "z" else None, metric=name)
        assert abs(found[site][1, layer, last, *head] - slow) <= 1e-5 * scale


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_what_the_logits_say(model, pairs, name):
    logits = model.logits(pairs.base[:1])[0, pairs.last[0]].double()
    clean = model.logits(pairs.source[:1])[0, pairs.last[0]].double().log_softmax(-1)
    log_p = logits.log_softmax(-1)
    answer, wrong = int(pairs.answer[0]), int(pairs.wrong_answer[0])
    expected = {
        "logit_diff": logits[answer] - logits[wrong],
        "probability": log_p[answer].exp(),
        "log_probability": log_p[answer],
        "kl": sum(clean[v].exp() * (clean[v] - log_p[v]) for v in range(len(log_p))),
    }
    resid = model.forward(pairs.base[:1]).resid[:, pairs.last[0]]
    found = patch_metric(model, pairs, name).of(model, resid, torch.tensor([0]))
    assert float(found) == pytest.approx(float(expected[name]), abs=1e-5)


def test_the_clean_run_is_at_no_distance_from_itself(model, pairs):
    metric = patch_metric(model, pairs, "kl")
    there = sweep(model, pairs, sites=["mlp_out"], metric=metric)
    np.testing.assert_allclose(there.source, 0, atol=1e-6)
    assert (there.base > 0).all()
    back = patch_metric(model, pairs.reversed(), "kl", clean=pairs)
    noised = sweep(model, pairs.reversed(), sites=["mlp_out"], metric=back)
    np.testing.assert_allclose(noised.base, 0, atol=1e-6)
    np.testing.assert_allclose(noised.source, there.base, atol=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_an_estimate_has_the_slope_of_the_metric(model, pairs, name):
    """A patch that hardly changes the run is estimated to second order."""
    start = model.embed(pairs.base)
    near = torch.lerp(start, model.embed(pairs.source), 1e-2)
    close = type(pairs)(
        pairs.base, pairs.base, pairs.last, pairs.answer, pairs.wrong_answer, source_start=near
    )
    metric = patch_metric(model, pairs, name)
    exact = sweep(model, close, sites=["resid_pre"], metric=metric)
    estimate = estimated_sweep(model, close, sites=["resid_pre"], metric=metric)
    changes = [found.patched["resid_pre"][0, 0, 4] - found.base[0] for found in (exact, estimate)]
    assert changes[0] != 0
    assert changes[1] == pytest.approx(changes[0], rel=0.1, abs=1e-6)


def test_a_metric_of_some_pairs_is_that_of_these_pairs(model, pairs):
    for name in METRICS:
        whole = sweep(model, pairs, sites=["mlp_out"], metric=patch_metric(model, pairs, name))
        alone = pairs.rows([2])
        part = sweep(model, alone, sites=["mlp_out"], metric=patch_metric(model, pairs, name).rows([2]))
        np.testing.assert_allclose(part.patched["mlp_out"][0], whole.patched["mlp_out"][2], atol=1e-5)
