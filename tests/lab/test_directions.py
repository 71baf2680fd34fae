"""Directions: what they are the difference of, what an edit leaves, and what a projection tells apart."""

import math

import numpy as np
import pytest
import torch

from engine.errors import DataError, ModelError
from engine.evidence.bootstrap import measure
from engine.lab.directions import (
    ablated,
    ablation_edits,
    added,
    addition_edits,
    agreement,
    auc,
    auc_samples,
    effect_size,
    effect_size_samples,
    mean_difference,
    projection,
    random_directions,
    unit,
)
from engine.models.forward import NO_EDITS
from engine.models.generate import generate
from engine.models.sites import Site
from engine.spec.sites import RESID_PRE
from tests.models.random_models import random_model

IDS = torch.tensor([[3, 5, 7, 9, 4], [8, 2, 6, 6, 3]])


def drawn(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def test_the_difference_of_means_is_taken_at_every_place():
    positive, negative = drawn(7, 3, 2, 32), drawn(5, 3, 2, 32, seed=1)
    found = mean_difference(positive, negative)
    assert found.shape == (3, 2, 32)
    slow = torch.stack(list(positive[:, 1, 0])).sum(0) / 7 - torch.stack(list(negative[:, 1, 0])).sum(0) / 5
    assert torch.allclose(found[1, 0], slow, atol=1e-6)


def test_no_prompt_of_a_kind_is_an_error():
    with pytest.raises(DataError, match="no negative prompt"):
        mean_difference(drawn(3, 8), drawn(0, 8))


def test_random_directions_are_as_long_and_depend_on_the_seed_alone():
    direction = 3 * drawn(33)
    found = random_directions(direction, 5, seed=4)
    assert torch.allclose(found.norm(dim=1), direction.norm().expand(5), atol=1e-5)
    assert torch.equal(found[:2], random_directions(direction, 2, seed=4))
    assert not torch.equal(found, random_directions(direction, 5, seed=5))
    # Nothing in them points along the direction: |cos| of 200 in 33 dimensions is 0.14 on average.
    many = random_directions(direction, 200, seed=0)
    assert abs(float(projection(unit(many), direction).mean())) < 0.05


def test_ablation_leaves_nothing_along_the_direction_and_everything_else():
    x, direction, other = drawn(2, 3, 16), 5 * drawn(16, seed=1), drawn(16, seed=2)
    left = ablated(direction)(x)
    assert float(projection(left, direction).abs().max()) < 1e-6
    across = other - unit(direction) * (other @ unit(direction))
    assert torch.allclose(left @ across, x @ across, atol=1e-5)


def test_addition_adds_the_direction_at_its_length():
    x, direction = drawn(2, 3, 16), 5 * drawn(16, seed=1)
    assert torch.allclose(added(direction, -2.0)(x), x - 2 * direction)


def test_an_edit_keeps_the_dtype_and_leaves_its_argument():
    x, direction = drawn(2, 3, 16).bfloat16(), drawn(16, seed=1)
    before = x.clone()
    for edit in (ablated(direction), added(direction)):
        assert edit(x).dtype == torch.bfloat16
    assert torch.equal(x, before)


def test_after_ablation_no_block_reads_or_writes_the_direction(model):
    direction = drawn(32, seed=3)
    edit = ablation_edits(model, direction)
    run = model.forward(IDS, edit=edit, read=list(edit))
    assert max(float(projection(value, direction).abs().max()) for value in run.activations.values()) < 1e-5
    assert float(projection(run.resid, direction).abs().max()) < 1e-5
    plain = model.forward(IDS)
    assert float(projection(plain.resid, direction).abs().max()) > 0.1


def test_ablation_of_one_layer_edits_that_layer_alone(model):
    edit = ablation_edits(model, drawn(32), layers=[1])
    assert {site.layer for site in edit} == {1}
    assert len(edit) == 3


def test_addition_is_at_the_input_of_one_block(model):
    direction = drawn(32)
    edit = addition_edits(direction, 2)
    assert list(edit) == [Site(2, RESID_PRE)]
    start = model.forward(IDS, read=[Site(2, RESID_PRE)]).activations[Site(2, RESID_PRE)]
    moved = model.forward(IDS, edit=edit, read=list(edit)).activations[Site(2, RESID_PRE)]
    assert torch.allclose(moved - start, direction.expand_as(start), atol=1e-5)


def test_edits_go_through_generation(model):
    edit = ablation_edits(model, drawn(32))
    texts = ["Fact : The capital city of France is"]
    (changed,) = generate(model, texts, max_tokens=3, edit=edit)
    (plain,) = generate(model, texts, max_tokens=3, edit=NO_EDITS)
    assert changed.log_probs != plain.log_probs


def test_a_vector_of_another_width_is_refused(model):
    with pytest.raises(ModelError, match="is not one of") as error:
        ablation_edits(model, drawn(31))
    assert "32 dimensions" in str(error.value)


def test_ablation_works_where_attention_and_mlp_read_one_stream():
    # A parallel residual has no resid_mid; what is written is edited all the same.
    model = random_model("gpt_neox")
    direction = drawn(model.shape.d_model)
    run = model.forward(IDS, edit=ablation_edits(model, direction))
    assert float(projection(run.resid, direction).abs().max()) < 1e-4


@pytest.mark.parametrize("bad", [torch.zeros(8), torch.full((8,), math.nan)])
def test_a_direction_without_length_is_an_error(bad):
    with pytest.raises(ModelError, match="no length"):
        unit(bad)


def test_agreement_is_the_cosine_with_the_mean():
    same = drawn(16)[None] * torch.tensor([[1.0], [2.0], [0.5]])
    assert torch.allclose(agreement(same), torch.ones(3), atol=1e-6)
    against = torch.cat((same, -same[:1]))
    assert float(agreement(against)[-1]) == pytest.approx(-1)
    # Independent vectors: 1 / sqrt(n)
    assert float(agreement(drawn(400, 1000)).mean()) == pytest.approx(0.05, abs=0.01)


SCORES = np.array([0.1, 0.4, 0.4, 0.8, 0.35, 0.4, 0.9, 1.2, 0.7])
POSITIVE = np.array([False, False, False, False, True, True, True, True, True])


def test_auc_counts_every_pair_of_prompts():
    pairs = [(own > other) + 0.5 * (own == other) for own in SCORES[POSITIVE] for other in SCORES[~POSITIVE]]
    assert auc(SCORES, POSITIVE) == pytest.approx(np.mean(pairs))
    assert auc(-SCORES, POSITIVE) == pytest.approx(1 - np.mean(pairs))
    assert auc(np.array([0.0, 1.0]), np.array([False, True])) == 1.0


def test_effect_size_is_the_distance_of_the_means_in_spreads():
    here, there = SCORES[POSITIVE], SCORES[~POSITIVE]
    spread = np.sqrt((5 * here.var() + 4 * there.var()) / 9)
    assert effect_size(SCORES, POSITIVE) == pytest.approx((here.mean() - there.mean()) / spread)


@pytest.mark.parametrize(("number", "samples"), [(auc, auc_samples), (effect_size, effect_size_samples)])
def test_the_spread_of_the_samples_is_that_of_resampled_numbers(number, samples):
    draw = np.random.default_rng(0)
    positive = np.arange(160) < 60
    scores = draw.normal(size=160) + 1.0 * positive
    values = samples(scores, positive)
    again = []
    for _ in range(800):
        rows = np.r_[draw.integers(0, 60, 60), draw.integers(60, 160, 100)]
        again.append(number(scores[rows], positive[rows]))
    assert values.std() / np.sqrt(160) == pytest.approx(np.std(again), rel=0.1)
    found = measure("separability", values, unit="prompt")
    assert found.value == pytest.approx(number(scores, positive))


def test_one_kind_alone_and_equal_scores_are_errors():
    with pytest.raises(DataError, match="two kinds"):
        auc(SCORES, np.ones(9, dtype=bool))
    with pytest.raises(DataError, match="differ within a kind"):
        effect_size(POSITIVE.astype(float), POSITIVE)
