"""The lens on a model that looks its answers up in layer 1."""

from pathlib import Path

import numpy as np
import pytest

from engine.data.prompts import load_prompts
from engine.families import logit_lens
from engine.lab.lab import Lab
from engine.lab.planted import LAYER, N_LAYERS, planted_lab, planted_model
from engine.spec.inputs import ANSWERS
from engine.spec.models import PromptChoice


def test_the_answer_commits_where_it_was_planted(lens):
    found = lens.measurements
    assert found["commit_layer"].value == found["lead_layer"].value == LAYER + 1
    assert found["commit_depth"].value == pytest.approx((LAYER + 1) / N_LAYERS)
    assert found["steepest_layer"].value == found["specific_layer"].value == LAYER
    assert (
        found["log_rank_drop_specific_layer"].value > 0 >= found["other_log_rank_drop_specific_layer"].value
    )
    assert found["mean_rank_after_steepest_layer"].value == 0
    assert found["mean_rank_before_steepest_layer"].value == 1  # the last token itself was likelier


def test_what_was_chosen_is_measured_on_the_other_half(lens):
    found = lens.measurements
    assert found["steepest_layer"].chosen_on and found["mean_rank_before_steepest_layer"].chosen_on
    assert found["mean_rank_before_steepest_layer"].n == 16
    assert found["mean_rank_before_named_layer"].n == 32


def test_checks_pass_and_every_number_counts_prompts(lens):
    assert {c.name for c in lens.checks} == {"last_lens_row"}
    assert not lens.failed_checks
    assert {m.unit for m in lens.measurements.values() if not m.exact} == {"prompt"}


def test_tables_and_arrays_have_a_row_for_each_prompt(lens):
    assert lens.arrays["rank"].shape == (32, N_LAYERS + 1)
    assert len(lens.tables["per_prompt"]) == 32
    assert len(lens.tables["ranks"]) == len(lens.tables["logprobs"]) == 2 * (N_LAYERS + 1)
    own = lens.tables["ranks"][lens.tables["ranks"]["answer"] == "the prompt's own"]
    assert own["mean_rank"].tolist() == [1.0, 1.0, 0.0, 0.0]


def test_prompts_are_told_as_they_are():
    lab = planted_lab()
    assert lab.prompts
    lab.prompts.table.loc[0, "id"] = "<script>alert(1)</script> {{ x }}"
    table = logit_lens.run(lab, logit_lens.Params()).tables["per_prompt"]
    assert table.loc[0, "id"] == "<script>alert(1)</script> {{ x }}"


def test_a_looser_rank_commits_no_later(lens):
    loose = logit_lens.run(planted_lab(), logit_lens.Params(commit_rank=5)).measurements
    assert loose["commit_layer"].value <= lens.measurements["commit_layer"].value
    assert np.isfinite(loose["lead_layer"].value)


def test_a_prompt_and_its_answer_are_enough(lens):
    pairs = planted_lab().prompts
    assert pairs is not None
    rows = [
        {"prompt": clean, "answer": answer.strip(), "relation": relation}
        for clean, answer, relation in pairs.table[["clean", "answer", "relation"]].to_numpy()
    ]
    prompts = load_prompts(PromptChoice.model_validate({"rows": rows}), Path(), ANSWERS)
    found = logit_lens.run(Lab(planted_model(), prompts), logit_lens.Params())
    assert found.measurements["prompts_used"].value == len(rows)
    for name in ("commit_layer", "steepest_layer", "logprob"):
        assert found.measurements[name].value == pytest.approx(lens.measurements[name].value)
    assert not found.failed_checks
