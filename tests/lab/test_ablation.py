"""Ways of taking a fact away: the run without its subject, and what stands in a place."""

import itertools

import numpy as np
import pytest
import torch

from engine.lab.ablation import START, ablation, means_by_role, roles_of
from engine.lab.patch_metrics import patch_metric
from engine.lab.patch_pairs import SITES
from engine.lab.patching import sweep
from engine.lab.planted import planted_lab
from engine.lab.roles import ROLES, role_positions
from engine.lab.slow_patching import patch_one

WAYS = ("gaussian", "mean", "zero")


@pytest.fixture(scope="module")
def lab():
    return planted_lab()


@pytest.fixture(scope="module")
def prompts(lab):
    return lab.tokenized()


def test_interchange_is_the_corrupted_prompt_itself(lab, prompts):
    found = ablation(lab.model, prompts, "interchange", 0)
    assert torch.equal(found.denoising.base, prompts.corrupted)
    assert found.denoising.base_start is None and found.instead is None


@pytest.mark.parametrize("way", WAYS)
def test_only_the_subject_is_ablated_in_the_run_patched_into(lab, prompts, way):
    pairs = ablation(lab.model, prompts, way, 0).denoising
    clean = lab.model.embed(prompts.clean)
    assert pairs.base_start is not None
    changed = (pairs.base_start != clean).any(-1).numpy()
    assert (changed == role_positions(prompts, "subject", "subject last")).all()
    assert torch.equal(pairs.base, pairs.source)
    assert pairs.reversed().source_start is pairs.base_start


def test_the_means_are_those_of_a_loop_over_tokens(lab, prompts):
    role = roles_of(prompts)
    means = means_by_role(lab.model, prompts, role)
    of = ROLES.index("subject last")
    embedded = lab.model.embed(prompts.clean)
    subjects = [embedded[i, prompts.subject_last[i]] for i in range(len(prompts))]
    torch.testing.assert_close(means[START][of], torch.stack(subjects).mean(0))


def test_noise_has_three_times_the_spread_of_the_subjects_embeddings(lab, prompts):
    subject = torch.as_tensor(role_positions(prompts, "subject last"))
    clean = lab.model.embed(prompts.clean)

    def noise(seed):
        pairs = ablation(lab.model, prompts, "gaussian", seed).denoising
        return (pairs.base_resid(lab.model) - clean)[subject]

    assert float(noise(0).std()) == pytest.approx(3 * float(clean[subject].std()), rel=0.1)
    assert torch.equal(noise(0), noise(0))
    assert not torch.equal(noise(0), noise(1))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("direction", ["denoising", "noising"])
def test_every_patch_equals_one_patch_at_a_time_however_the_fact_is_taken_away(lab, prompts, way, direction):
    ablated = ablation(lab.model, prompts, way, 0)
    pairs = getattr(ablated, direction).rows([0, 9])
    instead = ablated.instead.rows([0, 9]) if ablated.instead and direction == "noising" else None
    metric = patch_metric(lab.model, pairs, "log_probability")
    fast = sweep(lab.model, pairs, metric=metric, instead=instead)
    for site, layer, position in itertools.product(SITES, range(lab.model.n_layers), range(4)):
        at = (site, layer, position, 2 if site == "z" else None)
        slow = patch_one(lab.model, pairs, 1, *at, metric="log_probability", instead=instead)
        found = fast.patched[site][1, layer, position]
        assert (found[2] if site == "z" else found) == pytest.approx(slow, abs=2e-5)


def test_without_the_subjects_embedding_nothing_of_the_fact_is_left(lab, prompts):
    pairs = ablation(lab.model, prompts, "zero", 0).denoising
    found = sweep(lab.model, pairs, sites=["resid_pre"])
    np.testing.assert_allclose(found.base, 0, atol=1e-5)
    assert (found.source > 1).all()
