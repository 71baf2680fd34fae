"""Contrastive activation addition on a planted model whose answers move by the coefficient, or not at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from engine.errors import DataError, ModelError, SpecError
from engine.families import caa_steering
from engine.families.caa_steering.planted_steering import (
    INSTRUCTION,
    SITE,
    SUBJECTS,
    TOPICS,
    planted_steering,
)
from engine.lab.steering_vectors import run_directions

PARAMS = caa_steering.Params(
    instruction=INSTRUCTION, layer=SITE, coefficient=2.0, coefficients=[4.0], new_tokens=2, open_prompts=10
)


@pytest.fixture(scope="module")
def found():
    return caa_steering.run(planted_steering(listens=True), PARAMS).validated()


@pytest.fixture(scope="module")
def unheard():
    return caa_steering.run(planted_steering(listens=False), PARAMS).validated()


def test_the_vector_is_the_mean_difference_of_the_training_contrasts(found):
    ((site, vector),) = run_directions(found.arrays).items()
    assert site == SITE
    expected = np.zeros(32)
    good_bad = planted_steering(listens=True).model.token_ids(["good bad"])[0]
    expected[good_bad] = 0.5, -0.5  # one contrast of four is reversed
    np.testing.assert_allclose(vector, expected, atol=1e-6)


def test_each_contrast_moves_by_the_coefficient_and_one_of_four_the_wrong_way(found):
    table = found.tables["per_contrast"]
    reversed_ = table["id"].str.endswith(SUBJECTS[-1]).to_numpy()
    np.testing.assert_allclose(table["effect"], np.where(reversed_, -2.0, 2.0), atol=1e-4)
    np.testing.assert_allclose(table["cosine"], np.where(reversed_, -1.0, 1.0), atol=1e-5)
    measured = found.measurements
    assert measured["wrong_way"].value == measured["anti_steerable"].value == 0.25
    assert measured["effect"].value == pytest.approx(1.0, abs=1e-4)
    assert measured["effect"].control == "largest_random_effect"
    assert measured["wrong_way"].control == "random_wrong_way"
    assert measured["cosine_correlation"].value == pytest.approx(1.0, abs=1e-3)
    # sigmoid of the margins, of which all were 0 before
    assert measured["plain_probability"].value == pytest.approx(0.5, abs=1e-5)
    sigmoid = 1 / (1 + np.exp([-2.0, 2.0]))
    assert measured["positive_probability"].value == pytest.approx(sigmoid @ [0.75, 0.25], abs=1e-4)


def test_the_vector_is_measured_on_other_topics_than_it_is_made_of(found):
    measured = found.measurements
    assert (measured["contrasts_trained"].value, measured["contrasts_held_out"].value) == (20, 20)
    assert len({identity.partition("-")[0] for identity in found.tables["per_contrast"]["id"]}) == 5
    effect = measured["effect"]
    assert (effect.unit, effect.n, effect.cluster_unit, effect.n_clusters) == ("contrast", 20, "topic", 5)
    assert "clusters" in effect.chosen_on
    assert (measured["agreement"].n, measured["held_out_agreement"].n) == (20, 20)


def test_the_dose_response_is_linear_where_the_model_is(found):
    doses = found.tables["doses"].set_index("coefficient")
    np.testing.assert_allclose(doses["effect"], [-1.0, 1.0, 2.0], atol=1e-4)
    assert list(doses.index) == [-2.0, 2.0, 4.0]
    # At a negative coefficient the wrong way is upwards.
    np.testing.assert_allclose(doses["wrong_way"], 0.25)
    assert set(found.figures) == {"dose_response", "perplexity", "distribution", "cosine"}


def test_a_direction_that_is_taken_away_again_separates_and_does_nothing(unheard, found):
    measured = unheard.measurements
    assert measured["agreement"].value == pytest.approx(found.measurements["agreement"].value, abs=1e-5)
    assert measured["effect"].value == pytest.approx(0.0, abs=1e-4)
    np.testing.assert_allclose(unheard.tables["per_contrast"]["effect"], 0.0, atol=1e-4)


def test_what_it_costs_on_text_is_the_loss_of_the_same_documents(found):
    measured = found.measurements
    plain, rise = measured["plain_text_loss"], measured["text_loss_rise"]
    assert (rise.unit, rise.n, rise.control) == ("document", 32, "random_text_loss_rise")
    row = found.tables["doses"].set_index("coefficient").loc[2.0]
    assert row["text_loss"] == pytest.approx(plain.value + rise.value)
    assert row["perplexity"] == pytest.approx(np.exp(plain.value + rise.value))
    assert row["times_plain"] == pytest.approx(np.exp(rise.value))


def test_a_coefficient_that_is_too_much_shows_in_the_perplexity():
    params = PARAMS.model_copy(update={"coefficients": [4.0, 4000.0], "open_prompts": 0})
    doses = caa_steering.run(planted_steering(listens=True), params).tables["doses"].set_index("coefficient")
    assert doses.loc[4000.0, "times_plain"] > 100 * doses.loc[4.0, "times_plain"]
    params = PARAMS.model_copy(update={"coefficients": [1e39]})
    with pytest.raises(ModelError, match="a smaller coefficient"):
        caa_steering.run(planted_steering(listens=True), params)


def test_completions_are_scored_by_the_words_of_the_training_answers(found):
    measured = found.measurements
    # One of four positive answers says "bad": words tell three of four apart.
    assert measured["words_tell_apart"].value == 0.75
    assert measured["word_score"].n == 10 and measured["word_score"].control == "plain_word_score"
    shown = found.tables["completions"]
    assert list(shown["condition"][:4]) == ["plain", "steered", "random", "prompted"]
    # The planted model repeats its last word; twice half a direction makes "good" as likely as that.
    assert measured["plain_word_score"].value == 0.0


def test_a_large_dose_writes_the_word_itself():
    params = PARAMS.model_copy(
        update={"coefficient": 8.0, "positive_words": ["good"], "negative_words": ["bad"]}
    )
    found = caa_steering.run(planted_steering(listens=True), params)
    steered = found.tables["completions"].query("condition == 'steered'")
    assert list(steered["completion"]) == ["good good"] * 3
    assert found.measurements["word_score"].value == 2.0
    assert found.measurements["open_loss"].value > found.measurements["plain_open_loss"].value


def test_beginnings_are_taken_evenly_from_the_topics():
    lab = planted_steering(listens=True)
    contrasts = lab.contrasts()
    training = caa_steering.selection_half(contrasts.ids, contrasts.clusters)
    division = caa_steering.Division(contrasts, training)
    chosen = caa_steering.evenly(division, 10)
    topics = contrasts.clusters[~training][chosen]
    assert sorted(np.unique(topics, return_counts=True)[1]) == [2] * 5
    assert len(caa_steering.evenly(division, 100)) == 20


def test_the_reversed_vector_has_the_reversed_effect(found):
    assert found.measurements["reversed_effect"].value == pytest.approx(-1.0, abs=1e-4)


def test_another_seed_draws_other_random_directions_and_the_same_vector(found):
    params = PARAMS.model_copy(update={"seed": 1, "open_prompts": 0})
    other = caa_steering.run(planted_steering(listens=True), params)
    assert other.measurements["effect"].value == found.measurements["effect"].value
    changed = other.measurements["random_effect"].value - found.measurements["random_effect"].value
    assert abs(changed) > 1e-6
    assert "word_score" not in other.measurements


def test_every_run_checks_its_forward_against_hugging_face():
    lab = planted_steering(listens=True)
    lab.contrasts()
    assert [check.name for check in lab.receipts] == ["hugging_face_logits", "padding", "hooks_fired"]
    assert all(check.passed for check in lab.receipts)


@pytest.mark.parametrize(
    "wrong",
    [
        {"coefficient": 0.0},
        {"coefficient": -1.0},
        {"coefficients": [float("nan")]},
        {"coefficient": float("inf")},
        {"positive_words": ["good"]},
        {"instruction": ""},
        {"template": "markdown"},
    ],
)
def test_parameters_that_say_something_impossible_are_refused(wrong):
    with pytest.raises(ValidationError):
        caa_steering.Params(**({"instruction": INSTRUCTION} | wrong))


def test_a_site_of_heads_is_no_place_for_a_vector_of_the_stream():
    with pytest.raises(SpecError, match="as wide as the residual stream") as refused:
        caa_steering.run(
            planted_steering(listens=True), PARAMS.model_copy(update={"layer": "blocks.0.attn.hook_z"})
        )
    assert "batch pos head d_head" in refused.value.seen


def test_a_model_without_a_chat_template_has_none_to_steer_in():
    with pytest.raises(DataError, match="has no chat template"):
        caa_steering.run(planted_steering(listens=True), PARAMS.model_copy(update={"template": "chat"}))


def test_contrasts_that_all_say_the_same_have_no_direction():
    lab = planted_steering(listens=True)
    assert lab.prompts is not None
    # As many of each sign in every topic: the mean is nothing.
    rows = lab.prompts.table.copy()
    odd = rows["id"].str.endswith(SUBJECTS[1])
    both = ["positive", "negative"]
    rows.loc[odd, both] = rows.loc[odd, both[::-1]].to_numpy()
    lab.prompts = replace(lab.prompts, table=rows)
    with pytest.raises(ModelError, match="a direction has no length"):
        caa_steering.run(lab, PARAMS)


def test_the_calibrations_pass():
    assert len(TOPICS) * len(SUBJECTS) == 40
    for calibration in caa_steering.calibrate():
        assert calibration.passed, calibration
