"""Patching on a model in which one head moves the fact from the subject to the last token."""

from itertools import product

import numpy as np
import pytest

from engine.evidence.builder import Evidence
from engine.families.circuit_patching import Params, handover, run
from engine.lab.planted import HEAD, LAYER, N_HEADS, N_LAYERS, planted_lab


def test_the_planted_head_restores_and_destroys_everything(patching):
    found = patching.measurements
    assert (found["top_head_layer"].value, found["top_head_index"].value) == (LAYER, HEAD)
    assert found["top_head_recovered"].value == pytest.approx(1.0, abs=1e-5)
    assert found["top_head_destroyed"].value == pytest.approx(1.0, abs=1e-5)
    assert found["last_attn_layer"].value == LAYER
    assert found["last_attn_recovered"].value == pytest.approx(1.0, abs=1e-5)
    assert found["last_mlp_recovered"].value == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("suffix", ["", "_noising"])
def test_the_fact_moves_once_in_both_directions(patching, suffix):
    found = patching.measurements
    assert found[f"subject_handover_layer{suffix}"].value == LAYER + 1
    assert found[f"last_takeover_layer{suffix}"].value == LAYER + 1
    assert found[f"handover_gap{suffix}"].value == 0


def test_another_fact_takes_the_wrong_answer_away_and_does_not_bring_the_right_one(patching):
    found = patching.measurements
    assert found["subject_resid_unrelated"].value == pytest.approx(0.5, abs=0.05)
    assert found["top_head_unrelated"].value == pytest.approx(0.5, abs=0.05)
    assert found["last_mlp_unrelated"].value == pytest.approx(0.0, abs=1e-5)


def test_the_control_says_how_many_other_facts_are_of_another_relation(patching):
    about = patching.measurements["top_head_unrelated"].about
    assert about == (
        "The best head, patched from another fact of equal length, of another relation for 32 of 32 prompts."
    )


def test_a_random_place_is_the_mean_over_all_places(patching):
    # One of two sites and of two ends, and one layer of it, restores all: nothing else does anything.
    chance = patching.measurements["random_place_recovered"]
    assert chance.value == pytest.approx(1 / (4 * N_LAYERS), abs=1e-5)
    assert np.ptp(chance.samples) < 1e-5


def test_tables_cover_every_layer_role_and_head(patching):
    denoising = patching.tables["denoising"]
    at_subject = denoising[(denoising["site"] == "resid_pre") & (denoising["token"] == "subject last")]
    np.testing.assert_allclose(at_subject["effect"], [1.0, 1.0, 0.0], atol=1e-5)
    assert set(denoising["token"]) == {"subject last", "between", "last"}  # subjects here are one token
    assert set(patching.tables["noising"]["token"]) == {"subject last", "last"}
    assert len(patching.tables["heads"]) == N_LAYERS * N_HEADS
    assert patching.tables["top_heads"].loc[0, "name"] == f"L{LAYER}H{HEAD}"
    assert "heads_at_subject" not in patching.tables


def test_everywhere_patches_every_role_and_heads_at_the_subject(patching):
    params = Params(prompts_per_relation=2, everywhere=True)
    tables = run(planted_lab(), params).validated().tables
    for direction in ("denoising", "noising"):
        places = set(zip(tables[direction]["site"], tables[direction]["token"], strict=True))
        assert places == set(
            product(("resid_pre", "attn_out", "mlp_out"), ("subject last", "between", "last"))
        )
    np.testing.assert_allclose(tables["heads_at_subject"]["recovered"], 0.0, atol=1e-5)


def test_checks_pass_and_counts_are_told(patching):
    assert not patching.failed_checks
    assert patching.measurements["prompts_used"].value == 32
    assert (
        patching.measurements["clean_logit_diff"].value
        > 0
        > patching.measurements["corrupted_logit_diff"].value
    )


@pytest.mark.parametrize("metric", ["probability", "log_probability", "kl"])
def test_the_planted_head_is_found_by_any_metric(metric):
    found = run(planted_lab(), Params(prompts_per_relation=4, metric=metric)).validated().measurements
    assert (found["top_head_layer"].value, found["top_head_index"].value) == (LAYER, HEAD)
    assert found["top_head_recovered"].value == pytest.approx(1.0, abs=1e-5)
    assert found["top_head_destroyed"].value == pytest.approx(1.0, abs=1e-5)
    better, worse = (found[f"{run_name}_{metric}"].value for run_name in ("clean", "corrupted"))
    assert (better < worse) == (metric == "kl")
    assert "clean_logit_diff" not in found


@pytest.mark.parametrize("ablation", ["gaussian", "mean", "zero"])
def test_the_planted_head_is_found_however_the_fact_is_taken_away(ablation):
    found = run(planted_lab(), Params(prompts_per_relation=4, ablation=ablation)).validated().measurements
    assert (found["top_head_layer"].value, found["top_head_index"].value) == (LAYER, HEAD)
    assert found["top_head_recovered"].value == pytest.approx(1.0, abs=1e-5)
    assert found["subject_handover_layer"].value == LAYER + 1
    # Put in the place of the head itself, zeros take all of what it moves.
    if ablation != "gaussian":
        assert found["top_head_destroyed"].value > 0.5
    assert found["last_mlp_destroyed"].value == pytest.approx(0.0, abs=1e-5)


def test_a_fact_that_was_never_at_the_subjects_last_token_hands_nothing_over():
    n_layers = 4
    ev = Evidence("prompt", ["a", "b", "c", "d"])
    subject = np.array([[1.0, 1, 0, 0]] * 3 + [[0.1, 0, 0, 0]])
    last = np.array([[0.0, 0, 1, 1]] * 4)
    curves = {("resid_pre", "subject last"): subject, ("resid_pre", "last"): last}
    handover(ev, curves, n_layers, "")
    found = ev.result().measurements
    assert found["never_carried"].value == 0.25
    assert (found["subject_handover_layer"].value, found["subject_handover_layer"].n) == (2, 3)
    # Counted as handed over after 0 blocks, the fourth would have made a gap of a half.
    assert found["handover_gap"].value == 0
