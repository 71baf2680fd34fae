"""Attribution on a model in which one head writes the whole answer."""

from pathlib import Path

import pytest
import torch

from engine.data.prompts import load_prompts
from engine.families.direct_logit_attribution import Params, run
from engine.lab.lab import Lab
from engine.lab.planted import HEAD, LAYER, planted_lab, planted_model
from engine.spec.inputs import ANSWERS
from engine.spec.models import PromptChoice


def test_the_planted_head_writes_it_all(attribution):
    found = attribution.measurements
    assert (found["top_head_layer"].value, found["top_head_index"].value) == (LAYER, HEAD)
    assert found["head_share"].value == pytest.approx(1.0)
    assert found["mlp_share"].value == pytest.approx(0.0)
    assert found["parts_for_80_percent"].value == 1
    strongest = attribution.tables["strongest"].iloc[0]
    assert strongest["part"] == f"L{LAYER}H{HEAD}"
    assert strongest["contribution"] == pytest.approx(found["logit_diff"].value)


def test_it_writes_nothing_towards_another_answer(attribution):
    found = attribution.measurements
    assert found["top_head_contribution"].control == "top_head_other_answer"
    assert found["top_head_other_answer"].value == pytest.approx(0.0, abs=1e-6)
    assert found["random_part_contribution"].value < found["top_head_contribution"].value


def test_parts_add_up_to_the_logit_difference(attribution):
    assert not attribution.failed_checks
    total = attribution.arrays["contribution"].sum(axis=1)
    assert total == pytest.approx(attribution.tables["per_prompt"]["logit_diff"].to_numpy(), rel=1e-5)


def test_any_part_is_the_exact_mean_over_all_parts(attribution):
    parts = attribution.tables["parts"]
    of_all = parts.loc[parts["kind"].isin(["mlp", "head"]), "contribution"].mean()
    assert attribution.measurements["random_part_contribution"].value == pytest.approx(of_all)


def test_shares_are_read_against_those_towards_another_answer(attribution):
    # Nothing in the planted model writes towards another prompt's answer: there is no share of it.
    assert attribution.measurements["mlp_share"].control == ""
    lab = planted_lab()
    generator = torch.Generator().manual_seed(0)
    weights = lab.model.hf.model.embed_tokens.weight
    with torch.no_grad():
        weights += 0.01 * torch.randn(weights.shape, generator=generator)
    found = run(lab, Params()).measurements
    assert found["mlp_share"].control == found["mlp_positive_share"].control == "other_mlp_positive_share"
    shares = [found[f"other_{kind}_positive_share"].value for kind in ("mlp", "head", "embedding")]
    assert 0.9 < sum(shares) <= 1.001


def test_a_prompt_and_its_answer_are_enough():
    pairs = planted_lab().prompts
    assert pairs is not None
    rows = [
        {"prompt": clean, "answer": answer.strip(), "relation": relation}
        for clean, answer, relation in pairs.table[["clean", "answer", "relation"]].to_numpy()
    ]
    prompts = load_prompts(PromptChoice.model_validate({"rows": rows}), Path(), ANSWERS)
    found = run(Lab(planted_model(), prompts), Params())
    assert found.measurements["top_head_layer"].value == LAYER
    assert found.measurements["head_share"].value == pytest.approx(1.0)
    # Towards the answer of a prompt that is neither its own nor its wrong one.
    assert found.measurements["top_head_other_answer"].value == pytest.approx(0.0, abs=1e-6)
    assert not found.failed_checks
